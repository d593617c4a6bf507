/* The inner loops of the metrics: every level of instructions against plain loops, bit for bit; and the search for near
 * pairs against distances of all pairs. */
#include "metrics/near.h"
#include "metrics/tile.h"

#include "base/rng.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

static void normals(uint64_t set, float *x, size_t n) { rng_normals((rng_address){ 79, RNG_NOISE, set, 0 }, 0, n, x); }

/* --- levels ------------------------------------------------------------------------------------- */

enum { MOST = 3, ROWS = 37, STEP = 40 };          /* panels of either side; rows of a panel; room of one */

static double plain_sum(const double *a, const double *b, size_t i, size_t j, size_t n, bool squares, double start)
{
    const double *x = a + i / TILE * STEP * TILE + i % TILE, *y = b + j / TILE * STEP * TILE + j % TILE;
    double sum = start;
    for (size_t r = 0; r < n; r++) {
        const double d = x[r * TILE] - y[r * TILE], term = squares ? d * d : x[r * TILE] * y[r * TILE];
        sum += term;
    }
    return sum;
}

static void check_tiles(const tile_kernels *k, const double *a, const double *b, size_t rows, size_t columns, size_t n, bool squares, bool on)
{
    enum { STRIDE = MOST * TILE + 3 };
    double got[(MOST * TILE + 1) * STRIDE], want[(MOST * TILE + 1) * STRIDE];
    for (size_t i = 0; i < sizeof got / sizeof *got; i++) got[i] = want[i] = 0.1 * (double)i - 7;
    const tile_job job = { a, b, rows, columns, STEP * TILE, STEP * TILE, n, got, STRIDE, on };
    (squares ? k->squares : k->products)(&job);
    for (size_t i = 0; i < rows * TILE; i++)
        for (size_t j = 0; j < columns * TILE; j++) {
            double *const at = want + i * STRIDE + j;
            *at = on ? plain_sum(a, b, i, j, n, squares, *at) : *at + plain_sum(a, b, i, j, n, squares, 0);
        }
    assert_memory_equal(got, want, sizeof got);          /* also what lies around */
}

static void test_levels(void **state)
{
    (void)state;
    enum { LEN = MOST * STEP * TILE };
    static float narrow[2 * LEN];
    static double a[LEN], b[LEN];
    normals(1, narrow, 2 * LEN);
    for (size_t i = 0; i < LEN; i++) {
        a[i] = (double)narrow[i] * 1.1;                  /* products that do not fit into a double: fusing them would show */
        b[i] = (double)narrow[LEN + i] / 3;
    }
    int levels = 0;
    for (const tile_kernels *k; (k = tile_level(levels)); levels++)
        for (size_t rows = 1; rows <= MOST; rows++)
            for (size_t columns = 1; columns <= MOST; columns++)
                for (int how = 0; how < 8; how++) check_tiles(k, a, b, rows, columns, how & 4 ? ROWS : 1, how & 1, how & 2);
    assert_in_range(levels, 1, 3);
    assert_ptr_equal(tile_best(), tile_level(levels - 1));
}

static void test_rough(void **state)
{
    (void)state;
    enum { WIDTH = MOST * TILE_ROUGH, LEN = STEP * WIDTH };
    static float a[LEN], b[LEN], c[WIDTH * WIDTH];
    normals(2, a, LEN);
    normals(3, b, LEN);
    const tile_kernels *k;
    for (int level = 0; (k = tile_level(level)); level++)
        for (size_t columns = 1; columns <= MOST; columns++) {
            memset(c, 0, sizeof c);
            k->rough(&(tile_rough_job){ a, b, MOST, columns, STEP * TILE_ROUGH, STEP * TILE_ROUGH, ROWS, c, WIDTH, true });
            for (size_t i = 0; i < WIDTH; i++)
                for (size_t j = 0; j < columns * TILE_ROUGH; j++) {
                    double want = 0, lengths = 0;
                    for (size_t r = 0; r < ROWS; r++) {
                        const double x = (double)a[(i / TILE_ROUGH * STEP + r) * TILE_ROUGH + i % TILE_ROUGH];
                        const double y = (double)b[(j / TILE_ROUGH * STEP + r) * TILE_ROUGH + j % TILE_ROUGH];
                        want += x * y;
                        lengths += x * x + y * y;
                    }
                    assert_true(fabs((double)c[i * WIDTH + j] - want) <= 1.01 * (ROWS + 3) * 0x1p-24 * lengths / 2);
                }
        }
}

/* --- near pairs ------------------------------------------------------------------------------------ */

enum { LEFT = 150, RIGHT = 133, DIMS = 301 };

typedef struct { double left[LEFT * DIMS], right[RIGHT * DIMS], distance[LEFT * RIGHT]; float narrow[2][LEFT * DIMS]; metric_rows rows[2]; } sets;

static void measure_plainly(sets *s)
{
    for (size_t i = 0; i < LEFT; i++)
        for (size_t k = 0; k < RIGHT; k++) {
            double sum = 0;
            for (size_t r = 0; r < DIMS; r++) {
                const double d = s->left[i * DIMS + r] - s->right[k * DIMS + r];
                sum += d * d;
            }
            s->distance[i * RIGHT + k] = sum;
        }
}

/* offset + scale z; as floats, or as doubles that no float equals. */
static sets *make_sets(double offset, double scale, bool wide)
{
    sets *s = calloc(1, sizeof *s);
    float z[DIMS];
    assert_non_null(s);
    for (size_t i = 0; i < LEFT + RIGHT; i++) {
        double *row = i < LEFT ? s->left + i * DIMS : s->right + (i - LEFT) * DIMS;
        float *narrow = i < LEFT ? s->narrow[0] + i * DIMS : s->narrow[1] + (i - LEFT) * DIMS;
        normals(100 + i, z, DIMS);
        for (size_t k = 0; k < DIMS; k++) {
            row[k] = offset + scale * (1 + (double)(i % 7)) * (double)z[k];
            if (wide) continue;
            narrow[k] = (float)row[k];
            row[k] = (double)narrow[k];
        }
    }
    s->rows[0] = (metric_rows){ wide ? (void *)s->left : s->narrow[0], LEFT, DIMS, wide };
    s->rows[1] = (metric_rows){ wide ? (void *)s->right : s->narrow[1], RIGHT, DIMS, wide };
    measure_plainly(s);
    return s;
}

static bool same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

/* How many pairs were left out. */
static size_t check_near(const sets *s, const double *left_limit, const double *right_limit)
{
    const metric_work alone = { .threads = NULL };
    near_set left, right;
    near_scratch scratch;
    size_t out = 0;
    check(near_set_new(&s->rows[0], &left));
    check(near_set_new(&s->rows[1], &right));
    check(near_scratch_new(&alone, DIMS, &scratch));
    near_room room = near_scratch_of(&scratch, 0);
    for (size_t a = 0; a < pair_blocks(LEFT); a++) {
        near_begin(&room, &left, a);
        for (size_t b = 0; b < pair_blocks(RIGHT); b++) {
            near_distances(&room, &right, b, left_limit + a * PAIR_BLOCK, right_limit ? right_limit + b * PAIR_BLOCK : NULL);
            for (size_t i = 0; i < pair_rows_in(a, LEFT); i++)
                for (size_t k = 0; k < pair_rows_in(b, RIGHT); k++) {
                    const size_t row = a * PAIR_BLOCK + i, column = b * PAIR_BLOCK + k;
                    const double got = room.out[i * PAIR_BLOCK + k], want = s->distance[row * RIGHT + column];
                    if (same(got, want)) continue;
                    out++;
                    if (got != INFINITY || want <= left_limit[row] || (right_limit && want <= right_limit[column])) fail_msg("row %zu, column %zu: %.17g, want %.17g", row, column, got, want);
                }
        }
    }
    near_scratch_free(&scratch);
    near_set_free(&left);
    near_set_free(&right);
    return out;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The limit of a row is one of its distances, so that one pair lies on it. */
static void limits_of_rows(const sets *s, size_t rank, double *limit)
{
    double sorted[RIGHT];
    for (size_t i = 0; i < LEFT; i++) {
        memcpy(sorted, s->distance + i * RIGHT, sizeof sorted);
        qsort(sorted, RIGHT, sizeof *sorted, by_value);
        limit[i] = sorted[rank];
    }
}

static void limits_of_columns(const sets *s, double *limit)
{
    for (size_t k = 0; k < RIGHT; k++) {
        limit[k] = INFINITY;
        for (size_t i = 0; i < LEFT; i++) limit[k] = s->distance[i * RIGHT + k] < limit[k] ? s->distance[i * RIGHT + k] : limit[k];
    }
}

static size_t search(double offset, double scale, bool wide)
{
    sets *s = make_sets(offset, scale, wide);
    double left[LEFT], right[RIGHT];
    size_t out = 0;
    limits_of_columns(s, right);
    for (int i = 0; i < 4; i++) {
        limits_of_rows(s, (size_t[]){ 0, 1, 3, 60 }[i], left);
        out += check_near(s, left, NULL);
        check_near(s, left, right);
    }
    free(s);
    return out;
}

static void test_near_pairs(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        assert_true(search(0, 1, wide) > 5 * LEFT * RIGHT / 2);            /* of four searches; or it would be of no use */
        search(30, 1, wide);                                               /* far from 0: hardly anything is excluded    */
        search(3000, 0.5, wide);
        search(0, 1e-22, wide);
        search(0, 1e-42, wide);
        search(0, 3e18, wide);                                             /* squares that floats hold, sums that they do not */
        search(0, 1e37, wide);
    }
    search(0, 1e80, true);
    search(1e160, 1e155, true);                                            /* distances overflow */
    search(1, 1e-12, true);                                                /* floats see equal rows */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_levels), cmocka_unit_test(test_rough), cmocka_unit_test(test_near_pairs) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
