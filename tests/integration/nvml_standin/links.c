/* NVLink and PCIe: how a card is joined to the others. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "standin.h"

#define MOST_LINKS 18
#define REMOTE_GPU 0
#define REMOTE_CPU 1
#define REMOTE_SWITCH 2
#define HOST_BRIDGE 30
#define SPEED_COMMON 90 /* NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON */
#define P2P_NVLINK 2

struct field {
    unsigned id, scope;
    long long timestamp, latency;
    unsigned type;
    int code;
    union { double d; int si; unsigned ui; unsigned long long ull; } value;
};

/* What a link of a card ends at: a card, or one of these. */
enum { SWITCH = -1, CPU = -2, DOWN = -3 };

static int named(const char *end) {
    return !strcmp(end, "switch") ? SWITCH : !strcmp(end, "cpu") ? CPU : atoi(end);
}

static int remote(int card, unsigned link, int *end) {
    char line[256], value[128], key[32];
    FILE *state = fopen(getenv("NVML_STANDIN"), "r");
    int one, links = 0;
    unsigned number;
    *end = DOWN;
    while (state != NULL && fgets(line, sizeof line, state) != NULL) {
        if (sscanf(line, "%31s %d %u %127s", key, &one, &number, value) != 4 ||
            strcmp(key, "nvlink") || one != card)
            continue;
        links++;
        if (number == link)
            *end = named(value);
    }
    if (state != NULL)
        fclose(state);
    if (links == 0)
        return NOT_SUPPORTED;
    return link < MOST_LINKS ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetNvLinkState(struct device *handle, unsigned link, unsigned *active) {
    int end;
    BEGIN_CARD(handle);
    code = remote(card, link, &end);
    *active = end != DOWN;
    return code;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct device *handle, unsigned link, struct pci *pci) {
    int end;
    BEGIN_CARD(handle);
    code = remote(card, link, &end);
    if (code != SUCCESS || end == DOWN)
        return code == SUCCESS ? INVALID_ARGUMENT : code;
    fill_pci(end >= 0 ? end : MAX_CARDS, pci);
    return SUCCESS;
}

int nvmlDeviceGetNvLinkRemoteDeviceType(struct device *handle, unsigned link, unsigned *type) {
    int end;
    BEGIN_CARD(handle);
    code = remote(card, link, &end);
    if (code != SUCCESS || end == DOWN)
        return code == SUCCESS ? INVALID_ARGUMENT : code;
    *type = end >= 0 ? REMOTE_GPU : end == CPU ? REMOTE_CPU : REMOTE_SWITCH;
    return SUCCESS;
}

int nvmlDeviceGetNvLinkVersion(struct device *handle, unsigned link, unsigned *version) {
    char value[128];
    int end;
    BEGIN_CARD(handle);
    code = remote(card, link, &end);
    *version = told("nvlink-version", card, value) ? (unsigned)atoi(value) : 0;
    return code;
}

int nvmlDeviceGetFieldValues(struct device *handle, int count, struct field *fields) {
    char value[128];
    BEGIN_CARD(handle);
    for (int i = 0; i < count; i++) {
        fields[i].code = NOT_SUPPORTED;
        if (fields[i].id == SPEED_COMMON && told("nvlink-speed", card, value)) {
            fields[i].code = SUCCESS;
            fields[i].type = 1; /* an unsigned int */
            fields[i].value.ui = (unsigned)atoi(value);
        }
    }
    return SUCCESS;
}

int nvmlDeviceGetP2PStatus(
    struct device *handle, struct device *other, unsigned capability, unsigned *status) {
    int value = 0;
    BEGIN_CARD(handle);
    if (capability != P2P_NVLINK)
        return INVALID_ARGUMENT;
    told_of_pair("p2p", card, (int)(other - devices), &value);
    *status = (unsigned)value;
    return SUCCESS;
}

int nvmlDeviceGetTopologyCommonAncestor(
    struct device *handle, struct device *other, unsigned *level) {
    int value = HOST_BRIDGE;
    BEGIN_CARD(handle);
    told_of_pair("ancestor", card, (int)(other - devices), &value);
    *level = (unsigned)value;
    return SUCCESS;
}

static void pcie(int card, unsigned *generation, unsigned *lanes) {
    char value[128];
    *generation = 4;
    *lanes = 16;
    if (told("pcie", card, value) && sscanf(value, "%u %u", generation, lanes) != 2)
        abort();
}

int nvmlDeviceGetMaxPcieLinkGeneration(struct device *handle, unsigned *generation) {
    unsigned lanes;
    BEGIN_CARD(handle);
    pcie(card, generation, &lanes);
    return SUCCESS;
}

int nvmlDeviceGetMaxPcieLinkWidth(struct device *handle, unsigned *lanes) {
    unsigned generation;
    BEGIN_CARD(handle);
    pcie(card, &generation, lanes);
    return SUCCESS;
}
