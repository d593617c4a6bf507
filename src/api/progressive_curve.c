/* The rate-distortion curve of DDPM section 4.3: its files, its table, its totals. */
#include "api/progressive_session.h"

#include "io/chart.h"
#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 10 };

static int length(const progressive_session *s) { return s->bound.plan.T; }

/* --- files --------------------------------------------------------------------------------- */

static ddpm_status write_csv(const progressive_session *s)
{
    const int T = length(s);
    char path[PROGRESSIVE_PATH_SIZE], *text = NULL;
    size_t size = 0;
    progressive_path(s, "rate_distortion.csv", path);
    FILE *f = open_memstream(&text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the lines of %s", path);
    fprintf(f, "reverse_steps,timestep,rate,mse,rmse\n");
    for (int i = T - 1; i >= 0; i--)
        fprintf(f, "%d,%d,%.9g,%.9g,%.9g\n", T - i, s->bound.p.s->timestep_map[i], s->point[i].rate, s->point[i].mse, s->point[i].rmse);
    const bool ok = fclose(f) == 0;
    const ddpm_status status = ok ? file_write_atomic(path, text, size) : ddpm_fail(DDPM_ENOMEM, "no memory for the lines of %s", path);
    free(text);
    return status;
}

/* The three charts of DDPM's figure 5. number [3,T]: reverse steps, rates, distortions. */
static ddpm_status draw_charts(const progressive_session *s, const char *path, double *number)
{
    const int T = length(s);
    double *step = number, *rate = number + T, *rmse = number + 2 * T;
    for (int k = 0; k < T; k++) {
        step[k] = k + 1;
        rate[k] = s->point[T - 1 - k].rate;
        rmse[k] = s->point[T - 1 - k].rmse;
    }
    const chart_series by_step = { .mark = CHART_LINE, .n = T, .x = step, .y = rmse }, rates = { .mark = CHART_LINE, .n = T, .x = step, .y = rate },
                       by_rate = { .mark = CHART_LINE, .n = T, .x = rate, .y = rmse };
    const char *steps = "reverse steps (T - t)", *in_bits = "rate (bits/dim)", *error = "distortion (RMSE, values 0 to 255)";
    const chart charts[] = { { .title = "Distortion", .x_label = steps, .y_label = error, .n_series = 1, .series = &by_step },
                             { .title = "Rate", .x_label = steps, .y_label = in_bits, .n_series = 1, .series = &rates },
                             { .title = "Distortion over rate", .x_label = in_bits, .y_label = error, .n_series = 1, .series = &by_rate } };
    return chart_write(path, charts, 3, 3);
}

static ddpm_status write_charts(const progressive_session *s)
{
    char path[PROGRESSIVE_PATH_SIZE];
    progressive_path(s, s->request->v.charts == CHARTS_PNG ? "rate_distortion.png" : "rate_distortion.svg", path);
    double *number = calloc(3 * (size_t)length(s), sizeof *number);
    if (!number) return ddpm_fail(DDPM_ENOMEM, "no memory for a curve of %d points", length(s));
    const ddpm_status status = draw_charts(s, path, number);
    free(number);
    return status;
}

ddpm_status progressive_curve(progressive_session *s)
{
    const int T = length(s);
    double *term = calloc(2 * (size_t)T, sizeof *term);
    s->point = calloc((size_t)T, sizeof *s->point);
    if (!term || !s->point) {
        free(term);
        return ddpm_fail(DDPM_ENOMEM, "no memory for a curve of %d points", T);
    }
    for (int i = 0; i < 2 * T; i++) term[i] = s->bound.sum[i / T][T - 1 - i % T] / s->bound.measured;      /* sums descend in t */
    rate_distortion(T, nll_mean(&s->bound, offsetof(nll_bound, prior)), term, term + T, s->point);
    free(term);
    DDPM_TRY(write_csv(s));
    return write_charts(s);
}

/* --- the result --------------------------------------------------------------------------------- */

static int rows(const progressive_session *s) { return length(s) < ROWS ? length(s) : ROWS; }

static const rate_point *row_of(const progressive_session *s, int k, int *reverse_steps)
{
    const int row = rate_distortion_row(length(s), rows(s) - k, rows(s));
    *reverse_steps = length(s) - row;
    return &s->point[row];
}

ddpm_status progressive_print(const progressive_session *s, char **text)
{
    size_t size;
    int step;
    const double decoder = nll_mean(&s->bound, offsetof(nll_bound, decoder));
    FILE *f = open_memstream(text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the result");
    fprintf(f, "reverse steps   rate (bits/dim)   distortion (RMSE of 255)\n");
    for (int k = 0; k < rows(s); k++) {
        const rate_point *p = row_of(s, k, &step);
        fprintf(f, "%13d   %15.5f   %24.5f\n", step, p->rate, p->rmse);
    }
    fprintf(f, "\nrate       %8.4f  bits/dim, L_1 .. L_T\ndecoder    %8.4f  bits/dim, L_0: from an error of %.4f to the bytes\nbits/dim   %8.4f  of %d images\n",
            s->point[0].rate, decoder, s->point[0].rmse, s->point[0].rate + decoder, s->bound.measured);
    fprintf(f, "\nimages that share x_t differ by (RMSE of 255)\n");
    for (int k = 0; k < PROGRESSIVE_LEVELS; k++) fprintf(f, "  t = %-5d %8.3f\n", s->level[k].t, s->level[k].apart);
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the result");
}

ddpm_status progressive_put_curve(const progressive_session *s, json *o)
{
    const double decoder = nll_mean(&s->bound, offsetof(nll_bound, decoder));
    json *table = json_new_array(), *shared = json_new_array();
    for (int k = 0, step; k < rows(s); k++) {
        const rate_point *p = row_of(s, k, &step);
        json *one = json_new_object();
        json_put_int(one, "reverse_steps", step);
        json_put_real(one, "rate", p->rate);
        json_put_real(one, "mse", p->mse);
        json_put_real(one, "rmse", p->rmse);
        json_append(table, one);
    }
    for (int k = 0; k < PROGRESSIVE_LEVELS; k++) {
        json *one = json_new_object();
        json_put_int(one, "t", s->level[k].t);
        json_put_real(one, "rmse", s->level[k].apart);
        json_append(shared, one);
    }
    json_put_real(o, "rate", s->point[0].rate);
    json_put_real(o, "decoder", decoder);
    json_put_real(o, "prior", nll_mean(&s->bound, offsetof(nll_bound, prior)));
    json_put_real(o, "bits_per_dim", s->point[0].rate + decoder);
    json_put_real(o, "rmse", s->point[0].rmse);
    DDPM_TRY(json_put(o, "table", table));
    return json_put(o, "shared", shared);
}
