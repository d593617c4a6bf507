/* Sums in floats, of one level. Compiled with contraction: the sums are estimates. */
#include "metrics/tile/level.h"

#define LOOP_REAL  float
#define LOOP_WIDTH TILE_ROUGH
#define LOOP_JOB   tile_rough_job
#include "metrics/tile/loops.h"

void TILE_LEVEL(tile_rough)(const tile_rough_job *j) { run_tiles(false, j); }
