/* The library as a whole, and the way from numbers to handles. */

#include <stdio.h>

#include "standin.h"

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

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **handle) {
    if (references == 0)
        return UNINITIALIZED;
    if ((int)index >= card_count())
        return INVALID_ARGUMENT;
    *handle = &devices[index];
    return outcome(__func__, (int)index);
}
