/*
 * Stands in for libnvidia-ml.so.1: the calls that pynvml makes for us, with the signatures,
 * structures, versions and codes of NVIDIA's nvml.h. What it answers is read from the file named by
 * NVML_STANDIN, anew at every call, so that a test can change the machine under a running program.
 * The first line that goes with a call counts; CARD is a card's index or `*`, or for the first two
 * kinds of lines also CARD/GPU_INSTANCE/COMPUTE_INSTANCE for a slice.
 *
 *     cards N                          the number of cards
 *     FUNCTION CARD CODE               the call returns CODE, for the card and its slices alike;
 *                                      `*` is any function
 *     FUNCTION CARD hang               the call does not return while the line stands
 *     xid CARD NUMBER [GI CI]          it has reported this fault, once while the line stands
 *     name CARD TEXT                   what it is called; `garbled` is no UTF-8
 *     display CARD 1                   a display is active on it
 *     virtual CARD MODE                its virtualisation mode
 *     compute CARD MODE                its compute mode
 *     cpus CARD FIRST LAST             the CPUs nearest to it
 *     mig CARD NOW NEXT                its MIG mode, and that after a reset
 *     slice CARD GI CI MIB             a compute instance, and the memory of its GPU instance
 *     profile CARD ID COUNT MIB        the smallest profile of GPU instances
 *     capacity CARD N                  how many more of those it could have
 *     pcie CARD GENERATION LANES       what its PCIe link may do
 *     ancestor CARD CARD LEVEL         how near two cards are on PCIe
 *     nvlink CARD LINK REMOTE          a link that is up, to another card, a `switch` or a `cpu`
 *     nvlink-speed CARD MBPS           of each
 *     nvlink-version CARD NUMBER
 *     p2p CARD CARD STATUS             whether two cards reach each other over NVLink
 */

#ifndef STANDIN_H
#define STANDIN_H

#define SUCCESS 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define NO_PERMISSION 4
#define NOT_FOUND 6
#define INSUFFICIENT_SIZE 7
#define TIMEOUT 10
#define VERSION_MISMATCH 25

#define MAX_CARDS 64
#define MAX_SLICES 128
#define NO_INSTANCE 0xFFFFFFFFu
#define MIB (1024ull * 1024ull)

/* A handle points into `devices`: the cards, and after them the slices in the order of the file. */
struct device { int unused; };
struct slice { int card; unsigned gpu_instance, compute_instance; unsigned long long mib; };
struct pci {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
};

extern struct device devices[MAX_CARDS + MAX_SLICES];
extern int references;

/* What follows KEY and CARD on the first such line; 0 where there is none. */
int told(const char *key, int card, char rest[128]);
int told_of_pair(const char *key, int card, int other, int *value);
int card_count(void);

/* The n-th slice of the machine; 0 where there is none. */
int slice_at(int n, struct slice *slice);

/* Which card a handle is, or is a slice of, and the code with which a call on it returns before it
 * looks at anything else. `slice` is filled for a slice and has the card -1 for a card. */
int begin(const char *function, struct device *handle, int *card, struct slice *slice);
int outcome(const char *function, int card);

void fill_pci(int card, struct pci *pci);

#define BEGIN(handle)                                     \
    int card;                                             \
    struct slice slice;                                   \
    int code = begin(__func__, handle, &card, &slice);    \
    (void)card;                                           \
    if (code != SUCCESS)                                  \
        return code

/* A call that is for whole cards. */
#define BEGIN_CARD(handle)                                \
    BEGIN(handle);                                        \
    if (slice.card >= 0)                                  \
        return NOT_SUPPORTED

#endif
