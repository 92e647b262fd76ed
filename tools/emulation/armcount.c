/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A plugin for QEMU's user mode (TCG plugins, API version 1: QEMU 4.2 and later): what an aarch64 program does between two getppid() calls.
 *
 *     gcc -O2 -fPIC -shared -o libarmcount.so armcount.c
 *     qemu-aarch64 -plugin libarmcount.so,out=FILE,l1=32x4,l2=1024x16,l3=0x1 PROGRAM
 *
 * Each pair of getppid() calls appends one line of eleven numbers to FILE: the instructions executed between them by class (fp_mac,
 * int_mac, load, store, other; each instruction is in one class, nop in none), then the lines of 64 bytes that a model of the data caches
 * fetched into and wrote back from its first, second and third level. getsid() empties the caches; they are followed from there to
 * the next second getppid(). Sizes are KIBxWAYS; 0 leaves a level out. One thread of the program is counted exactly; with more, updates of
 * the counters are lost now and then.
 *
 * The classes are decided from instruction words as they are translated (Arm Architecture Reference Manual for A-profile, C4.1), and a
 * block of instructions adds its sums when it is entered: the counters outlive QEMU's own blocks, and counting costs next to nothing.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is used of QEMU's plugin interface. */
typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { NO_REGISTERS = 0, INLINE_ADD = 0, READS_AND_WRITES = 3 };
typedef void (*on_block)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*on_memory)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *);
typedef void (*on_syscall)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, on_block);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, on_syscall);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *counter, uint64_t added);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, on_memory, int flags, int kinds, void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);
extern bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);
#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { GETSID = 156, GETPPID = 173, NOP = 0xd503201f };
enum { FP_MAC, INT_MAC, LOAD, STORE, OTHER, CLASSES };
struct pattern { uint32_t mask, value; };

static const struct pattern FP[] = {
    {0xff000000, 0x1f000000},                                                     /* fmadd fmsub fnmadd fnmsub */
    {0xff207c00, 0x1e200800},                                                     /* fmul fnmul, scalar */
    {0xbf20fc00, 0x0e20cc00}, {0xbfa0fc00, 0x2e20dc00},                           /* fmla fmls, fmul: vectors */
    {0xbf60fc00, 0x0e400c00}, {0xbfe0fc00, 0x2e401c00},                           /* the same of half precision */
    {0xaf80f400, 0x0f801000}, {0xaf80f400, 0x0f805000}, {0xaf80f400, 0x0f809000}, /* fmla fmls fmul by element, vector and scalar */
    {0xafc0f400, 0x0f001000}, {0xafc0f400, 0x0f005000}, {0xafc0f400, 0x0f009000}, /* the same of half precision */
    {0xbf20fc00, 0x0e20ec00}, {0xbf20fc00, 0x2e20cc00},                           /* fmlal fmlsl, fmlal2 fmlsl2 */
    {0xbfc0b400, 0x0f800000}, {0xbfc0b400, 0x2f808000},                           /* the same by element */
};
static const struct pattern INTEGER[] = {
    {0x9fe0fc00, 0x0e809400}, {0xbfe0fc00, 0x0e809c00},                           /* sdot udot, usdot */
    {0x9fc0f400, 0x0f80e000}, {0xbf40f400, 0x0f00f000},                           /* the same by element, sudot */
    {0xdfe0f400, 0x4e80a400},                                                     /* smmla ummla usmmla */
    {0x9f20dc00, 0x0e208000}, {0x9f20fc00, 0x0e20c000},                           /* [su]mlal [su]mlsl, [su]mull */
    {0xbf20dc00, 0x0e209000}, {0xbf20fc00, 0x0e20d000},                           /* sqdmlal sqdmlsl, sqdmull */
    {0x9f00b400, 0x0f002000}, {0x9f00f400, 0x0f00a000},                           /* [su]mlal [su]mlsl, [su]mull by element */
    {0xbf00b400, 0x0f003000}, {0xbf00f400, 0x0f00b000},                           /* sqdmlal sqdmlsl, sqdmull by element */
    {0xbf20fc00, 0x0e209c00}, {0x9f20fc00, 0x0e209400},                           /* mul, mla mls: vectors */
    {0xbf00b400, 0x2f000000}, {0xbf00f400, 0x0f008000},                           /* mla mls, mul by element */
    {0x9f20fc00, 0x0e20b400}, {0xbf20f400, 0x2e008400},                           /* sqdmulh sqrdmulh, sqrdmlah sqrdmlsh */
    {0xbf00e400, 0x0f00c000}, {0xbf00d400, 0x2f00d000},                           /* the same by element */
};

static uint64_t executed[CLASSES];

static bool any(const struct pattern *patterns, size_t n, uint32_t word) {
    for (size_t i = 0; i < n; i++)
        if ((word & patterns[i].mask) == patterns[i].value) return true;
    return false;
}

static int class_of(uint32_t word) {
    if ((word & 0x0e000000) == 0x0e000000) { /* arithmetic of floats and vectors */
        if (any(FP, sizeof FP / sizeof *FP, word)) return FP_MAC;
        if (any(INTEGER, sizeof INTEGER / sizeof *INTEGER, word)) return INT_MAC;
        return OTHER;
    }
    if ((word & 0x0a000000) != 0x08000000) return OTHER;
    uint32_t vector = word >> 26 & 1, opc = word >> 22 & 3, size = word >> 30;
    if ((word & 0x3b000000) == 0x18000000) return size == 3 && !vector ? OTHER : LOAD; /* literal; prfm */
    if ((word & 0x38000000) == 0x38000000) {                                           /* one register */
        if ((word & 0x3f200c00) == 0x38200000) return LOAD;                            /* atomic: ldadd swp ldapr */
        if (!vector && size == 3 && opc == 2) return OTHER;                            /* prfm */
        return vector ? (opc & 1 ? LOAD : STORE) : (opc ? LOAD : STORE);
    }
    return opc & 1 ? LOAD : STORE; /* pairs, structures, exclusive and ordered */
}

/* Sets of lines, the line used last first: 2 * line + dirty; 0 is empty. */
struct level { uint64_t *lines, sets, ways, fetched, written; };
static struct level levels[3];
static bool followed, counted;

static void touch(int k, uint64_t line, bool dirty, bool fetch) {
    while (k < 3 && !levels[k].sets) k++;
    if (k == 3) return;
    struct level *level = &levels[k];
    uint64_t *set = level->lines + line % level->sets * level->ways, found = 0;
    for (; found < level->ways; found++)
        if (set[found] >> 1 == line) break;
    bool miss = found == level->ways;
    uint64_t last = miss ? set[--found] : 0, now = miss ? line << 1 : set[found];
    memmove(set + 1, set, found * sizeof *set);
    set[0] = now | dirty;
    if (!miss) return;
    if (last & 1) {
        level->written++;
        touch(k + 1, last >> 1, true, false);
    }
    if (fetch) {
        level->fetched++;
        touch(k + 1, line, false, true);
    }
}

static void memory(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *unused) {
    if (!followed) return;
    uint64_t last = (address + (1u << qemu_plugin_mem_size_shift(info)) - 1) >> 6;
    bool store = qemu_plugin_mem_is_store(info);
    for (uint64_t line = address >> 6; line <= last; line++) touch(0, line, store, true);
}

static void block(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    uint64_t sums[CLASSES] = {0};
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
        if (word != NOP) sums[class_of(word)]++;
        qemu_plugin_register_vcpu_mem_cb(insn, memory, NO_REGISTERS, READS_AND_WRITES, NULL);
    }
    for (int c = 0; c < CLASSES; c++)
        if (sums[c]) qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD, &executed[c], sums[c]);
}

static char out[4096];

static void append(void) {
    char text[512];
    int n = 0;
    for (int c = 0; c < CLASSES; c++) n += sprintf(text + n, "%llu ", (unsigned long long)executed[c]);
    for (int k = 0; k < 3; k++)
        n += sprintf(text + n, "%llu %llu%c", (unsigned long long)levels[k].fetched, (unsigned long long)levels[k].written, k < 2 ? ' ' : '\n');
    int file = open(out, O_WRONLY | O_APPEND | O_CREAT, 0666); /* opened anew: a forked program writes to the same file */
    if (file < 0 || write(file, text, n) != n || close(file)) {
        perror(out);
        exit(1);
    }
}

static void system_call(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f,
                        uint64_t g, uint64_t h) {
    if (number == GETSID) {
        for (int k = 0; k < 3; k++)
            if (levels[k].sets) memset(levels[k].lines, 0, levels[k].sets * levels[k].ways * sizeof *levels[k].lines);
        followed = true;
    } else if (number == GETPPID) {
        if (counted) {
            append();
            followed = false;
        } else {
            memset(executed, 0, sizeof executed);
            for (int k = 0; k < 3; k++) levels[k].fetched = levels[k].written = 0;
        }
        counted = !counted;
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        unsigned k, kib, ways;
        if (sscanf(argv[i], "l%u=%ux%u", &k, &kib, &ways) == 3 && k >= 1 && k <= 3 && ways) {
            struct level *level = &levels[k - 1];
            level->ways = ways;
            level->sets = kib * 16 / ways;
            level->lines = calloc(level->sets * ways + 1, sizeof *level->lines);
        } else if (sscanf(argv[i], "out=%4095s", out) != 1) {
            fprintf(stderr, "armcount: what is %s?\n", argv[i]);
            return 1;
        }
    }
    if (!*out) {
        fprintf(stderr, "armcount: out=FILE is needed\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, block);
    qemu_plugin_register_vcpu_syscall_cb(id, system_call);
    return 0;
}
