/* Runs the instructions of Intel's matrix tiles (AMX) on an x86-64 CPU that lacks them, for `check_tiles`.

The CPU raises SIGILL at each of them. The handler below reads the instruction, does in plain C what it says, and goes
on behind it (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2). So the machine code for such
CPUs runs byte for byte. Whatever the manual forbids ends the process. Each thread has its own tiles, as on a CPU.

    cc -O3 -march=native -shared -fPIC -o trapped_tiles.so trapped_tiles.c -ldl
    LD_PRELOAD=./trapped_tiles.so program

With TRAPPED_TILES=FILE, the numbers of executed instructions are appended to this file when the process ends.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { TILES = 8, ROWS = 16, BYTES = 64, WORDS = BYTES / 4 };
enum { LOAD_CONFIGURATION, STORE_CONFIGURATION, RELEASE, ZERO, LOAD, STORE, MULTIPLY, FORK_WITH_TILES, KINDS };
static const char *const NAMES[KINDS] = {"ldtilecfg", "sttilecfg", "tilerelease", "tilezero",
                                         "tileloadd", "tilestored", "tdpbf16ps", "fork with tiles in use"};

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} Configuration;

static _Thread_local Configuration now;
static _Thread_local uint32_t tiles[TILES][ROWS][WORDS];
static atomic_ulong counts[KINDS];
static atomic_int permitted; /* whether this process has asked Linux for the tiles */

static void refuse(const char *why) {
    dprintf(2, "trapped_tiles: %s\n", why);
    abort();
}

static void check(int fine, const char *otherwise) {
    if (!fine) refuse(otherwise);
}

static uint64_t get(const ucontext_t *context, int number) {
    static const int registers[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)context->uc_mcontext.gregs[registers[number]];
}

static void load_configuration(const Configuration *new) {
    check(new->palette <= 1, "ldtilecfg with an unknown palette");
    if (new->palette == 0) {
        memset(&now, 0, sizeof now);
    } else {
        static const uint8_t none[14];
        check(!new->start_row && !memcmp(new->reserved, none, sizeof none), "ldtilecfg with reserved bytes");
        for (int i = 0; i < 16; i++) {
            check(i < TILES ? new->bytes[i] <= BYTES && new->rows[i] <= ROWS : !new->bytes[i] && !new->rows[i],
                  "ldtilecfg with a tile that is too large");
            check(!new->bytes[i] == !new->rows[i], "ldtilecfg with a tile of rows without bytes, or the reverse");
        }
        now = *new;
    }
    memset(tiles, 0, sizeof tiles);
}

static void check_tile(int tile) {
    check(tile < TILES && now.palette == 1 && now.rows[tile], "a tile that is not configured");
}

static void load(int tile, const uint8_t *place, int64_t stride) {
    check_tile(tile);
    memset(tiles[tile], 0, sizeof tiles[tile]);
    for (int row = 0; row < now.rows[tile]; row++) memcpy(tiles[tile][row], place + row * stride, now.bytes[tile]);
}

static void store(int tile, uint8_t *place, int64_t stride) {
    check_tile(tile);
    for (int row = 0; row < now.rows[tile]; row++) memcpy(place + row * stride, tiles[tile][row], now.bytes[tile]);
}

static float half(uint32_t pair, int odd) {
    uint32_t bits = odd ? pair & 0xFFFF0000u : pair << 16;
    if (!(bits & 0x7F800000u)) bits &= 0x80000000u; /* subnormal numbers count as zero */
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static float flushed(float number) {
    return __builtin_fabsf(number) < 0x1p-126f ? __builtin_copysignf(0, number) : number;
}

static void multiply(int c, int a, int b) {
    check_tile(c), check_tile(a), check_tile(b);
    check(c != a && c != b && a != b, "tdpbf16ps with a tile twice");
    check(now.rows[c] == now.rows[a] && now.bytes[c] == now.bytes[b] && now.bytes[a] == 4 * now.rows[b],
          "tdpbf16ps with shapes that do not fit");
    for (int row = 0; row < now.rows[c]; row++) {
        float sums[2][WORDS] = {{0}};
        for (int k = 0; k < now.bytes[a] / 4; k++)
            for (int odd = 0; odd < 2; odd++) {
                float x = half(tiles[a][row][k], odd);
                for (int column = 0; column < now.bytes[c] / 4; column++)
                    sums[odd][column] = flushed(__builtin_fmaf(x, half(tiles[b][k][column], odd), sums[odd][column]));
            }
        for (int column = 0; column < now.bytes[c] / 4; column++) {
            float total;
            memcpy(&total, &tiles[c][row][column], sizeof total);
            total = flushed(flushed(total) + flushed(sums[0][column] + sums[1][column]));
            memcpy(&tiles[c][row][column], &total, sizeof total);
        }
    }
}

static void count(int kind) {
    atomic_fetch_add_explicit(&counts[kind], 1, memory_order_relaxed);
}

/* A memory operand: its base, its index (the distance of rows, in bytes), and the bytes behind the ModRM byte. */
typedef struct {
    uint8_t *base;
    int64_t index;
    int length;
} Place;

static Place place_of(const ucontext_t *context, const uint8_t *modrm, int extended_base, int extended_index) {
    int mode = *modrm >> 6, number = *modrm & 7, at = 1;
    Place place = {0};
    if (number == 4) {
        int scale = modrm[1] >> 6, index = ((modrm[1] >> 3) & 7) | extended_index;
        number = modrm[1] & 7;
        at = 2;
        if (index != 4) place.index = (int64_t)(get(context, index) << scale);
    }
    check(mode != 0 || number != 5, "an address without a base register");
    int64_t displacement = 0;
    if (mode == 1) displacement = (int8_t)modrm[at];
    if (mode == 2) {
        int32_t wide;
        memcpy(&wide, modrm + at, sizeof wide);
        displacement = wide;
    }
    place.base = (uint8_t *)(get(context, number | extended_base) + (uint64_t)displacement);
    place.length = at - 1 + (mode == 1 ? 1 : mode == 2 ? 4 : 0);
    return place;
}

static void handle(int number, siginfo_t *info, void *raw) {
    (void)info;
    ucontext_t *context = raw;
    const uint8_t *code = (const uint8_t *)context->uc_mcontext.gregs[REG_RIP];
    int is_vex = code[0] == 0xC4 && (code[1] & 0x1F) == 2 && !(code[2] & 0x84);
    if (!is_vex || (code[3] != 0x49 && code[3] != 0x4B && code[3] != 0x5C)) {
        signal(number, SIG_DFL); /* something else: it is met again at once, and ends the process */
        return;
    }
    check(permitted, "an instruction of tiles in a process that did not ask for them");
    const uint8_t *modrm = code + 4;
    int prefix = code[2] & 3, tile = (*modrm >> 3) & 7, in_memory = *modrm >> 6 != 3;
    int other = (~code[2] >> 3) & 15, extended_base = code[1] & 0x20 ? 0 : 8, extended_index = code[1] & 0x40 ? 0 : 8;
    Place place = {0};
    if (in_memory) place = place_of(context, modrm, extended_base, extended_index);
    int kind = -1;
    if (code[3] == 0x49 && in_memory && tile == 0 && prefix < 2) kind = prefix ? STORE_CONFIGURATION : LOAD_CONFIGURATION;
    if (code[3] == 0x49 && *modrm == 0xC0 && prefix == 0) kind = RELEASE;
    if (code[3] == 0x49 && !in_memory && prefix == 3) kind = ZERO;
    if (code[3] == 0x4B && in_memory && prefix) kind = prefix == 2 ? STORE : LOAD;
    if (code[3] == 0x5C && !in_memory && prefix == 2) kind = MULTIPLY;
    switch (kind) {
    case LOAD_CONFIGURATION: load_configuration((const Configuration *)(place.base + place.index)); break;
    case STORE_CONFIGURATION: memcpy(place.base + place.index, &now, sizeof now); break;
    case RELEASE: load_configuration(&(Configuration){0}); break;
    case ZERO: check_tile(tile), memset(tiles[tile], 0, sizeof tiles[tile]); break;
    case LOAD: load(tile, place.base, place.index); break;
    case STORE: store(tile, place.base, place.index); break;
    case MULTIPLY: multiply(tile, *modrm & 7, other); break;
    default: refuse("an instruction of tiles that this program does not know");
    }
    count(kind);
    context->uc_mcontext.gregs[REG_RIP] += 5 + place.length;
}

/* Linux asks a process to request the tiles. Here it does not know them, so the answer is given for it. */
long syscall(long number, ...) {
    static long (*real)(long, ...);
    if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_arch_prctl && a[0] == 0x1023 && a[1] == 18) {
        permitted = 1;
        return 0;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

pid_t fork(void) {
    static pid_t (*real)(void);
    if (!real) real = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");
    if (now.palette) count(FORK_WITH_TILES);
    return real();
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGILL, &action, NULL);
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("TRAPPED_TILES");
    if (!path || !counts[MULTIPLY]) return;
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    for (int kind = 0; kind < KINDS; kind++) dprintf(file, "%s %lu\n", NAMES[kind], (unsigned long)counts[kind]);
    close(file);
}
