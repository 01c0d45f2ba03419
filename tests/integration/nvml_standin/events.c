/* Events: the faults (Xid) that a card has reported. */

#include <stdio.h>
#include <string.h>

#include "standin.h"

#define XID_CRITICAL_ERROR 8

struct event {
    struct device *device;
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

int nvmlDeviceRegisterEvents(struct device *handle, unsigned long long types, void *set) {
    BEGIN_CARD(handle);
    if (types != XID_CRITICAL_ERROR || set != &event_set)
        return INVALID_ARGUMENT;
    listened[card] = 1;
    return SUCCESS;
}

int nvmlEventSetWait_v2(void *set, struct event *event, unsigned timeout_ms) {
    char value[128];
    if (set != &event_set || timeout_ms != 0)
        return INVALID_ARGUMENT;
    for (int card = 0; card < card_count(); card++) {
        int there = told("xid", card, value);
        if (there && !reported[card] && listened[card]) {
            reported[card] = 1;
            *event = (struct event){&devices[card], XID_CRITICAL_ERROR, 0, NO_INSTANCE, NO_INSTANCE};
            sscanf(value, "%llu %u %u", &event->data, &event->gpu_instance,
                   &event->compute_instance);
            return SUCCESS;
        }
        if (!there)
            reported[card] = 0;
    }
    return TIMEOUT;
}
