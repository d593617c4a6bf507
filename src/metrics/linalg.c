#include "metrics/linalg.h"

#include <assert.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/tile.h"

enum { BLOCK = 64, SPAN = 256 };      /* of a product: rows and columns, and products of a sum, at once */

/* Fortran: everything by address, lengths of the strings at the end. */
void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w, double *work, const int *lwork,
             int *iwork, const int *liwork, int *info, size_t jobz_len, size_t uplo_len);

void dsyevr_(const char *jobz, const char *range, const char *uplo, const int *n, double *a, const int *lda, const double *vl, const double *vu,
             const int *il, const int *iu, const double *abstol, int *m, double *w, double *z, const int *ldz, int *isuppz, double *work,
             const int *lwork, int *iwork, const int *liwork, int *info, size_t jobz_len, size_t range_len, size_t uplo_len);

void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t uplo_len);

/* OpenBLAS splits sums among its own threads, as many as the machine has. */
static void use_one_thread(void)
{
    void *symbol = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
    void (*set)(int) = NULL;
    memcpy(&set, &symbol, sizeof set);
    if (set) set(1);
}

static ddpm_status check(size_t n, const double *a)
{
    assert(n >= 1 && n <= LINALG_MAX_DIMS);
    for (size_t i = 0; i < n * n; i++)
        if (!isfinite(a[i])) return ddpm_fail(DDPM_ENUMERIC, "a matrix that is to be decomposed has values that are not finite");
    return DDPM_OK;
}

static ddpm_status outcome(size_t n, bool room, int info)
{
    if (!room) return ddpm_fail(DDPM_ENOMEM, "no memory for the eigenvalues of a %zux%zu matrix", n, n);
    return info ? ddpm_fail(DDPM_ENUMERIC, "the eigenvalues of a %zux%zu matrix do not converge (LAPACK says %d)", n, n, info) : DDPM_OK;
}

ddpm_status linalg_eigen(size_t n, double *a, bool vectors, double *w)
{
    DDPM_TRY(check(n, a));
    const int order = (int)n, ask = -1;
    const char *job = vectors ? "V" : "N";
    double work_size = 0;
    int iwork_size = 0, info = 0;
    use_one_thread();
    dsyevd_(job, "U", &order, a, &order, w, &work_size, &ask, &iwork_size, &ask, &info, 1, 1);
    const int lwork = (int)work_size;
    double *work = malloc((size_t)lwork * sizeof *work);
    int *iwork = malloc((size_t)iwork_size * sizeof *iwork);
    if (work && iwork && !info) dsyevd_(job, "U", &order, a, &order, w, work, &lwork, iwork, &iwork_size, &info, 1, 1);
    const bool room = work && iwork;
    free(work);
    free(iwork);
    return outcome(n, room, info);
}

/* LAPACK's values rise. */
static void turn_round(size_t n, size_t k, double *w, double *vectors)
{
    for (size_t i = 0; i < k / 2; i++) {
        const double value = w[i];
        w[i] = w[k - 1 - i];
        w[k - 1 - i] = value;
        for (size_t j = 0; j < n; j++) {
            const double element = vectors[i * n + j];
            vectors[i * n + j] = vectors[(k - 1 - i) * n + j];
            vectors[(k - 1 - i) * n + j] = element;
        }
    }
}

ddpm_status linalg_eigen_top(size_t n, double *a, size_t k, double *w, double *vectors)
{
    DDPM_TRY(check(n, a));
    assert(k >= 1 && k <= n);
    const int order = (int)n, first = (int)(n - k) + 1, ask = -1;
    const double unused = 0, exact = 0;
    double work_size = 0, *all = malloc(n * sizeof *all);       /* it writes n values */
    int found, info = 0, iwork_size = 0, *support = malloc(2 * n * sizeof *support);
    use_one_thread();
    dsyevr_("V", "I", "U", &order, a, &order, &unused, &unused, &first, &order, &exact, &found, all, vectors, &order, support, &work_size, &ask,
            &iwork_size, &ask, &info, 1, 1, 1);
    const int lwork = (int)work_size;
    double *work = malloc((size_t)lwork * sizeof *work);
    int *iwork = malloc((size_t)iwork_size * sizeof *iwork);
    const bool room = all && support && work && iwork;
    if (room && !info)
        dsyevr_("V", "I", "U", &order, a, &order, &unused, &unused, &first, &order, &exact, &found, all, vectors, &order, support, work, &lwork,
                iwork, &iwork_size, &info, 1, 1, 1);
    if (room) {
        memcpy(w, all, k * sizeof *w);
        turn_round(n, k, w, vectors);
    }
    free(all);
    free(support);
    free(work);
    free(iwork);
    return outcome(n, room, info);
}

ddpm_status linalg_cholesky(size_t n, double *a, bool *definite)
{
    DDPM_TRY(check(n, a));
    const int order = (int)n;
    int info = 0;
    use_one_thread();
    dpotrf_("L", &order, a, &order, &info, 1);                  /* columns of its lower triangle are rows of our upper one */
    for (size_t i = 0; i < n; i++) memset(a + i * n, 0, i * sizeof *a);
    *definite = info == 0;
    return DDPM_OK;
}

/* The rows of a[m,k] as panels of TILE rows, zeros behind the last. NULL: no memory. */
static double *pack(size_t m, size_t k, const double *a)
{
    double *panels = calloc(tile_panels(m) * TILE * k, sizeof *panels);
    for (size_t i = 0; panels && i < m; i++) {
        double *at = panels + i / TILE * TILE * k + i % TILE;
        for (size_t r = 0; r < k; r++) at[r * TILE] = a[i * k + r];
    }
    return panels;
}

/* Sums of k products for up to BLOCK rows of either side, a span of them at a time for the sake of the caches. */
static void multiply(size_t rows, size_t columns, size_t k, const double *left, const double *right, double *c)
{
    memset(c, 0, BLOCK * BLOCK * sizeof *c);
    for (size_t from = 0; from < k; from += SPAN)
        tile_best()->products(&(tile_job){ .a = left + from * TILE, .b = right + from * TILE, .a_panels = tile_panels(rows), .b_panels = tile_panels(columns),
                                           .a_step = TILE * k, .b_step = TILE * k, .n = k - from < SPAN ? k - from : SPAN, .c = c, .stride = BLOCK, .on = true });
}

ddpm_status linalg_product(size_t m, size_t n, size_t k, const double *a, const double *b, double *out)
{
    double *left = pack(m, k, a), *right = pack(n, k, b), *c = malloc(BLOCK * BLOCK * sizeof *c);
    const bool room = left && right && c;
    for (size_t i = 0; room && i < m; i += BLOCK)
        for (size_t j = 0; j < n; j += BLOCK) {
            const size_t rows = m - i < BLOCK ? m - i : BLOCK, columns = n - j < BLOCK ? n - j : BLOCK;
            multiply(rows, columns, k, left + i * k, right + j * k, c);
            for (size_t y = 0; y < rows; y++) memcpy(out + (i + y) * n + j, c + y * BLOCK, columns * sizeof *c);
        }
    free(left);
    free(right);
    free(c);
    return room ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the product of two matrices");
}
