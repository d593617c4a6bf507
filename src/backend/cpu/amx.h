/* amx.h - the four tile operations the kernels use, on AMX or emulated.
 *
 * A tile is 16 rows of 64 bytes. Tile numbers are literals. amx_begin makes as many tiles
 * usable as the caller names, from number 0 on, and the others stay in their initial state:
 * with few live tiles the hardware runs up to twice as fast when another thread shares the core.
 * AMX_TILES is 1 when the level has tiles. CPU_AMX_EMULATED replaces the
 * instructions by plain C with their documented arithmetic: the products of even
 * elements and those of odd ones are two sums from zero, fused, whose sum is added
 * to the tile; nearest even, subnormal operands and results as zero. A tile that
 * amx_begin did not name is an error there, as it is to the processor. */
#ifndef DDPM_BACKEND_CPU_AMX_H
#define DDPM_BACKEND_CPU_AMX_H

#include "backend/cpu/isa.h"

#if defined(CPU_AMX_EMULATED)

#define AMX_TILES 1
#include <assert.h>
#include <math.h>

typedef struct { int tiles; uint32_t row[8][16][16]; } amx_state;

static inline float amx_flush(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

static inline void amx_begin(amx_state *s, int tiles)
{
    *s = (amx_state){.tiles = tiles};
}

static inline void amx_end(amx_state *s) { s->tiles = 0; }

static inline void amx_zero_tile(amx_state *s, int t)
{
    assert(t < s->tiles);
    memset(s->row[t], 0, sizeof s->row[t]);
}

static inline void amx_load_tile(amx_state *s, int t, const void *p, ptrdiff_t stride)
{
    assert(t < s->tiles);
    for (int r = 0; r < 16; r++) memcpy(s->row[t][r], (const char *)p + r * stride, 64);
}

static inline void amx_store_tile(const amx_state *s, int t, void *p, ptrdiff_t stride)
{
    assert(t < s->tiles);
    for (int r = 0; r < 16; r++) memcpy((char *)p + r * stride, s->row[t][r], 64);
}

typedef struct { float even[16][16], odd[16][16]; } amx_values;

static inline void amx_widen(const amx_state *s, int t, amx_values *v)
{
    for (int r = 0; r < 16; r++)
        for (int k = 0; k < 16; k++) {
            v->even[r][k] = amx_flush(bf16_to_f32((bf16)s->row[t][r][k]));
            v->odd[r][k] = amx_flush(bf16_to_f32((bf16)(s->row[t][r][k] >> 16)));
        }
}

/* x * y + sum of bf16 x and y, rounded once: in double the product is exact, and the sum too unless one of the
 * two is below 2^-29 of the other, which then decides no tie. */
static inline float amx_fused(float x, float y, float sum)
{
    return amx_flush((float)((double)x * (double)y + (double)sum));
}

static inline void amx_dp_tile(amx_state *s, int acc, int a, int b)
{
    assert(acc < s->tiles && a < s->tiles && b < s->tiles);
    amx_values x, y;
    amx_widen(s, a, &x);
    amx_widen(s, b, &y);
    for (int i = 0; i < 16; i++) {
        float even[16] = {0}, odd[16] = {0}, sum[16];
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 16; j++) {
                even[j] = amx_fused(x.even[i][k], y.even[k][j], even[j]);
                odd[j] = amx_fused(x.odd[i][k], y.odd[k][j], odd[j]);
            }
        memcpy(sum, s->row[acc][i], sizeof sum);
        for (int j = 0; j < 16; j++) sum[j] = amx_flush(amx_flush(sum[j]) + amx_flush(even[j] + odd[j]));
        memcpy(s->row[acc][i], sum, sizeof sum);
    }
}

#define amx_zero(s, t)              amx_zero_tile(s, t)
#define amx_load(s, t, p, stride)   amx_load_tile(s, t, p, stride)
#define amx_store(s, t, p, stride)  amx_store_tile(s, t, p, stride)
#define amx_dp(s, acc, a, b)        amx_dp_tile(s, acc, a, b)

#elif defined(__AMX_BF16__) && defined(__AMX_TILE__)

#define AMX_TILES 1

typedef struct { _Alignas(64) unsigned char config[64]; } amx_state;

static inline void amx_begin(amx_state *s, int tiles)
{
    *s = (amx_state){0};
    s->config[0] = 1;
    for (int t = 0; t < tiles; t++) {
        s->config[16 + 2 * t] = 64;
        s->config[48 + t] = 16;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(*s) : "memory");
}

static inline void amx_end(amx_state *s)
{
    (void)s;
    __asm__ volatile("tilerelease" : : : "memory");
}

/* Not the compiler's intrinsics: gcc 12's loads do not say that they read memory, so that
 * stores may be moved behind them, and its _tile_loadconfig declares 8 of the 64 bytes. */
#define amx_zero(s, t) \
    do { (void)(s); __asm__ volatile("tilezero %%tmm" #t : :); } while (0)
#define amx_load(s, t, p, stride) \
    do { (void)(s); __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(p), "r"((ptrdiff_t)(stride)) : "memory"); } while (0)
#define amx_store(s, t, p, stride) \
    do { (void)(s); __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(p), "r"((ptrdiff_t)(stride)) : "memory"); } while (0)
#define amx_dp(s, acc, a, b) \
    do { (void)(s); __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #acc : :); } while (0)

#else

/* Lets the callers compile; guarded by AMX_TILES they are never run. */
#define AMX_TILES 0

typedef struct { char none; } amx_state;

static inline void amx_begin(amx_state *s, int tiles) { (void)s, (void)tiles; }
static inline void amx_end(amx_state *s) { (void)s; }

#define amx_zero(s, t)              ((void)(s))
#define amx_load(s, t, p, stride)   ((void)(s), (void)(p), (void)(stride))
#define amx_store(s, t, p, stride)  ((void)(s), (void)(p), (void)(stride))
#define amx_dp(s, acc, a, b)        ((void)(s))

#endif

#endif
