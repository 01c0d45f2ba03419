/*
 * Stands in for libnvidia-ml.so.1: the calls that pynvml makes for us, with NVML's signatures and
 * structures. What it answers is read from the file named by NVML_STANDIN, anew at every call, so
 * that a test can change the machine under a running program:
 *
 *     cards N                   the number of cards
 *     FUNCTION CARD CODE        the call returns CODE for this card; `*` is any function or card
 *     FUNCTION CARD hang        the call does not return while the line stands
 *     xid CARD NUMBER           the card has reported this fault, once while the line stands
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SUCCESS 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define INSUFFICIENT_SIZE 7
#define MAX_CARDS 64
#define MIB (1024ull * 1024ull)

struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
struct utilisation { unsigned gpu, memory; };
struct temperature { unsigned version, sensor; int celsius; };
struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
struct pci {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
};
struct card { int unused; };

static struct card cards[MAX_CARDS];
static int references;

/* The rule for a call as `hang`, a code or nothing; `cards` reads the number of cards. */
static int rule(const char *function, int card, char *value) {
    FILE *state = fopen(getenv("NVML_STANDIN"), "r");
    char line[256], name[128], which[16], wanted[16];
    int found = 0;
    if (state == NULL)
        return 0;
    snprintf(wanted, sizeof wanted, "%d", card);
    while (!found && fgets(line, sizeof line, state) != NULL) {
        if (sscanf(line, "%127s %15s %15s", name, which, value) != 3)
            continue;
        found = (!strcmp(name, "*") || !strcmp(name, function)) &&
                (!strcmp(which, "*") || !strcmp(which, wanted));
    }
    fclose(state);
    return found;
}

static int card_count(void) {
    FILE *state = fopen(getenv("NVML_STANDIN"), "r");
    int count = 0;
    if (state == NULL)
        return 0;
    if (fscanf(state, "cards %d", &count) != 1 || count > MAX_CARDS)
        abort();
    fclose(state);
    return count;
}

static int outcome(const char *function, int card) {
    char value[16];
    struct timespec moment = {0, 2 * 1000 * 1000};
    while (rule(function, card, value)) {
        if (strcmp(value, "hang"))
            return atoi(value);
        nanosleep(&moment, NULL);
    }
    return SUCCESS;
}

/* The code with which a call on a card returns, before it looks at anything else. */
static int begin(const char *function, struct card *handle) {
    int card = (int)(handle - cards);
    if (references == 0)
        return UNINITIALIZED;
    if (handle < cards || card >= card_count())
        return INVALID_ARGUMENT;
    return outcome(function, card);
}

#define BEGIN(handle)                            \
    int code = begin(__func__, handle);          \
    int card = (int)(handle - cards);            \
    (void)card;                                  \
    if (code != SUCCESS)                         \
        return code

int nvmlInitWithFlags(unsigned flags) {
    int code = outcome(__func__, -1);
    (void)flags;
    if (code == SUCCESS)
        references++;
    return code;
}

int nvmlShutdown(void) {
    if (references == 0)
        return UNINITIALIZED;
    references--;
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    static char text[64];
    snprintf(text, sizeof text, "stand-in error %d", code);
    return text;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    if (references == 0)
        return UNINITIALIZED;
    snprintf(version, length, "999.42.01");
    return outcome(__func__, -1);
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (references == 0)
        return UNINITIALIZED;
    *count = (unsigned)card_count();
    return outcome(__func__, -1);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct card **handle) {
    if (references == 0)
        return UNINITIALIZED;
    if ((int)index >= card_count())
        return INVALID_ARGUMENT;
    *handle = &cards[index];
    return outcome(__func__, (int)index);
}

int nvmlDeviceGetUUID(struct card *handle, char *uuid, unsigned length) {
    BEGIN(handle);
    snprintf(uuid, length, "GPU-00000000-0000-0000-0000-%012d", card);
    return SUCCESS;
}

int nvmlDeviceGetName(struct card *handle, char *name, unsigned length) {
    char garbled[16];
    BEGIN(handle);
    if (rule("garbled-name", card, garbled))
        snprintf(name, length, "\xff\xfe card");
    else
        snprintf(name, length, "NVIDIA Stand-in %d", card);
    return SUCCESS;
}

int nvmlDeviceGetPciInfo_v3(struct card *handle, struct pci *pci) {
    BEGIN(handle);
    memset(pci, 0, sizeof *pci);
    pci->bus = (unsigned)card + 0x3b;
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    return SUCCESS;
}

int nvmlDeviceGetDisplayActive(struct card *handle, unsigned *active) {
    BEGIN(handle);
    *active = card == 0;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(struct card *handle, unsigned *current, unsigned *pending) {
    char mode[16];
    BEGIN(handle);
    *current = *pending = (unsigned)rule("mig", card, mode);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(struct card *handle, struct memory *memory) {
    BEGIN(handle);
    memory->total = 24576 * MIB;
    memory->used = (512 + 1000ull * (unsigned)card) * MIB;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(struct card *handle, struct memory_v2 *memory) {
    BEGIN(handle);
    if (memory->version != (sizeof *memory | 2u << 24))
        return 25; /* the version does not go with the argument */
    memory->total = 24576 * MIB;
    memory->reserved = 512 * MIB;
    memory->used = 1000ull * (unsigned)card * MIB;
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(struct card *handle, struct utilisation *rates) {
    BEGIN(handle);
    rates->gpu = 25;
    rates->memory = 50;
    return SUCCESS;
}

int nvmlDeviceGetTemperatureV(struct card *handle, struct temperature *temperature) {
    BEGIN(handle);
    if (temperature->version != (sizeof *temperature | 1u << 24))
        return 25;
    temperature->celsius = 40 + card;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(struct card *handle, unsigned sensor, unsigned *celsius) {
    BEGIN(handle);
    if (sensor != 0)
        return INVALID_ARGUMENT;
    *celsius = 40 + (unsigned)card;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(struct card *handle, unsigned *milliwatts) {
    BEGIN(handle);
    *milliwatts = 123456;
    return SUCCESS;
}

/* The first is idle, the second at its power limit, the others are slowed down for their heat. */
int nvmlDeviceGetCurrentClocksEventReasons(struct card *handle, unsigned long long *reasons) {
    BEGIN(handle);
    *reasons = card == 0 ? 0x1 : card == 1 ? 0x4 : 0x4 | 0x40;
    return SUCCESS;
}

/* What it was called before driver 535. */
int nvmlDeviceGetCurrentClocksThrottleReasons(struct card *handle, unsigned long long *reasons) {
    BEGIN(handle);
    *reasons = card == 0 ? 0x20 : 0;
    return SUCCESS;
}

/* As many processes as the card's index; the first is listed twice, as under MIG. */
int nvmlDeviceGetComputeRunningProcesses_v3(
    struct card *handle, unsigned *count, struct process *processes) {
    unsigned wanted, room = *count;
    BEGIN(handle);
    wanted = card == 0 ? 0 : (unsigned)card + 1;
    *count = wanted;
    if (room < wanted)
        return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < wanted; i++)
        processes[i] = (struct process){.pid = 5000 - (i == 0 ? 0 : i - 1), .used = MIB};
    return SUCCESS;
}

struct event {
    struct card *device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
};

static char event_set;
static char reported[MAX_CARDS], listened[MAX_CARDS];

int nvmlEventSetCreate(void **set) {
    if (references == 0)
        return UNINITIALIZED;
    *set = &event_set;
    memset(listened, 0, sizeof listened);
    return outcome(__func__, -1);
}

int nvmlEventSetFree(void *set) {
    return set == &event_set ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceRegisterEvents(struct card *handle, unsigned long long types, void *set) {
    BEGIN(handle);
    if (types != 8 || set != &event_set)
        return INVALID_ARGUMENT;
    listened[card] = 1;
    return SUCCESS;
}

int nvmlEventSetWait_v2(void *set, struct event *event, unsigned timeout_ms) {
    char number[16];
    if (set != &event_set || timeout_ms != 0)
        return INVALID_ARGUMENT;
    for (int card = 0; card < card_count(); card++) {
        int there = rule("xid", card, number);
        if (there && !reported[card] && listened[card]) {
            reported[card] = 1;
            *event = (struct event){.device = &cards[card], .type = 8};
            event->data = (unsigned long long)atoi(number);
            return SUCCESS;
        }
        if (!there)
            reported[card] = 0;
    }
    return 10; /* a timeout */
}
