/* The machine as the file of the test has it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "standin.h"

struct device devices[MAX_CARDS + MAX_SLICES];
int references;

static FILE *open_state(void) {
    return fopen(getenv("NVML_STANDIN"), "r");
}

static int goes_with(const char *word, const char *wanted) {
    return !strcmp(word, "*") || !strcmp(word, wanted);
}

int told(const char *key, int card, char rest[128]) {
    FILE *state = open_state();
    char line[256], name[64], which[32], wanted[16];
    int found = 0, behind;
    if (state == NULL)
        return 0;
    snprintf(wanted, sizeof wanted, "%d", card);
    while (!found && fgets(line, sizeof line, state) != NULL) {
        if (sscanf(line, "%63s %31s %n", name, which, &behind) != 2)
            continue;
        found = !strcmp(name, key) && goes_with(which, wanted);
        if (found)
            snprintf(rest, 128, "%.*s", (int)strcspn(line + behind, "\n"), line + behind);
    }
    fclose(state);
    return found;
}

int told_of_pair(const char *key, int card, int other, int *value) {
    FILE *state = open_state();
    char line[256], name[64];
    int one, two, last = 0, found = 0;
    if (state == NULL)
        return 0;
    while (!found && fgets(line, sizeof line, state) != NULL)
        found = sscanf(line, "%63s %d %d %d", name, &one, &two, &last) == 4 && !strcmp(name, key) &&
                ((one == card && two == other) || (one == other && two == card));
    fclose(state);
    if (found)
        *value = last;
    return found;
}

int card_count(void) {
    FILE *state = open_state();
    int count = 0;
    if (state == NULL)
        return 0;
    if (fscanf(state, "cards %d", &count) != 1 || count > MAX_CARDS)
        abort();
    fclose(state);
    return count;
}

int slice_at(int n, struct slice *slice) {
    FILE *state = open_state();
    char line[256];
    int found = 0;
    if (state == NULL)
        return 0;
    while (!found && fgets(line, sizeof line, state) != NULL)
        found = sscanf(line, "slice %d %u %u %llu", &slice->card, &slice->gpu_instance,
                       &slice->compute_instance, &slice->mib) == 4 && n-- == 0;
    fclose(state);
    return found;
}

/* The rule for a call, as `hang` or a code. A rule for a card is one for its slices, too. */
static int rule(const char *function, const char *card, const char *slice, char value[16]) {
    FILE *state = open_state();
    char line[256], name[64], which[32];
    int found = 0;
    if (state == NULL)
        return 0;
    while (!found && fgets(line, sizeof line, state) != NULL)
        found = sscanf(line, "%63s %31s %15s", name, which, value) == 3 &&
                goes_with(name, function) && (goes_with(which, card) || !strcmp(which, slice));
    fclose(state);
    return found;
}

static int follow(const char *function, const char *card, const char *slice) {
    char value[16];
    struct timespec moment = {0, 2 * 1000 * 1000};
    while (rule(function, card, slice, value)) {
        if (strcmp(value, "hang"))
            return atoi(value);
        nanosleep(&moment, NULL);
    }
    return SUCCESS;
}

int outcome(const char *function, int card) {
    char named[16];
    snprintf(named, sizeof named, "%d", card);
    return follow(function, named, named);
}

int begin(const char *function, struct device *handle, int *card, struct slice *slice) {
    char named[16], part[48];
    int place = (int)(handle - devices);
    if (references == 0)
        return UNINITIALIZED;
    if (handle < devices || place >= MAX_CARDS + MAX_SLICES)
        return INVALID_ARGUMENT;
    if (place < MAX_CARDS)
        *slice = (struct slice){.card = -1};
    else if (!slice_at(place - MAX_CARDS, slice))
        return INVALID_ARGUMENT;
    *card = place < MAX_CARDS ? place : slice->card;
    if (*card >= card_count())
        return INVALID_ARGUMENT;
    snprintf(named, sizeof named, "%d", *card);
    snprintf(part, sizeof part, "%d/%u/%u", *card, slice->gpu_instance, slice->compute_instance);
    return follow(function, named, slice->card < 0 ? named : part);
}

void fill_pci(int card, struct pci *pci) {
    memset(pci, 0, sizeof *pci);
    pci->bus = (unsigned)card + 0x3b;
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
}
