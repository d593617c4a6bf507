/* level.h - the names of one level's functions; private to metrics/tile/. TILE_ISA is the level that a file is compiled for. */
#ifndef DDPM_METRICS_TILE_LEVEL_H
#define DDPM_METRICS_TILE_LEVEL_H

#include "metrics/tile.h"

#define TILE_PASTE_(name, isa) name##_##isa
#define TILE_PASTE(name, isa) TILE_PASTE_(name, isa)
#define TILE_LEVEL(name) TILE_PASTE(name, TILE_ISA)

#define TILE_DECLARE(isa)                              \
    void tile_products_##isa(const tile_job *j);       \
    void tile_squares_##isa(const tile_job *j);        \
    void tile_rough_##isa(const tile_rough_job *j);
TILE_DECLARE(generic)
TILE_DECLARE(avx2)
TILE_DECLARE(avx512)
#undef TILE_DECLARE

#endif
