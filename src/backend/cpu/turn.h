/* turn.h - transposition of LANES rows of LANES words in registers. */
#ifndef DDPM_BACKEND_CPU_TURN_H
#define DDPM_BACKEND_CPU_TURN_H

#include "backend/cpu/tile.h"

/* One stage: the off-diagonal blocks of d x d change places. */
TILE_INLINE void turn_stage(const int d, vf *row)
{
    vi low, high;
    #pragma GCC unroll 16
    for (int l = 0; l < LANES; l++) {
        low[l] = l & d ? LANES + l - d : l;
        high[l] = l & d ? LANES + l : l + d;
    }
    #pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        if (i & d) continue;
        const vf a = row[i], b = row[i + d];
        row[i] = __builtin_shuffle(a, b, low);
        row[i + d] = __builtin_shuffle(a, b, high);
    }
}

TILE_INLINE void turn_words(vf *row)
{
    turn_stage(1, row);
    turn_stage(2, row);
    if (LANES > 4) turn_stage(LANES > 4 ? 4 : 1, row);
    if (LANES > 8) turn_stage(LANES > 8 ? 8 : 1, row);
}

#endif
