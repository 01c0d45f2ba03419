/* What a card tells of itself. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "standin.h"

struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
struct utilisation { unsigned gpu, memory; };
struct temperature { unsigned version, sensor; int celsius; };
struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };

int nvmlDeviceGetUUID(struct device *handle, char *uuid, unsigned length) {
    BEGIN(handle);
    if (slice.card < 0)
        snprintf(uuid, length, "GPU-00000000-0000-0000-0000-%012d", card);
    else
        snprintf(uuid, length, "MIG-00000000-0000-%04u-%04u-%012d", slice.gpu_instance,
                 slice.compute_instance, card);
    return SUCCESS;
}

int nvmlDeviceGetName(struct device *handle, char *name, unsigned length) {
    char text[128];
    BEGIN(handle);
    if (!told("name", card, text))
        snprintf(text, sizeof text, "NVIDIA Stand-in %d", card);
    if (!strcmp(text, "garbled"))
        snprintf(name, length, "\xff\xfe card");
    else if (slice.card < 0)
        snprintf(name, length, "%s", text);
    else
        snprintf(name, length, "%s MIG %llugb", text, slice.mib / 1024);
    return SUCCESS;
}

int nvmlDeviceGetPciInfo_v3(struct device *handle, struct pci *pci) {
    BEGIN(handle);
    fill_pci(card, pci);
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(struct device *handle, int *major, int *minor) {
    BEGIN(handle);
    *major = 8;
    *minor = 6;
    return SUCCESS;
}

int nvmlDeviceGetComputeMode(struct device *handle, unsigned *mode) {
    char value[128];
    BEGIN_CARD(handle);
    *mode = told("compute", card, value) ? (unsigned)atoi(value) : 0;
    return SUCCESS;
}

int nvmlDeviceGetDisplayActive(struct device *handle, unsigned *active) {
    char value[128];
    BEGIN_CARD(handle);
    *active = told("display", card, value) ? (unsigned)atoi(value) : 0;
    return SUCCESS;
}

int nvmlDeviceGetVirtualizationMode(struct device *handle, unsigned *mode) {
    char value[128];
    BEGIN_CARD(handle);
    *mode = told("virtual", card, value) ? (unsigned)atoi(value) : 0;
    return SUCCESS;
}

int nvmlDeviceGetCpuAffinity(struct device *handle, unsigned words, unsigned long *cpus) {
    char value[128];
    unsigned first, last;
    BEGIN_CARD(handle);
    if (!told("cpus", card, value) || sscanf(value, "%u %u", &first, &last) != 2)
        return NOT_SUPPORTED;
    memset(cpus, 0, words * sizeof *cpus);
    for (unsigned cpu = first; cpu <= last; cpu++)
        cpus[cpu / 64] |= 1ul << cpu % 64;
    return SUCCESS;
}

/* Memory in use: 1000 MiB times the index of a card, 10 MiB times the GPU instance of a slice. */
static struct memory_v2 memory_of(int card, const struct slice *slice) {
    struct memory_v2 memory = {.total = 24576 * MIB, .reserved = 512 * MIB};
    memory.used = 1000ull * (unsigned)card * MIB;
    if (slice->card >= 0) {
        memory.total = slice->mib * MIB;
        memory.reserved = 64 * MIB;
        memory.used = 10ull * slice->gpu_instance * MIB;
    }
    memory.free = memory.total - memory.reserved - memory.used;
    return memory;
}

int nvmlDeviceGetMemoryInfo(struct device *handle, struct memory *memory) {
    struct memory_v2 newer;
    BEGIN(handle);
    newer = memory_of(card, &slice);
    *memory = (struct memory){newer.total, newer.free, newer.reserved + newer.used};
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(struct device *handle, struct memory_v2 *memory) {
    unsigned version = sizeof *memory | 2u << 24;
    BEGIN(handle);
    if (memory->version != version)
        return VERSION_MISMATCH;
    *memory = memory_of(card, &slice);
    memory->version = version;
    return SUCCESS;
}

/* nvml.h: "On MIG-enabled GPUs, querying device utilization rates is not currently supported." */
int nvmlDeviceGetUtilizationRates(struct device *handle, struct utilisation *rates) {
    char mode[128];
    BEGIN_CARD(handle);
    if (told("mig", card, mode) && atoi(mode) == 1)
        return NOT_SUPPORTED;
    rates->gpu = 25;
    rates->memory = 50;
    return SUCCESS;
}

int nvmlDeviceGetTemperatureV(struct device *handle, struct temperature *temperature) {
    BEGIN_CARD(handle);
    if (temperature->version != (sizeof *temperature | 1u << 24))
        return VERSION_MISMATCH;
    temperature->celsius = 40 + card;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(struct device *handle, unsigned sensor, unsigned *celsius) {
    BEGIN_CARD(handle);
    if (sensor != 0)
        return INVALID_ARGUMENT;
    *celsius = 40 + (unsigned)card;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(struct device *handle, unsigned *milliwatts) {
    BEGIN_CARD(handle);
    *milliwatts = 123456;
    return SUCCESS;
}

/* The first is idle, the second at its power limit, the others are slowed down for their heat. */
int nvmlDeviceGetCurrentClocksEventReasons(struct device *handle, unsigned long long *reasons) {
    BEGIN_CARD(handle);
    *reasons = card == 0 ? 0x1 : card == 1 ? 0x4 : 0x4 | 0x40;
    return SUCCESS;
}

/* What it was called before driver 535. */
int nvmlDeviceGetCurrentClocksThrottleReasons(struct device *handle, unsigned long long *reasons) {
    BEGIN_CARD(handle);
    *reasons = card == 0 ? 0x20 : 0;
    return SUCCESS;
}

/* As many processes as the card's index, the first listed twice; one on each slice. */
int nvmlDeviceGetComputeRunningProcesses_v3(
    struct device *handle, unsigned *count, struct process *processes) {
    unsigned wanted, first, room = *count;
    BEGIN(handle);
    wanted = slice.card >= 0 ? 1 : card == 0 ? 0 : (unsigned)card + 1;
    first = slice.card >= 0 ? 6000 + 10 * slice.gpu_instance + slice.compute_instance : 5000;
    *count = wanted;
    if (room < wanted)
        return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < wanted; i++)
        processes[i] = (struct process){.pid = first - (i == 0 ? 0 : i - 1), .used = MIB};
    return SUCCESS;
}
