#include "api/nll_session.h"

#include "io/chart.h"
#include "io/svg_png.h"
#include "io/file.h"
#include "io/npz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TERMS = 3 };
static const char *const TERM_NAME[TERMS] = { "vb", "xstart_mse", "mse" };

static double term_value(const bpd_terms *t, int which) { return which == 0 ? t->vb : which == 1 ? t->xstart_mse : t->mse; }

/* --- numbers --------------------------------------------------------------------------- */

static double bound_value(const nll_bound *b, size_t field)
{
    double v;
    memcpy(&v, (const char *)b + field, sizeof v);
    return v;
}

double nll_mean(const nll_session *s, size_t field)
{
    double sum = 0;
    for (int k = 0; k < s->measured; k++) sum += bound_value(&s->bound[k], field);
    return sum / s->measured;
}

/* Of the mean bound; NaN for a single image. Holds all that differs from image to image: the image, its noise, its choice of rows. */
static double standard_error(const nll_session *s)
{
    const double mean = nll_mean(s, offsetof(nll_bound, total)), n = s->measured;
    double sum = 0;
    for (int k = 0; k < s->measured; k++) sum += (s->bound[k].total - mean) * (s->bound[k].total - mean);
    return n > 1 ? sqrt(sum / (n - 1) / n) : NAN;
}

/* The part of it that all terms of these images would not have. */
static double choice_error(const nll_session *s)
{
    return sqrt(nll_mean(s, offsetof(nll_bound, variance)) / s->measured);
}

/* Of x_0 as row 0 sees it, on the scale of 0 to 255. */
static double rmse(const nll_session *s)
{
    double sum = 0;
    for (int k = 0; k < s->measured; k++) sum += s->finest[k];
    return 127.5 * sqrt(sum / s->measured);
}

/* --- terms that are kept ------------------------------------------------------------------ */

ddpm_status nll_check_output(nll_session *s)
{
    const char *out = s->request->v.output;
    if (!out[0]) return DDPM_OK;
    s->kind = file_has_ending(out, ".csv") ? NLL_OUT_CSV : file_has_ending(out, ".npz") ? NLL_OUT_NPZ : svg_has_ending(out) ? NLL_OUT_CHARTS : NLL_OUT_NONE;
    if (s->kind == NLL_OUT_NONE)
        return ddpm_fail(DDPM_EINVAL, "-o %s: the name must end in .csv (a line for each image), .npz (every term), .svg or .png (charts over t)", out);
    return s->kind == NLL_OUT_CHARTS ? svg_check_target(out) : file_check_target(out);
}

ddpm_status nll_reserve_terms(nll_session *s)
{
    if (s->kind == NLL_OUT_CHARTS && s->plan.calls != s->plan.T)
        return ddpm_fail(DDPM_EINVAL, "-o %s: charts over t need all %d terms; leave out --steps", s->request->v.output, s->plan.T);
    const size_t T = (size_t)s->plan.T, all = (size_t)s->count * (size_t)s->plan.calls;
    bool ok = true;
    for (int i = 0; i < TERMS && ok; i++) {
        if (s->plan.calls == s->plan.T) ok = (s->sum[i] = calloc(T, sizeof **s->sum)) != NULL;
        if (ok && s->kind == NLL_OUT_NPZ) ok = (s->term[i] = calloc(all, sizeof **s->term)) != NULL;
    }
    if (ok && s->kind == NLL_OUT_NPZ) ok = (s->factor = calloc(all, sizeof *s->factor)) && (s->row = calloc(all, sizeof *s->row));
    return ok ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for %zu terms; measure fewer images, or write a .csv", all);
}

void nll_keep_terms(nll_session *s, const nll_result *r, int n)
{
    const size_t calls = (size_t)s->plan.calls, len = (size_t)n * calls, at = (size_t)s->measured * calls;
    for (int i = 0; i < TERMS; i++) {
        for (size_t k = 0; s->sum[i] && k < len; k++) s->sum[i][k % calls] += term_value(&r->term[k], i);
        for (size_t k = 0; s->term[i] && k < len; k++) s->term[i][at + k] = term_value(&r->term[k], i);
    }
    if (s->kind != NLL_OUT_NPZ) return;
    memcpy(s->factor + at, r->factor, len * sizeof *s->factor);
    memcpy(s->row + at, r->row, len * sizeof *s->row);
}

void nll_free_terms(nll_session *s)
{
    for (int i = 0; i < TERMS; i++) {
        free(s->sum[i]);
        free(s->term[i]);
    }
    free(s->factor);
    free(s->row);
}

/* --- files ----------------------------------------------------------------------------------- */

static ddpm_status write_csv(const nll_session *s)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the lines of %s", s->request->v.output);
    fprintf(f, "index,label,bits_per_dim,prior,diffusion,decoder,error,other_variance\n");
    for (int k = 0; k < s->measured; k++) {
        const nll_bound *b = &s->bound[k];
        fprintf(f, "%llu,%d,%.9g,%.9g,%.9g,%.9g,%.9g,", (unsigned long long)s->index[k], s->label[k], b->total, b->prior, b->diffusion, b->decoder,
                sqrt(b->variance));
        if (isfinite(b->other)) fprintf(f, "%.9g", b->other);
        fputc('\n', f);
    }
    const bool ok = fclose(f) == 0;
    const ddpm_status status = ok ? file_write_atomic(s->request->v.output, text, size)
                                  : ddpm_fail(DDPM_ENOMEM, "no memory for the lines of %s", s->request->v.output);
    free(text);
    return status;
}

/* One number for each image. */
static ddpm_status add_column(npz_writer *w, const nll_session *s, const char *name, size_t field)
{
    const int64_t shape[1] = { s->measured };
    double *column = malloc((size_t)s->measured * sizeof *column);
    if (!column) return ddpm_fail(DDPM_ENOMEM, "no memory for %s", name);
    for (int k = 0; k < s->measured; k++) column[k] = bound_value(&s->bound[k], field);
    const ddpm_status status = npz_writer_add(w, name, "<f8", shape, 1, column);
    free(column);
    return status;
}

static ddpm_status add_arrays(npz_writer *w, const nll_session *s)
{
    const int64_t shape[2] = { s->measured, s->plan.calls };
    DDPM_TRY(npz_writer_add(w, "index", "<i8", shape, 1, s->index));
    DDPM_TRY(npz_writer_add(w, "label", "<i4", shape, 1, s->label));
    DDPM_TRY(add_column(w, s, "total_bpd", offsetof(nll_bound, total)));
    DDPM_TRY(add_column(w, s, "prior_bpd", offsetof(nll_bound, prior)));
    for (int i = 0; i < TERMS; i++) DDPM_TRY(npz_writer_add(w, TERM_NAME[i], "<f8", shape, 2, s->term[i]));
    if (s->plan.calls == s->plan.T) return DDPM_OK;
    DDPM_TRY(npz_writer_add(w, "row", "<i4", shape, 2, s->row));
    return npz_writer_add(w, "factor", "<f8", shape, 2, s->factor);
}

static ddpm_status write_npz(const nll_session *s)
{
    npz_writer *w = NULL;
    DDPM_TRY(npz_writer_open(s->request->v.output, &w));
    const ddpm_status status = add_arrays(w, s);
    if (status == DDPM_OK) return npz_writer_finish(w);
    npz_writer_abort(w);
    return status;
}

/* Means over the images, as in figure 2 of Improved DDPM: L_t, and the errors of x_0 and eps. value [TERMS, T] */
static ddpm_status draw_terms(const nll_session *s, double *t, double *value)
{
    const int T = s->plan.T;
    for (int k = 0; k < T; k++) {
        t[k] = T - 1 - k;
        for (int i = 0; i < TERMS; i++) value[i * T + k] = s->sum[i][k] / s->measured;
    }
    const chart_series bound = { .mark = CHART_LINE, .n = T, .x = t, .y = value };
    const chart_series errors[] = { { .name = "x\xe2\x82\x80", .mark = CHART_LINE, .n = T, .x = t, .y = value + T },
                                    { .name = "\xce\xb5", .mark = CHART_LINE, .n = T, .x = t, .y = value + 2 * T } };
    const chart charts[] = { { .title = "Terms of the variational bound", .x_label = "timestep t", .y_label = "L\xe2\x82\x9c (bits/dim)", .y_log = true,
                               .n_series = 1, .series = &bound },
                             { .title = "Error of the prediction", .x_label = "timestep t", .y_label = "mean squared error", .y_log = true,
                               .n_series = 2, .series = errors } };
    return chart_write(s->request->v.output, charts, 2, 2);
}

static ddpm_status write_charts(const nll_session *s)
{
    const size_t T = (size_t)s->plan.T;
    double *numbers = calloc((1 + TERMS) * T, sizeof *numbers);
    if (!numbers) return ddpm_fail(DDPM_ENOMEM, "no memory for the charts of %zu terms", T);
    const ddpm_status status = draw_terms(s, numbers, numbers + T);
    free(numbers);
    return status;
}

ddpm_status nll_write(const nll_session *s)
{
    switch (s->kind) {
    case NLL_OUT_CSV: return write_csv(s);
    case NLL_OUT_NPZ: return write_npz(s);
    case NLL_OUT_CHARTS: return write_charts(s);
    case NLL_OUT_NONE: break;
    }
    return DDPM_OK;
}

/* --- the result -------------------------------------------------------------------------------- */

static ddpm_status put_images(const nll_session *s, json *o)
{
    json *list = json_new_array();
    for (int k = 0; k < s->measured; k++) {
        const nll_bound *b = &s->bound[k];
        json *one = json_new_object();
        json_put_int(one, "index", (int64_t)s->index[k]);
        json_put_real(one, "bits_per_dim", b->total);
        json_put_real(one, "prior", b->prior);
        json_put_real(one, "diffusion", b->diffusion);
        json_put_real(one, "decoder", b->decoder);
        if (isfinite(b->other)) json_put_real(one, "other_variance", b->other);
        json_append(list, one);
    }
    return json_put(o, "per_image", list);
}

/* Means over the images, in the order of the authors' files: entry k belongs to t = T-1-k. */
static ddpm_status put_terms(const nll_session *s, json *o)
{
    for (int i = 0; i < TERMS && s->sum[i]; i++) {
        json *list = json_new_array();
        for (int k = 0; k < s->plan.T; k++) json_append(list, json_new_real(s->sum[i][k] / s->measured));
        DDPM_TRY(json_put(o, TERM_NAME[i], list));
    }
    return DDPM_OK;
}

static void put_origin(const nll_session *s, const char *data, json *o)
{
    json_put_string(o, "schema", "ddpm-nll-1");
    json_put_string(o, "model", s->model->path);
    json_put_string(o, "weights", s->model->weights);
    json_put_string(o, "fingerprint", s->fingerprint);
    json_put_string(o, "data", data);
    json_put_int(o, "images", s->measured);
    json_put_int(o, "bad_images", s->bad);
    json_put_int(o, "timesteps", s->plan.T);
    json_put_int(o, "terms", s->plan.calls);
    json_put_bool(o, "clip_denoised", s->p.clip != CLIP_NONE);
    json_put_string(o, "variance", var_type_name(s->p.var));
    json_put_int(o, "seed", s->request->v.seed);
    json_put_string(o, "precision", engine_precision(&s->e));
    json_put_string(o, "isa", s->e.backend->isa);
}

static ddpm_status summarise(const nll_session *s, const char *data, json **summary)
{
    if (!summary) return DDPM_OK;
    json *o = *summary = json_new_object();
    put_origin(s, data, o);
    json_put_real(o, "bits_per_dim", nll_mean(s, offsetof(nll_bound, total)));
    json_put_real(o, "standard_error", standard_error(s));
    json_put_real(o, "choice_error", choice_error(s));
    json_put_real(o, "prior", nll_mean(s, offsetof(nll_bound, prior)));
    json_put_real(o, "diffusion", nll_mean(s, offsetof(nll_bound, diffusion)));
    json_put_real(o, "decoder", nll_mean(s, offsetof(nll_bound, decoder)));
    if (isfinite(s->bound[0].other)) json_put_real(o, "other_variance", nll_mean(s, offsetof(nll_bound, other)));
    json_put_real(o, "rmse", rmse(s));
    DDPM_TRY(put_terms(s, o));
    DDPM_TRY(put_images(s, o));
    return json_put_real(o, "seconds", clock_now() - s->begin);
}

static ddpm_status print(const nll_session *s, char **text)
{
    size_t size;
    const double error = standard_error(s), rest = nll_mean(s, offsetof(nll_bound, diffusion)), prior = nll_mean(s, offsetof(nll_bound, prior));
    FILE *f = open_memstream(text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the result");
    fprintf(f, "bits/dim   %8.4f", nll_mean(s, offsetof(nll_bound, total)));
    if (s->measured > 1) fprintf(f, " +- %.4f (standard error of %d images)", error, s->measured);
    if (s->plan.calls < s->plan.T) fprintf(f, "\n  estimated from %d of %d terms of each image, which alone makes +- %.4f", s->plan.calls, s->plan.T, choice_error(s));
    fprintf(f, "\n  prior    %8.4f  L_T\n  diffusion%8.4f  L_1 .. L_T-1\n  decoder  %8.4f  L_0\n", prior, rest, nll_mean(s, offsetof(nll_bound, decoder)));
    fprintf(f, "  rate     %8.4f  prior and diffusion\n  rmse     %8.4f  of x_0 after the last step, of 255\n", prior + rest, rmse(s));
    if (isfinite(s->bound[0].other))
        fprintf(f, "with variance %s instead of %s: %.4f bits/dim\n", sampling_variance_word(s->p.var == VAR_FIXED_SMALL ? VAR_FIXED_LARGE : VAR_FIXED_SMALL),
                sampling_variance_word(s->p.var), nll_mean(s, offsetof(nll_bound, other)));
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the result");
}

ddpm_status nll_report(const nll_session *s, const char *data, char **text, json **summary)
{
    if (s->kind != NLL_OUT_NONE) tool_message(s->ev, "%s: %s", s->kind == NLL_OUT_CHARTS ? "charts" : "every image", s->request->v.output);
    DDPM_TRY(print(s, text));
    return summarise(s, data, summary);
}
