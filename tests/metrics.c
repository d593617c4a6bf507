/* Image-set metrics: linear algebra, moments, principal components, Frechet distance and its interval, nearest
 * images, against closed forms and plain loops. */
#include "metrics/bootstrap.h"
#include "metrics/frechet.h"
#include "metrics/linalg.h"
#include "metrics/moments.h"
#include "metrics/neighbours.h"
#include "metrics/pca.h"

#include "base/rng.h"

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

static void near_to(double got, double want, double allowed)
{
    if (!(fabs(got - want) <= allowed)) fail_msg("%.17g, want %.17g within %g", got, want, allowed);
}

static double normal(uint64_t set, size_t k)
{
    float z;
    rng_normals((rng_address){ 77, RNG_NOISE, set, 0 }, k, 1, &z);
    return z;
}

/* q[n,n] orthonormal: reflections at n vectors. */
static void rotation(size_t n, uint64_t set, double *q)
{
    for (size_t i = 0; i < n * n; i++) q[i] = i % (n + 1) == 0;
    for (size_t v = 0; v < n; v++) {
        double u[32], length = 0;
        for (size_t i = 0; i < n; i++) {
            u[i] = normal(set, v * n + i);
            length += u[i] * u[i];
        }
        for (size_t i = 0; i < n; i++) {
            double dot = 0;
            for (size_t j = 0; j < n; j++) dot += q[i * n + j] * u[j];
            for (size_t j = 0; j < n; j++) q[i * n + j] -= 2 * dot * u[j] / length;
        }
    }
}

/* s[n,n] = q^T diag(w) q */
static void with_eigenvalues(size_t n, const double *q, const double *w, double *s)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            s[i * n + j] = 0;
            for (size_t k = 0; k < n; k++) s[i * n + j] += q[k * n + i] * w[k] * q[k * n + j];
        }
}

/* --- linear algebra --------------------------------------------------------------------- */

static void test_eigenvalues(void **state)
{
    (void)state;
    enum { N = 13 };
    double q[N * N], w[N], a[N * N], values[N], again[N * N];
    for (size_t k = 0; k < N; k++) w[k] = (double)k * 0.75 - 3;
    rotation(N, 1, q);
    with_eigenvalues(N, q, w, a);
    memcpy(again, a, sizeof a);
    check(linalg_eigen(N, a, true, values));
    for (size_t k = 0; k < N; k++) {
        double dot = 0;
        near_to(values[k], w[k], 1e-13);
        for (size_t i = 0; i < N; i++) dot += a[k * N + i] * q[k * N + i];
        near_to(fabs(dot), 1, 1e-13);                      /* row k is the vector, or its negative */
    }
    check(linalg_eigen(N, again, false, values));
    for (size_t k = 0; k < N; k++) near_to(values[k], w[k], 1e-13);
    for (size_t k = 1; k <= N; k += 4) {
        double top[N * N];
        with_eigenvalues(N, q, w, again);
        check(linalg_eigen_top(N, again, k, values, top));
        for (size_t v = 0; v < k; v++) {
            double dot = 0;
            near_to(values[v], w[N - 1 - v], 1e-13);
            for (size_t i = 0; i < N; i++) dot += top[v * N + i] * q[(N - 1 - v) * N + i];
            near_to(fabs(dot), 1, 1e-13);
        }
    }
    double one[1] = { -4 };
    check(linalg_eigen(1, one, true, values));
    near_to(values[0], -4, 0);
    near_to(fabs(one[0]), 1, 0);
    check(linalg_eigen_top(1, one, 1, values, again));
    near_to(fabs(values[0]), 1, 0);
    double bad[4] = { 1, NAN, NAN, 1 };
    assert_int_equal(linalg_eigen_top(2, bad, 1, values, again), DDPM_ENUMERIC);
    assert_int_equal(linalg_eigen(2, bad, true, values), DDPM_ENUMERIC);
}

static void test_product(void **state)
{
    (void)state;
    enum { M = 7, N = 5, K = 11 };
    double a[M * K], b[N * K], got[M * N];
    for (size_t i = 0; i < M * K; i++) a[i] = normal(2, i);
    for (size_t i = 0; i < N * K; i++) b[i] = normal(3, i);
    check(linalg_product(M, N, K, a, b, got));
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            double want = 0;
            for (size_t k = 0; k < K; k++) want += a[i * K + k] * b[j * K + k];
            near_to(got[i * N + j], want, 0);
        }
}

static void test_cholesky(void **state)
{
    (void)state;
    enum { N = 13 };
    double q[N * N], w[N], a[N * N], root[N * N];
    bool definite = false;
    for (size_t k = 0; k < N; k++) w[k] = pow(10, -(double)k / 2);
    rotation(N, 6, q);
    with_eigenvalues(N, q, w, a);
    memcpy(root, a, sizeof a);
    check(linalg_cholesky(N, root, &definite));
    assert_true(definite);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++) {
            double sum = 0;
            for (size_t k = 0; k < N; k++) sum += root[k * N + i] * root[k * N + j];
            near_to(sum, a[i * N + j], 1e-15);
            if (j < i) near_to(root[i * N + j], 0, 0);
        }
    a[4 * (N + 1)] = -1e-3;
    check(linalg_cholesky(N, a, &definite));
    assert_false(definite);
    double bad[4] = { 1, INFINITY, INFINITY, 1 };
    assert_int_equal(linalg_cholesky(2, bad, &definite), DDPM_ENUMERIC);
}

/* --- moments ------------------------------------------------------------------------------ */

enum { ROWS = 1100, DIMS = 6 };

/* Far from 0, with deviations from 1 to 1e-3. */
static double *make_rows(void)
{
    double *x = malloc(ROWS * DIMS * sizeof *x);
    assert_non_null(x);
    for (size_t k = 0; k < ROWS * DIMS; k++) x[k] = 1e5 * (double)(k % DIMS) + pow(10, -(double)(k % DIMS) / 2) * (normal(4, k) + 0.5 * normal(4, k - k % DIMS));
    return x;
}

static void plain_moments(const double *x, size_t n, double *mean, double *covariance)
{
    for (size_t i = 0; i < DIMS; i++) {
        long double sum = 0;
        for (size_t r = 0; r < n; r++) sum += x[r * DIMS + i];
        mean[i] = (double)(sum / n);
    }
    for (size_t i = 0; i < DIMS; i++)
        for (size_t j = 0; j < DIMS; j++) {
            long double sum = 0;
            for (size_t r = 0; r < n; r++) sum += (long double)(x[r * DIMS + i] - mean[i]) * (x[r * DIMS + j] - mean[j]);
            covariance[i * DIMS + j] = (double)(sum / (n - 1));
        }
}

static void test_moments(void **state)
{
    (void)state;
    double *x = make_rows(), mean[DIMS], covariance[DIMS * DIMS], want_mean[DIMS], want[DIMS * DIMS];
    moments *m = NULL;
    check(moments_new(DIMS, NULL, &m));
    assert_int_equal(moments_read(m, mean, covariance), DDPM_EINVAL);
    for (size_t n = 1; n <= ROWS; n += n < 20 ? 1 : 271) {
        moments_clear(m);
        moments_add(m, x, n);
        assert_int_equal(moments_count(m), n);
        if (n == 1) {
            assert_int_equal(moments_read(m, mean, covariance), DDPM_EINVAL);
            continue;
        }
        check(moments_read(m, mean, covariance));
        plain_moments(x, n, want_mean, want);
        for (size_t i = 0; i < DIMS; i++) near_to(mean[i], want_mean[i], 5e-10);
        for (size_t i = 0; i < DIMS * DIMS; i++) near_to(covariance[i], want[i], 1e-9 * sqrt(want[i / DIMS * (DIMS + 1)] * want[i % DIMS * (DIMS + 1)]));
    }
    moments_free(m);
    free(x);
}

/* More columns than a task takes, and no whole number of panels. */
static void test_wide_moments(void **state)
{
    (void)state;
    enum { WIDE = 83, FEW = 300 };
    static double x[FEW * WIDE], mean[WIDE], covariance[2][WIDE * WIDE];
    for (size_t i = 0; i < FEW * WIDE; i++) x[i] = normal(7, i) + normal(8, i / WIDE);
    for (int threads = 0; threads < 2; threads++) {
        moments *m = NULL;
        pool *p = NULL;
        check(pool_new(3, &p));
        check(moments_new(WIDE, threads ? p : NULL, &m));
        moments_add(m, x, FEW);
        check(moments_read(m, mean, covariance[threads]));
        moments_free(m);
        pool_free(p);
    }
    assert_memory_equal(covariance[0], covariance[1], sizeof covariance[0]);
    for (size_t i = 0; i < WIDE; i++)
        for (size_t j = 0; j < WIDE; j++) {
            double of_i = 0, of_j = 0, sum = 0;
            for (size_t r = 0; r < FEW; r++) of_i += x[r * WIDE + i] / FEW;
            for (size_t r = 0; r < FEW; r++) of_j += x[r * WIDE + j] / FEW;
            for (size_t r = 0; r < FEW; r++) sum += (x[r * WIDE + i] - of_i) * (x[r * WIDE + j] - of_j);
            near_to(covariance[0][i * WIDE + j], sum / (FEW - 1), 1e-13);
        }
}

static void test_moments_in_pieces(void **state)
{
    (void)state;
    double *x = make_rows(), mean[2][DIMS], covariance[2][DIMS * DIMS];
    moments *whole = NULL, *pieces = NULL;
    pool *threads = NULL;
    check(pool_new(3, &threads));
    check(moments_new(DIMS, NULL, &whole));
    check(moments_new(DIMS, threads, &pieces));
    moments_add(whole, x, ROWS);
    for (size_t r = 0, n = 1; r < ROWS; r += n, n = n % 97 * 3 + 1) moments_add(pieces, x + r * DIMS, r + n < ROWS ? n : ROWS - r);
    check(moments_read(whole, mean[0], covariance[0]));
    check(moments_read(pieces, mean[1], covariance[1]));
    assert_memory_equal(mean[0], mean[1], sizeof mean[0]);
    assert_memory_equal(covariance[0], covariance[1], sizeof covariance[0]);
    moments_clear(pieces);
    moments_add(pieces, x, ROWS);
    assert_int_equal(moments_count(pieces), ROWS);
    check(moments_read(pieces, mean[1], covariance[1]));
    assert_memory_equal(covariance[0], covariance[1], sizeof covariance[0]);
    moments_free(whole);
    moments_free(pieces);
    pool_free(threads);
    free(x);
}

/* --- principal components ----------------------------------------------------------------- */

/* Rows mean +- sqrt(w) (axis) for each axis: covariance 2 w / (n - 1) along it, exactly. */
static void test_components(void **state)
{
    (void)state;
    enum { N = 9 };
    double q[N * N], rows[2 * N * N], out[2 * N * 4];
    moments *m = NULL;
    pca p;
    rotation(N, 5, q);
    for (size_t k = 0; k < 2 * N; k++)
        for (size_t i = 0; i < N; i++) rows[k * N + i] = 3 + (double)i + (k % 2 ? -1 : 1) * (double)(1 + k / 2) * q[k / 2 * N + i];
    check(moments_new(N, NULL, &m));
    moments_add(m, rows, 2 * N);
    check(pca_fit(m, 4, &p));
    near_to(p.total, 2.0 * 285 / (2 * N - 1), 1e-12);       /* 1 + 4 + 9 + ... + 81 */
    for (size_t k = 0; k < 4; k++) {
        double dot = 0;
        near_to(p.variance[k], 2.0 * (double)((N - k) * (N - k)) / (2 * N - 1), 1e-12);
        for (size_t i = 0; i < N; i++) dot += p.axes[k * N + i] * q[(N - 1 - k) * N + i];
        near_to(fabs(dot), 1, 1e-12);
    }
    check(pca_project(&p, rows, 2 * N, out));
    for (size_t r = 0; r < 2 * N; r++)
        for (size_t k = 0; k < 4; k++) near_to(fabs(out[r * 4 + k]), r / 2 == N - 1 - k ? (double)(N - k) : 0, 1e-12);
    pca_free(&p);
    assert_int_equal(pca_fit(m, N + 1, &p), DDPM_EINVAL);
    moments_clear(m);
    moments_add(m, rows, 4);
    assert_int_equal(pca_fit(m, 4, &p), DDPM_EINVAL);
    check(pca_fit(m, 3, &p));
    pca_free(&p);
    moments_free(m);
}

/* --- the distance ---------------------------------------------------------------------------- */

static frechet_result distance(size_t n, const double *m1, const double *s1, const double *m2, const double *s2)
{
    frechet_target *t = NULL;
    frechet_result r;
    check(frechet_target_new(n, m1, s1, &t));
    check(frechet_distance(t, m2, s2, &r));
    frechet_target_free(t);
    return r;
}

/* Covariances with common axes: |m1 - m2|^2 + sum (sqrt a - sqrt b)^2, in any coordinates. */
static void test_commuting(void **state)
{
    (void)state;
    enum { N = 10 };
    double q[N * N], a[N], b[N], m1[N] = { 0 }, m2[N], s1[N * N], s2[N * N], spread = 0, means = 0;
    for (size_t i = 0; i < N; i++) {
        a[i] = 0.5 + (double)(i * i);
        b[i] = 7.0 / (double)(1 + i);
        m2[i] = 0.1 * (double)i;
        means += m2[i] * m2[i];
        spread += (sqrt(a[i]) - sqrt(b[i])) * (sqrt(a[i]) - sqrt(b[i]));
    }
    for (int turned = 0; turned < 2; turned++) {
        for (size_t i = 0; i < N * N; i++) q[i] = i % (N + 1) == 0;
        if (turned) rotation(N, 6, q);
        with_eigenvalues(N, q, a, s1);
        with_eigenvalues(N, q, b, s2);
        const frechet_result r = distance(N, m1, s1, m2, s2), back = distance(N, m2, s2, m1, s1);
        near_to(r.distance, means + spread, 1e-11);
        near_to(r.of_means, means, 1e-14);
        near_to(r.clamped, 0, 0);
        near_to(back.distance, means + spread, 1e-11);
    }
}

/* Of 2x2 matrices Tr (AB)^1/2 = sqrt(Tr AB + 2 sqrt(det A det B)), whether they commute or not. */
static void test_two_by_two(void **state)
{
    (void)state;
    const double zero[2] = { 0 }, a[4] = { 2, 1, 1, 3 }, b[4] = { 5, -2, -2, 1 };
    const double trace_ab = 2 * 5 + 1 * -2 + 1 * -2 + 3 * 1, roots = sqrt(trace_ab + 2 * sqrt(5.0 * 1.0));
    near_to(distance(2, zero, a, zero, b).distance, 2 + 3 + 5 + 1 - 2 * roots, 1e-13);
    const double c[1] = { 9 }, d[1] = { 4 }, m[1] = { 0.5 };
    near_to(distance(1, zero, c, m, d).distance, 0.25 + 1, 1e-15);
}

/* Rank one, a uu^T and b vv^T: the root of the product is sqrt(ab) |u.v|. Far fewer samples than dimensions. */
static void test_rank_deficient(void **state)
{
    (void)state;
    enum { N = 24 };
    double u[N], v[N], uu = 0, vv = 0, uv = 0, s1[N * N], s2[N * N], zero[N] = { 0 };
    for (size_t i = 0; i < N; i++) {
        u[i] = normal(7, i);
        v[i] = u[i] + normal(8, i);
        uu += u[i] * u[i];
        vv += v[i] * v[i];
        uv += u[i] * v[i];
    }
    for (size_t i = 0; i < N * N; i++) {
        s1[i] = u[i / N] * u[i % N];
        s2[i] = v[i / N] * v[i % N];
    }
    near_to(distance(N, zero, s1, zero, s2).distance, uu + vv - 2 * fabs(uv), 1e-6 * (uu + vv));
    near_to(distance(N, zero, s2, zero, s1).distance, uu + vv - 2 * fabs(uv), 1e-6 * (uu + vv));
    const double nothing[N * N] = { 0 };
    near_to(distance(N, zero, nothing, zero, s1).distance, uu, 1e-12 * uu);
}

static void test_identical(void **state)
{
    (void)state;
    enum { N = 20 };
    double q[N * N], w[N], s[N * N], mean[N];
    rotation(N, 9, q);
    for (size_t i = 0; i < N; i++) {
        w[i] = i < N / 2 ? 0 : pow(10, -(double)i / 3);     /* half of the directions are empty */
        mean[i] = normal(10, i);
    }
    with_eigenvalues(N, q, w, s);
    const frechet_result r = distance(N, mean, s, mean, s);
    assert_true(r.distance >= 0);
    near_to(r.distance, 0, 1e-6 * N * w[N / 2]);
    near_to(r.of_means, 0, 0);
}

/* --- the interval --------------------------------------------------------------------------------- */

/* In one dimension the distance is (m1 - m2)^2 + (s1 - s2)^2. */
static void test_replicates(void **state)
{
    (void)state;
    enum { N = 40, REPLICATES = 60 };
    double x[N], got[2][REPLICATES];
    const double mean = 0.25, variance = 2.25;
    for (size_t i = 0; i < N; i++) x[i] = normal(11, i);
    frechet_target *t = NULL;
    check(frechet_target_new(1, &mean, &variance, &t));
    for (int threads = 1; threads <= 2; threads++) {
        pool *p = NULL;
        check(pool_new(threads * 2 - 1, &p));
        const bootstrap_input in = { .rows = &(metric_rows){ x, N, 1, true }, .seed = 5, .work = { .threads = p } };
        check(bootstrap_frechet(&in, t, REPLICATES, got[threads - 1]));
        pool_free(p);
    }
    assert_memory_equal(got[0], got[1], sizeof got[0]);
    for (uint64_t b = 0; b < REPLICATES; b++) {
        double sum = 0, squares = 0;
        for (uint64_t i = 0; i < N; i++) sum += x[rng_below((rng_address){ 5, RNG_BOOTSTRAP, b, 0 }, i, N)];
        for (uint64_t i = 0; i < N; i++) squares += pow(x[rng_below((rng_address){ 5, RNG_BOOTSTRAP, b, 0 }, i, N)] - sum / N, 2);
        near_to(got[0][b], pow(sum / N - mean, 2) + pow(sqrt(squares / (N - 1)) - 1.5, 2), 1e-12);
    }
    frechet_target_free(t);
}

/* numpy: np.percentile(v, [2.5, 97.5]) about np.mean(v), and np.std(v, ddof=1). */
static void test_summary(void **state)
{
    (void)state;
    double v[41];
    bootstrap_interval i;
    for (int k = 0; k < 41; k++) v[k] = 10 + (k * 17 % 41) * 0.5;     /* 10, 10.5, ..., 30 in another order */
    bootstrap_summarise(18, 0.95, v, 41, &i);
    near_to(i.low, 18 - 9.5, 1e-12);
    near_to(i.high, 18 + 9.5, 1e-12);
    near_to(i.bias, 2, 1e-12);
    near_to(i.deviation, sqrt(35.875), 1e-12);                         /* 0.25 (41^2 + 41) / 12 */
    double w[2] = { 5, 1 };
    bootstrap_summarise(0.5, 0.9, w, 2, &i);
    near_to(i.low, 0, 0);                                             /* a distance is not below 0 */
    near_to(i.high, 0.5 + 4.8 - 3, 1e-12);
}

/* Of many sets from one distribution, 95 % of the intervals hold the mean distance of such sets. */
static void test_coverage(void **state)
{
    (void)state;
    enum { SETS = 250, N = 60, D = 3, REPLICATES = 60 };
    static double x[SETS][N * D], replicate[REPLICATES];
    double estimate[SETS], low[SETS], high[SETS], mean[D] = { 0 }, covariance[D * D] = { 1, 0, 0, 0, 0.5, 0, 0, 0, 0.25 }, expected = 0;
    frechet_target *t = NULL;
    moments *m = NULL;
    pool *p = NULL;
    check(pool_new(1, &p));
    check(frechet_target_new(D, mean, covariance, &t));
    check(moments_new(D, NULL, &m));
    for (size_t s = 0; s < SETS; s++) {
        frechet_result r;
        bootstrap_interval i;
        for (size_t k = 0; k < N * D; k++) x[s][k] = (k % D == 0 ? 0.5 : 0) + 0.8 * normal(100 + s, k);
        moments_clear(m);
        moments_add(m, x[s], N);
        check(moments_read(m, mean, covariance));
        check(frechet_distance(t, mean, covariance, &r));
        const bootstrap_input in = { .rows = &(metric_rows){ x[s], N, D, true }, .seed = s, .work = { .threads = p } };
        check(bootstrap_frechet(&in, t, REPLICATES, replicate));
        bootstrap_summarise(r.distance, 0.95, replicate, REPLICATES, &i);
        estimate[s] = r.distance;
        low[s] = i.low;
        high[s] = i.high;
    }
    for (int s = 0; s < SETS; s++) expected += estimate[s] / SETS;
    int inside = 0;
    for (int s = 0; s < SETS; s++) inside += low[s] <= expected && expected <= high[s];
    if (inside < SETS * 90 / 100 || inside > SETS * 99 / 100) fail_msg("%d of %d intervals hold the mean", inside, SETS);
    moments_free(m);
    frechet_target_free(t);
    pool_free(p);
}

/* --- nearest images --------------------------------------------------------------------------------- */

typedef struct { uint64_t squared; int64_t index; } pair;

static int compare_pairs(const void *a, const void *b)
{
    const pair *x = a, *y = b;
    return x->squared != y->squared ? (x->squared > y->squared) - (x->squared < y->squared) : (x->index > y->index) - (x->index < y->index);
}

static void test_neighbours(void **state)
{
    (void)state;
    enum { QUERIES = 37, IMAGES = 300, BYTES = 20, K = 5 };
    static uint8_t query[QUERIES * BYTES], data[IMAGES * BYTES];
    static int64_t index[IMAGES];
    static pair all[IMAGES];
    for (size_t i = 0; i < sizeof query; i++) query[i] = (uint8_t)(128 + 60 * (normal(900, i) > 0));       /* many ties */
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(128 + 60 * (normal(901, i) > 0));
    for (int i = 0; i < IMAGES; i++) index[i] = 1000 + 2 * i;
    pool *p = NULL;
    neighbours *nb = NULL;
    check(pool_new(3, &p));
    check(neighbours_new(query, QUERIES, BYTES, K, &nb));
    for (int from = 0, n = 2; from < IMAGES; from += n, n = 101) {
        neighbours_add(nb, p, data + from * BYTES, index + from, from + n < IMAGES ? n : IMAGES - from);
        int found;
        neighbours_of(nb, 3, &found);
        assert_int_equal(found, from ? K : 2);
    }
    for (size_t q = 0; q < QUERIES; q++) {
        int found;
        const neighbour *got = neighbours_of(nb, q, &found);
        for (size_t i = 0; i < IMAGES; i++) {
            all[i] = (pair){ 0, index[i] };
            for (size_t b = 0; b < BYTES; b++) all[i].squared += (uint64_t)((query[q * BYTES + b] - data[i * BYTES + b]) * (query[q * BYTES + b] - data[i * BYTES + b]));
        }
        qsort(all, IMAGES, sizeof *all, compare_pairs);
        assert_int_equal(found, K);
        for (int k = 0; k < K; k++) assert_true(got[k].squared == all[k].squared && got[k].index == all[k].index);
    }
    neighbours_free(nb);
    pool_free(p);
}

/* Black against white: beyond 32 bits. */
static void test_large_distances(void **state)
{
    (void)state;
    enum { BYTES = 256 * 256 * 3 };
    uint8_t *black = calloc(BYTES, 1), *white = malloc(BYTES);
    assert_true(black && white);
    memset(white, 255, BYTES);
    pool *p = NULL;
    neighbours *nb = NULL;
    int found;
    check(pool_new(1, &p));
    check(neighbours_new(black, 1, BYTES, 1, &nb));
    neighbours_add(nb, p, white, (int64_t[1]){ 0 }, 1);
    assert_true(neighbours_of(nb, 0, &found)->squared == (uint64_t)BYTES * 65025);
    neighbours_free(nb);
    pool_free(p);
    free(black);
    free(white);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eigenvalues),   cmocka_unit_test(test_product),   cmocka_unit_test(test_cholesky), cmocka_unit_test(test_wide_moments),   cmocka_unit_test(test_moments),
        cmocka_unit_test(test_moments_in_pieces), cmocka_unit_test(test_components), cmocka_unit_test(test_commuting),
        cmocka_unit_test(test_two_by_two),    cmocka_unit_test(test_rank_deficient), cmocka_unit_test(test_identical),
        cmocka_unit_test(test_replicates),    cmocka_unit_test(test_summary),   cmocka_unit_test(test_coverage),
        cmocka_unit_test(test_neighbours),    cmocka_unit_test(test_large_distances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
