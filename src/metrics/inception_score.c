#include "metrics/inception_score.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fixmath.h"

/* log 0 never counts: its weight is 0. */
static double weighted_log(double weight, double x) { return weight > 0 ? weight * fix_log(x) : 0; }

size_t inception_parts(const inception_input *in)
{
    return in->splits ? in->splits : (in->rows->n + in->split_size - 1) / in->split_size;
}

/* p[dims] of a row; *entropy is sum p log p. */
static ddpm_status probabilities(const inception_input *in, size_t row, double *p, double *entropy)
{
    const size_t classes = in->rows->dims;
    double sum = 0, highest = -INFINITY;
    *entropy = 0;
    metric_rows_read(in->rows, row, p);
    if (!in->logits) {
        for (size_t c = 0; c < classes; c++) {
            if (p[c] < 0) return ddpm_fail(DDPM_EINVAL, "row %zu of the probabilities has %g in column %zu", row, p[c], c);
            sum += p[c];
            *entropy += weighted_log(p[c], p[c]);
        }
        return fabs(sum - 1) <= 1e-3 ? DDPM_OK : ddpm_fail(DDPM_EINVAL, "row %zu of the probabilities adds up to %g instead of 1", row, sum);
    }
    for (size_t c = 0; c < classes; c++) highest = p[c] > highest ? p[c] : highest;
    for (size_t c = 0; c < classes; c++) sum += fix_exp(p[c] - highest);
    const double log_sum = highest + fix_log(sum);
    for (size_t c = 0; c < classes; c++) {
        const double log_p = p[c] - log_sum;
        p[c] = fix_exp(log_p);
        *entropy += p[c] * log_p;
    }
    return DDPM_OK;
}

/* The mean divergence of the rows is the mean of sum p log p less sum q log q of their mean q: one pass. */
static ddpm_status score_part(const inception_input *in, size_t first, size_t end, double *p, double *mean, double *score)
{
    const size_t classes = in->rows->dims;
    double entropies = 0, of_mean = 0, entropy;
    memset(mean, 0, classes * sizeof *mean);
    for (size_t i = first; i < end; i++) {
        DDPM_TRY(probabilities(in, in->order ? (size_t)in->order[i] : i, p, &entropy));
        entropies += entropy;
        for (size_t c = 0; c < classes; c++) mean[c] += p[c];
    }
    const double n = (double)(end - first);
    for (size_t c = 0; c < classes; c++) of_mean += weighted_log(mean[c] / n, mean[c] / n);
    *score = fix_exp(entropies / n - of_mean);
    return DDPM_OK;
}

ddpm_status inception_score(const inception_input *in, double *score)
{
    const size_t n = in->rows->n, parts = inception_parts(in);
    assert(in->splits ? in->splits <= n : in->split_size > 0);
    double *p = calloc(in->rows->dims, sizeof *p), *mean = calloc(in->rows->dims, sizeof *mean);
    ddpm_status status = p && mean ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for %zu probabilities", in->rows->dims);
    for (size_t i = 0; i < parts && status == DDPM_OK; i++) {
        const size_t first = in->splits ? i * n / parts : i * in->split_size, last = in->splits ? (i + 1) * n / parts : first + in->split_size;
        status = score_part(in, first, last < n ? last : n, p, mean, &score[i]);
    }
    free(p);
    free(mean);
    return status;
}
