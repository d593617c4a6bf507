/* loops.h - tiles of running sums for one type of numbers; private to metrics/tile/.
 *
 * Whoever includes this defines LOOP_REAL, LOOP_WIDTH (columns of a panel), LOOP_JOB (type of a job) and, by the level it is compiled
 * for, TILE_BYTES (of a vector), TILE_HEIGHT and TILE_VECTORS: a tile is that many rows by that many vectors of sums, which
 * the level's registers hold. */
#include "metrics/tile.h"

enum { LANES = TILE_BYTES / (int)sizeof(LOOP_REAL), COLUMNS = TILE_VECTORS * LANES };

typedef LOOP_REAL lane __attribute__((vector_size(TILE_BYTES), aligned(sizeof(LOOP_REAL)), may_alias));
typedef LOOP_REAL lanes __attribute__((vector_size(TILE_BYTES)));

#define LOOP_INLINE static inline __attribute__((always_inline))

static inline lanes load(const LOOP_REAL *p) { return *(const lane *)p; }
static inline void store(LOOP_REAL *p, lanes v) { *(lane *)p = v; }

/* Rows from a on with `vectors` vectors of b, `apart` numbers from one to the next. */
LOOP_INLINE void run_tile(const bool squares, const int vectors, const LOOP_JOB *j, const LOOP_REAL *a, const LOOP_REAL *b, size_t apart, LOOP_REAL *c)
{
    lanes sum[TILE_HEIGHT][TILE_VECTORS];
    #pragma GCC unroll 8
    for (size_t r = 0; r < TILE_HEIGHT; r++)
        #pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sum[r][v] = j->on ? load(c + r * j->stride + v * LANES) : (lanes){ 0 };
    for (size_t k = 0; k < j->n; k++, a += LOOP_WIDTH, b += LOOP_WIDTH) {
        lanes right[TILE_VECTORS];
        #pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) right[v] = load(b + (size_t)v * apart);
        #pragma GCC unroll 8
        for (size_t r = 0; r < TILE_HEIGHT; r++)
            #pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) {
                const lanes d = a[r] - right[v];
                sum[r][v] += squares ? d * d : a[r] * right[v];
            }
    }
    #pragma GCC unroll 8
    for (size_t r = 0; r < TILE_HEIGHT; r++)
        #pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            LOOP_REAL *const at = c + r * j->stride + v * LANES;
            store(at, j->on ? sum[r][v] : load(at) + sum[r][v]);
        }
}

/* Columns of b outside: they stay in the first cache while the rows of a pass. */
LOOP_INLINE void run_tiles(const bool squares, const LOOP_JOB *j)
{
    const size_t width = j->b_panels * LOOP_WIDTH, apart = (int)LANES == (int)LOOP_WIDTH ? j->b_step : LANES;
    for (size_t column = 0; column < width; column += COLUMNS) {
        const LOOP_REAL *b = j->b + column / LOOP_WIDTH * j->b_step + column % LOOP_WIDTH;
        for (size_t row = 0; row < j->a_panels * LOOP_WIDTH; row += TILE_HEIGHT) {
            const LOOP_REAL *a = j->a + row / LOOP_WIDTH * j->a_step + row % LOOP_WIDTH;
            LOOP_REAL *c = j->c + row * j->stride + column;
            if (width - column >= COLUMNS) run_tile(squares, TILE_VECTORS, j, a, b, apart, c);
            else run_tile(squares, 1, j, a, b, apart, c);
        }
    }
}
