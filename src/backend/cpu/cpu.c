#include "backend/cpu/cpu.h"

#include "backend/cpu/table.h"
#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define LEVEL(name) extern const cpu_table cpu_table_##name;
LEVEL(generic)
LEVEL(avx2)
LEVEL(avx512)
LEVEL(avx512bf16)
LEVEL(amx)
LEVEL(amx_emulated)
#undef LEVEL

static bool has_generic(void)
{
    return true;
}

#if defined(CPU_HAS_AMX)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}

/* Linux hands out the tile registers' state only to a process that asked for it. */
static bool has_amx(void)
{
    enum { arch_req_xcomp_perm = 0x1023, xfeature_xtiledata = 18 };
#if defined(__linux__)
    return has_avx512bf16() && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
           syscall(SYS_arch_prctl, arch_req_xcomp_perm, xfeature_xtiledata) == 0;
#else
    return false;
#endif
}
#endif

typedef struct {
    const char      *name;
    bool           (*available)(void);
    const cpu_table *table;
    bool             named_only;      /* an emulation: never chosen unless it is the limit itself, nor measured */
} cpu_level;

static const cpu_level levels[] = {
    {"generic", has_generic, &cpu_table_generic, false},
#if defined(CPU_HAS_AMX)
    {"avx2", has_avx2, &cpu_table_avx2, false},
    {"avx512", has_avx512, &cpu_table_avx512, false},
    {"avx512bf16", has_avx512bf16, &cpu_table_avx512bf16, false},
    {"amx", has_amx, &cpu_table_amx, false},
#endif
#if defined(CPU_HAS_AMX_EMULATED)
    {"amx_emulated", has_generic, &cpu_table_amx_emulated, true},
#endif
};

typedef struct {
    nn_backend base;                  /* first, so that its address is the whole's */
    int        tile_columns;          /* base.state */
} cpu_backend;

enum { LEVELS = sizeof levels / sizeof levels[0] };

static const char *const level_names[] = {
    "generic",
#if defined(CPU_HAS_AMX)
    "avx2", "avx512", "avx512bf16", "amx",
#endif
#if defined(CPU_HAS_AMX_EMULATED)
    "amx_emulated",
#endif
    NULL,
};

const char *const *cpu_isa_names(void)
{
    return level_names;
}

static int level_find(const char *name)
{
    for (int i = 0; i < LEVELS; i++)
        if (strcmp(levels[i].name, name) == 0) return i;
    return -1;
}

bool cpu_isa_available(const char *name)
{
    const int i = level_find(name);
    return i >= 0 && levels[i].available();
}

double cpu_ceiling_loop(const char *isa, bool narrow, int rounds)
{
    const int i = level_find(isa);
    if (i < 0 || !levels[i].available()) return 0;
    return (narrow ? levels[i].table->loop_bf16 : levels[i].table->loop_f32)(rounds);
}

static const cpu_level *level_choose(const char *max_isa)
{
    const int limit = max_isa && *max_isa ? level_find(max_isa) : LEVELS - 1;
    for (int i = limit; i >= 0; i--) {
        const bool wanted = !levels[i].named_only || (i == limit && max_isa && *max_isa);
        if (wanted && levels[i].available()) return &levels[i];
    }
    return NULL;
}

static size_t cpu_value_bytes(nn_backend *b, const nn_tensor *t)
{
    (void)b;
    return nn_len(t->shape) * nn_dtype_size(t->dtype);
}

static ddpm_status cpu_alloc(nn_backend *b, size_t size, void **p)
{
    (void)b;
    enum { line = 64 };
    if (size > (size_t)-1 - line) return ddpm_fail(DDPM_ENOMEM, "%zu bytes are more than an address space holds", size);
    const size_t whole = (size + line - 1) / line * line;
    void *mem = aligned_alloc(line, whole ? whole : line);
    if (!mem) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu bytes; use a smaller batch or network", size);
    memset(mem, 0, whole ? whole : line);
    *p = mem;
    return DDPM_OK;
}

static void cpu_free(nn_backend *b, void *p)
{
    (void)b;
    free(p);
}

static void cpu_release(nn_backend *b)
{
    free(b);
}

static double tile_rate(const cpu_table *t, bool wide)
{
    enum { ROUNDS = 200 };          /* about 0.1 ms */
    const double start = clock_now(), operations = t->loop_tiles(wide, ROUNDS);
    return operations / (clock_now() - start);
}

/* Wide blocks load less for each product, but with many tiles in use a core that is shared may
 * be half as fast, from moment to moment; so they must win clearly and nearly always. */
static int measure_tile_columns(const cpu_table *t)
{
    enum { TRIALS = 5, ENOUGH = 4 };
    int wins = 0;
    for (int i = 0; i < TRIALS; i++) wins += tile_rate(t, true) > 1.1 * tile_rate(t, false);
    return wins >= ENOUGH ? 32 : 16;
}

int cpu_tile_columns(const nn_backend *b)
{
    return *(const int *)b->state;
}

void cpu_set_tile_columns(nn_backend *b, int columns)
{
    assert(cpu_tile_columns(b) && (columns == 16 || columns == 32));
    *(int *)b->state = columns;
}

ddpm_status backend_cpu_new(const char *max_isa, nn_backend **b)
{
    const cpu_level *level = level_choose(max_isa);
    if (!level)
        return ddpm_fail(DDPM_EINVAL, "\"%s\" is not an instruction-set level of this build; "
                         "the levels are generic, avx2, avx512, avx512bf16, amx", max_isa);
    cpu_backend *cpu = calloc(1, sizeof *cpu);
    if (!cpu) return ddpm_fail(DDPM_ENOMEM, "no memory for the cpu backend");
    if (level->table->loop_tiles) cpu->tile_columns = level->named_only ? 16 : measure_tile_columns(level->table);
    cpu->base = (nn_backend){
        .name = "cpu", .isa = level->name,
        .value_bytes = cpu_value_bytes, .alloc = cpu_alloc, .free = cpu_free,
        .upload = level->table->upload, .download = level->table->download, .accumulate = level->table->accumulate,
        .release = cpu_release, .state = &cpu->tile_columns,
    };
    for (int i = 0; i < NN_OP_COUNT; i++) cpu->base.kernels[i] = *level->table->kernels[i];
    *b = &cpu->base;
    return DDPM_OK;
}
