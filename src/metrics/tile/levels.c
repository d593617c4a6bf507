#include "metrics/tile/level.h"

#define LEVEL(isa) { tile_products_##isa, tile_squares_##isa, tile_rough_##isa }

static const tile_kernels levels[] = {
    LEVEL(generic),
#if defined(TILE_HAS_AVX512)
    LEVEL(avx2),
    LEVEL(avx512),
#endif
};

/* Levels that this processor has; what the files of one assume is in src/backend/cpu/sources.cmake (of that f16c is nothing
 * that these loops use, and clang 14 cannot ask for it). */
static int count(void)
{
#if defined(TILE_HAS_AVX512)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return wide && __builtin_cpu_supports("avx512dq") ? 3 : 2;
#else
    return 1;
#endif
}

const tile_kernels *tile_level(int level) { return level < count() ? &levels[level] : NULL; }

const tile_kernels *tile_best(void) { return &levels[count() - 1]; }
