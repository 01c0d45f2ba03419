/* MIG: the mode of a card, its slices, and the profiles of which more could be made. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "standin.h"

#define MOST_SLICES 7

struct profile {
    unsigned id, p2p, slices, instances, multiprocessors, copy, decoder, encoder, jpeg, ofa;
    unsigned long long mib;
};
struct profile_v2 {
    unsigned version;
    unsigned id, p2p, slices, instances, multiprocessors, copy, decoder, encoder, jpeg, ofa;
    unsigned long long mib;
    char name[96];
};

static int mode(int card, unsigned *now, unsigned *next) {
    char value[128];
    *now = *next = 0;
    return told("mig", card, value) && sscanf(value, "%u %u", now, next) == 2;
}

int nvmlDeviceGetMigMode(struct device *handle, unsigned *now, unsigned *next) {
    BEGIN_CARD(handle);
    return mode(card, now, next) ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetMaxMigDeviceCount(struct device *handle, unsigned *count) {
    unsigned now, next;
    BEGIN_CARD(handle);
    mode(card, &now, &next);
    *count = now ? MOST_SLICES : 0;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(
    struct device *handle, unsigned index, struct device **slice_handle) {
    struct slice found;
    unsigned of_card = 0;
    BEGIN_CARD(handle);
    if (index >= MOST_SLICES)
        return INVALID_ARGUMENT;
    for (int n = 0; slice_at(n, &found); n++)
        if (found.card == card && of_card++ == index) {
            *slice_handle = &devices[MAX_CARDS + n];
            return SUCCESS;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetGpuInstanceId(struct device *handle, unsigned *id) {
    BEGIN(handle);
    if (slice.card < 0)
        return NOT_SUPPORTED;
    *id = slice.gpu_instance;
    return SUCCESS;
}

int nvmlDeviceGetComputeInstanceId(struct device *handle, unsigned *id) {
    BEGIN(handle);
    if (slice.card < 0)
        return NOT_SUPPORTED;
    *id = slice.compute_instance;
    return SUCCESS;
}

static int smallest(int card, unsigned profile, unsigned *id, unsigned *count,
                    unsigned long long *mib) {
    char value[128];
    if (profile != 0 || !told("profile", card, value))
        return NOT_SUPPORTED;
    return sscanf(value, "%u %u %llu", id, count, mib) == 3 ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetGpuInstanceProfileInfo(
    struct device *handle, unsigned profile, struct profile *info) {
    BEGIN_CARD(handle);
    memset(info, 0, sizeof *info);
    return smallest(card, profile, &info->id, &info->instances, &info->mib);
}

int nvmlDeviceGetGpuInstanceProfileInfoV(
    struct device *handle, unsigned profile, struct profile_v2 *info) {
    unsigned version = info->version;
    BEGIN_CARD(handle);
    if (version != (sizeof *info | 2u << 24))
        return VERSION_MISMATCH;
    memset(info, 0, sizeof *info);
    info->version = version;
    return smallest(card, profile, &info->id, &info->instances, &info->mib);
}

/* nvml.h: "Requires privileged user." A line in the file is the privilege. */
int nvmlDeviceGetGpuInstanceRemainingCapacity(
    struct device *handle, unsigned profile_id, unsigned *count) {
    char value[128];
    BEGIN_CARD(handle);
    (void)profile_id;
    if (!told("capacity", card, value))
        return NO_PERMISSION;
    *count = (unsigned)atoi(value);
    return SUCCESS;
}
