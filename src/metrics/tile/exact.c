/* Sums in doubles, of one level. */
#include "metrics/tile/level.h"

#define LOOP_REAL  double
#define LOOP_WIDTH TILE
#define LOOP_JOB   tile_job
#include "metrics/tile/loops.h"

void TILE_LEVEL(tile_products)(const tile_job *j) { run_tiles(false, j); }
void TILE_LEVEL(tile_squares)(const tile_job *j) { run_tiles(true, j); }
