/* Sections 03 (q and p) and 04 (losses, bound, bits per dimension). */
#include "golden_run.h"

#include "diffusion/loss.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PART = 64 };

/* A file of n images at rows t of a process. */
typedef struct { gold_case *c; gold_file *f; process p; int *t; size_t n, channels, pixels, len; } bench;

static ddpm_status open_bench(gold_case *c, const char *label, const json *entry, bench *b)
{
    gold_tensor t, x;
    *b = (bench){ .c = c };
    DDPM_TRY(gold_process(c, entry, &b->p));
    DDPM_TRY(gold_open(c, label, &b->f));
    DDPM_TRY(gold_need(c, b->f, &t, "t"));
    DDPM_TRY(gold_need(c, b->f, &x, "x_start"));
    DDPM_TRY(gold_expect(&x, 4, x.len));
    DDPM_TRY(gold_expect(&t, 1, x.shape[0]));
    b->t = gold_ints(c, &t);
    b->n = x.shape[0];
    b->channels = x.shape[1];
    b->pixels = x.shape[2] * x.shape[3];
    b->len = b->channels * b->pixels;
    for (size_t n = 0; n < b->n; n++)
        if (b->t[n] < 0 || b->t[n] >= b->p.s->T) return ddpm_fail(DDPM_EFORMAT, "%s: timestep %d is no row of the process", label, b->t[n]);
    return DDPM_OK;
}

/* NHWC images [n, pixels, width * C]. */
static ddpm_status images(const bench *b, const char *name, size_t width, float **x)
{
    gold_tensor t;
    DDPM_TRY(gold_need(b->c, b->f, &t, "%s", name));
    DDPM_TRY(gold_expect(&t, 4, b->n * b->len * width));
    *x = gold_nhwc(b->c, &t);
    return DDPM_OK;
}

/* Channels [first, first + count) of images of `width` channels. */
static float *cut_channels(const bench *b, const float *x, size_t width, size_t first, size_t count)
{
    float *out = gold_alloc(b->c, b->n * b->pixels * count, sizeof *out);
    for (size_t q = 0; q < b->n * b->pixels; q++) memcpy(out + q * count, x + q * width + first, count * sizeof *out);
    return out;
}

/* [mean part, variance part] of each pixel. */
static float *join_channels(const bench *b, const float *mean, const float *var)
{
    float *out = gold_alloc(b->c, 2 * b->n * b->len, sizeof *out);
    for (size_t q = 0; q < b->n * b->pixels; q++) {
        memcpy(out + 2 * q * b->channels, mean + q * b->channels, b->channels * sizeof *out);
        memcpy(out + (2 * q + 1) * b->channels, var + q * b->channels, b->channels * sizeof *out);
    }
    return out;
}

/* ---- 03 ---- */

typedef struct { float *x0, *noise, *xt, *both, *mean; } gaussian_inputs;

/* got: NHWC; tolerance 1e-5 max(1, |value|), or `absolute` when that is given. */
static ddpm_status compare_images(const bench *b, const char *name, const float *got, double absolute)
{
    gold_tensor want;
    DDPM_TRY(gold_need(b->c, b->f, &want, "%s", name));
    DDPM_TRY(gold_expect(&want, 4, b->n * b->len));
    double *values = gold_alloc(b->c, want.len, sizeof *values), *allowed = gold_alloc(b->c, want.len, sizeof *allowed);
    gold_from_nhwc(got, b->n, b->channels, b->pixels, values);
    for (size_t i = 0; i < want.len; i++) allowed[i] = absolute > 0 ? absolute : 1e-5 * fmax(1, fabs(want.v[i]));
    gold_compare(b->c, &want, values, allowed);
    return DDPM_OK;
}

static void fill(float *x, size_t len, float v)
{
    for (size_t i = 0; i < len; i++) x[i] = v;
}

static ddpm_status compare_q(const bench *b, const gaussian_inputs *in)
{
    const schedule *s = b->p.s;
    float *y[7];
    for (int k = 0; k < 7; k++) y[k] = gold_alloc(b->c, b->n * b->len, sizeof **y);
    for (size_t n = 0; n < b->n; n++) {
        const size_t at = n * b->len;
        float variance, log_variance, clipped;
        q_sample(s, b->t[n], b->len, in->x0 + at, in->noise + at, y[0] + at);
        q_mean_variance(s, b->t[n], b->len, in->x0 + at, y[1] + at, &variance, &log_variance);
        fill(y[2] + at, b->len, variance);
        fill(y[3] + at, b->len, log_variance);
        q_posterior(s, b->t[n], b->len, in->x0 + at, in->xt + at, y[4] + at, &variance, &clipped);
        fill(y[5] + at, b->len, variance);
        fill(y[6] + at, b->len, clipped);
    }
    static const char *const names[] = { "q_sample", "q_mean_variance/mean", "q_mean_variance/variance", "q_mean_variance/log_variance",
                                         "q_posterior/mean", "q_posterior/variance", "q_posterior/log_variance_clipped" };
    for (int k = 0; k < 7; k++) DDPM_TRY(compare_images(b, names[k], y[k], 0));
    return DDPM_OK;
}

static ddpm_status compare_predictions(const bench *b, const gaussian_inputs *in)
{
    static const struct { const char *name; void (*fn)(const schedule *, int, size_t, const float *, const float *, float *); } rows[] = {
        { "predict_xstart_from_eps", predict_xstart_from_eps }, { "predict_xstart_from_xprev", predict_xstart_from_xprev },
        { "predict_eps_from_xstart", predict_eps_from_xstart },
    };
    float *y = gold_alloc(b->c, b->n * b->len, sizeof *y);
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        for (size_t n = 0; n < b->n; n++) rows[k].fn(b->p.s, b->t[n], b->len, in->xt + n * b->len, in->mean + n * b->len, y + n * b->len);
        DDPM_TRY(compare_images(b, rows[k].name, y, 0));
    }
    return DDPM_OK;
}

/* "MEAN/VAR/clip0/field" */
static bool split_moment(const char *name, char part[4][PART])
{
    int used = 0;
    return sscanf(name, "%63[^/]/%63[^/]/%63[^/]/%63[^/]%n", part[0], part[1], part[2], part[3], &used) == 4 && !name[used];
}

static ddpm_status compare_moment(const bench *b, const gaussian_inputs *in, const char *name)
{
    char part[4][PART];
    if (!split_moment(name, part)) return DDPM_OK;         /* stays unused and is reported */
    process p = b->p;
    DDPM_TRY(mean_type_find(part[0], &p.mean));
    DDPM_TRY(var_type_find(part[1], &p.var));
    const bool clip = !strcmp(part[2], "clip1");
    p.clip = clip ? CLIP_REDERIVE : CLIP_NONE;
    const size_t width = process_learns_variance(&p) ? 2 : 1;
    float *y[4];
    for (int k = 0; k < 4; k++) y[k] = gold_alloc(b->c, b->n * b->len, sizeof **y);
    for (size_t n = 0; n < b->n; n++) {
        const size_t at = n * b->len;
        const p_moments m = { y[0] + at, y[1] + at, y[2] + at, y[3] + at };
        p_mean_variance(&p, b->t[n], (image_dims){ (int)b->pixels, (int)b->channels }, in->xt + at,
                        (width == 2 ? in->both : in->mean) + width * at, &m);
    }
    static const char *const fields[] = { "mean", "variance", "log_variance", "pred_xstart" };
    const char *full = gold_printf(b->c, "p/%s", name);
    for (int k = 0; k < 4; k++) {
        gold_tensor want;
        if (strcmp(part[3], fields[k])) continue;
        DDPM_TRY(gold_need(b->c, b->f, &want, "%s", full));
        DDPM_TRY(compare_images(b, full, y[k], clip ? 0 : k == 0 ? 1e-4 : k == 3 ? 1e-5 * gold_peak(&want) : 0));
    }
    return DDPM_OK;
}

typedef struct { const char *label; const json *entry; } file_job;

static ddpm_status gaussian(gold_case *c, const void *ctx)
{
    const file_job *job = ctx;
    bench b;
    gaussian_inputs in;
    DDPM_TRY(open_bench(c, job->label, job->entry, &b));
    DDPM_TRY(images(&b, "x_start", 1, &in.x0));
    DDPM_TRY(images(&b, "noise", 1, &in.noise));
    DDPM_TRY(images(&b, "x_t", 1, &in.xt));
    DDPM_TRY(images(&b, "model_output", 2, &in.both));
    in.mean = cut_channels(&b, in.both, 2 * b.channels, 0, b.channels);
    DDPM_TRY(compare_q(&b, &in));
    DDPM_TRY(compare_predictions(&b, &in));
    if (!gold_count_under(b.f, "p/")) return ddpm_fail(DDPM_EFORMAT, "%s has no tensor under p/", job->label);
    for (int i = 0; i < safetensors_count(b.f->st); i++) {
        const char *name = gold_under(b.f, i, "p/");
        if (name) DDPM_TRY(compare_moment(&b, &in, name));
    }
    return DDPM_OK;
}

void golden_gaussian(gold_run *run, const json *section)
{
    for (const char *key = json_first(section); key; key = json_next(section, key)) {
        char label[GOLD_NAME];
        snprintf(label, sizeof label, "03_gaussian/%s", key);
        const file_job job = { label, json_get(section, key) };
        gold_case_run(run, label, gaussian, &job);
    }
}

/* ---- 04: training losses and terms of the bound ---- */

typedef struct { float *x0, *xt, *noise; } loss_images;

/* What the fake model returns for these types. */
static ddpm_status fake_output(const bench *b, const process *p, const char *mean, const char *var, float **out)
{
    float *v;
    DDPM_TRY(images(b, gold_printf(b->c, "model_mean_part/%s", mean), 1, out));
    if (!process_learns_variance(p)) return DDPM_OK;
    DDPM_TRY(images(b, gold_printf(b->c, "model_var_part/%s", var), 1, &v));
    *out = join_channels(b, *out, v);
    return DDPM_OK;
}

/* Per image: 1e-4, in row 0 1e-3, and an absolute part for sums of cancelling terms. */
static ddpm_status compare_term(const bench *b, const char *name, const double *got, double absolute)
{
    gold_tensor want;
    DDPM_TRY(gold_need(b->c, b->f, &want, "%s", name));
    DDPM_TRY(gold_expect(&want, 1, b->n));
    double *allowed = gold_alloc(b->c, b->n, sizeof *allowed);
    for (size_t n = 0; n < b->n; n++) allowed[n] = (b->t[n] ? 1e-4 : 1e-3) * fabs(want.v[n]) + absolute;
    gold_compare(b->c, &want, got, allowed);
    return DDPM_OK;
}

static ddpm_status compare_gradient(const bench *b, const char *name, const float *dout, size_t parts, double scale)
{
    gold_tensor want;
    DDPM_TRY(gold_need(b->c, b->f, &want, "%s", name));
    DDPM_TRY(gold_expect(&want, 4, b->n * b->len * parts));
    double *got = gold_alloc(b->c, want.len, sizeof *got), *allowed = gold_alloc(b->c, want.len, sizeof *allowed);
    gold_from_nhwc(dout, b->n, parts * b->channels, b->pixels, got);
    for (size_t half = 0; half < want.len; half += b->len) {
        double peak = 0;
        for (size_t i = half; i < half + b->len; i++) peak = fmax(peak, fabs(want.v[i]));
        for (size_t i = half; i < half + b->len; i++) allowed[i] = 3e-4 * peak + 1e-7 * scale;
    }
    gold_compare(b->c, &want, got, allowed);
    return DDPM_OK;
}

/* "MEAN/VAR/TYPE/term" below loss/ */
static ddpm_status compare_loss(const bench *b, const loss_images *im, const char *name)
{
    char part[4][PART];
    if (!split_moment(name, part)) return DDPM_OK;
    process p = b->p;
    loss_type type;
    float *out;
    DDPM_TRY(mean_type_find(part[0], &p.mean));
    DDPM_TRY(var_type_find(part[1], &p.var));
    DDPM_TRY(loss_type_find(part[2], &type));
    DDPM_TRY(fake_output(b, &p, part[0], part[1], &out));
    const size_t parts = process_learns_variance(&p) ? 2 : 1;
    double *terms[3];
    for (int k = 0; k < 3; k++) terms[k] = gold_alloc(b->c, b->n, sizeof **terms);
    float *dout = gold_alloc(b->c, parts * b->n * b->len, sizeof *dout);
    for (size_t n = 0; n < b->n; n++) {
        const size_t at = n * b->len;
        const loss_input in = { &p, type, b->t[n], { (int)b->pixels, (int)b->channels }, 1.0 / (double)b->n,
                                im->x0 + at, im->xt + at, im->noise + at, out + parts * at };
        loss_terms t;
        loss_eval(&in, &t, dout + parts * at);
        terms[0][n] = t.loss;
        terms[1][n] = t.mse;
        terms[2][n] = t.vb;
    }
    const double scale = type == LOSS_RESCALED_KL ? p.s->T : 1;
    const char *full = gold_printf(b->c, "loss/%s", name);
    static const char *const names[] = { "loss", "mse", "vb" };
    for (int k = 0; k < 3; k++)
        if (!strcmp(part[3], names[k])) DDPM_TRY(compare_term(b, full, terms[k], 1e-6 * scale));
    return strcmp(part[3], "grad_model_output") ? DDPM_OK : compare_gradient(b, full, dout, parts, scale);
}

/* "MEAN/VAR/clip0" below vb_terms/ */
static ddpm_status compare_bound(const bench *b, const loss_images *im, const char *name)
{
    char part[3][PART];
    if (sscanf(name, "%63[^/]/%63[^/]/%63[^/]", part[0], part[1], part[2]) != 3) return DDPM_OK;
    process p = b->p;
    float *out;
    DDPM_TRY(mean_type_find(part[0], &p.mean));
    DDPM_TRY(var_type_find(part[1], &p.var));
    p.clip = !strcmp(part[2], "clip1") ? CLIP_REDERIVE : CLIP_NONE;
    DDPM_TRY(fake_output(b, &p, part[0], part[1], &out));
    const size_t parts = process_learns_variance(&p) ? 2 : 1;
    double *got = gold_alloc(b->c, b->n, sizeof *got);
    for (size_t n = 0; n < b->n; n++) {
        const size_t at = n * b->len;
        got[n] = vb_terms(&p, b->t[n], (image_dims){ (int)b->pixels, (int)b->channels }, im->x0 + at, im->xt + at, out + parts * at);
    }
    return compare_term(b, gold_printf(b->c, "vb_terms/%s", name), got, 1e-6);
}

static ddpm_status compare_prior(const bench *b, const loss_images *im)
{
    gold_tensor want;
    DDPM_TRY(gold_need(b->c, b->f, &want, "prior_bpd"));
    DDPM_TRY(gold_expect(&want, 1, b->n));
    double *got = gold_alloc(b->c, b->n, sizeof *got);
    for (size_t n = 0; n < b->n; n++) got[n] = prior_bpd(b->p.s, b->len, im->x0 + n * b->len);
    gold_compare_near(b->c, &want, got, 1e-6, 0);
    return DDPM_OK;
}

static ddpm_status losses(gold_case *c, const void *ctx)
{
    const file_job *job = ctx;
    bench b;
    loss_images im;
    DDPM_TRY(open_bench(c, job->label, job->entry, &b));
    DDPM_TRY(images(&b, "x_start", 1, &im.x0));
    DDPM_TRY(images(&b, "x_t", 1, &im.xt));
    DDPM_TRY(images(&b, "noise", 1, &im.noise));
    DDPM_TRY(compare_prior(&b, &im));
    if (!gold_count_under(b.f, "loss/") || !gold_count_under(b.f, "vb_terms/"))
        return ddpm_fail(DDPM_EFORMAT, "%s has no tensors under loss/ or vb_terms/", job->label);
    for (int i = 0; i < safetensors_count(b.f->st); i++) {
        const char *loss = gold_under(b.f, i, "loss/"), *bound = gold_under(b.f, i, "vb_terms/");
        if (loss) DDPM_TRY(compare_loss(&b, &im, loss));
        if (bound) DDPM_TRY(compare_bound(&b, &im, bound));
    }
    return DDPM_OK;
}

/* ---- 04: element-wise functions ---- */

/* Inputs of one function, as many as `out`. */
static ddpm_status columns(gold_case *c, gold_file *f, int n, const char *const *names, const gold_tensor *out, gold_tensor *in)
{
    for (int k = 0; k < n; k++) {
        DDPM_TRY(gold_need(c, f, &in[k], "%s", names[k]));
        DDPM_TRY(gold_expect(&in[k], 1, out->len));
    }
    return DDPM_OK;
}

/* Tolerance: what cancellation does to the probability P in float32, in its logarithm. */
static ddpm_status compare_likelihood(gold_case *c, gold_file *f)
{
    static const char *const names[] = { "x", "means", "log_scales" };
    gold_tensor want, in[3], f32;
    DDPM_TRY(gold_need(c, f, &want, "log_likelihood_f64"));
    DDPM_TRY(columns(c, f, 3, names, &want, in));
    double *got = gold_alloc(c, want.len, sizeof *got), *allowed = gold_alloc(c, want.len, sizeof *allowed);
    for (size_t i = 0; i < want.len; i++) {
        const double P = exp(want.v[i]);
        got[i] = discretized_gaussian_log_likelihood(in[0].v[i], in[1].v[i], in[2].v[i]);
        allowed[i] = 1.05 * (1e-4 * fmax(1, fabs(want.v[i])) + fabs(log(fmax(P - 2.4e-7, 1e-12) / P)));
    }
    gold_compare(c, &want, got, allowed);
    gold_find(c, f, &f32, "log_likelihood_f32");       /* the reference's own rounding, and the bytes behind x */
    gold_find(c, f, &f32, "x_u8");
    return DDPM_OK;
}

static ddpm_status likelihood(gold_case *c, const void *ctx)
{
    (void)ctx;
    static const char *const cdf_names[] = { "cdf_in" }, *const kl_names[] = { "kl_mean1", "kl_logvar1", "kl_mean2", "kl_logvar2" };
    gold_file *f;
    gold_tensor cdf, kl, x, in[4];
    DDPM_TRY(gold_open(c, "04_losses/likelihood", &f));
    DDPM_TRY(compare_likelihood(c, f));
    DDPM_TRY(gold_need(c, f, &cdf, "approx_cdf"));
    DDPM_TRY(columns(c, f, 1, cdf_names, &cdf, &x));
    double *got = gold_alloc(c, cdf.len, sizeof *got);
    for (size_t i = 0; i < cdf.len; i++) got[i] = approx_standard_normal_cdf(x.v[i]);
    gold_compare_near(c, &cdf, got, 1e-6, 0);
    DDPM_TRY(gold_need(c, f, &kl, "normal_kl"));
    DDPM_TRY(columns(c, f, 4, kl_names, &kl, in));
    got = gold_alloc(c, kl.len, sizeof *got);
    for (size_t i = 0; i < kl.len; i++) got[i] = normal_kl(in[0].v[i], in[1].v[i], in[2].v[i], in[3].v[i]);
    gold_compare_near(c, &kl, got, 1e-6, 1e-4);
    return DDPM_OK;
}

void golden_losses(gold_run *run, const json *section)
{
    for (const char *key = json_first(section); key; key = json_next(section, key)) {
        char label[GOLD_NAME];
        snprintf(label, sizeof label, "04_losses/%s", key);
        const file_job job = { label, json_get(section, key) };
        if (json_kind_of(job.entry) == JSON_KIND_OBJECT) gold_case_run(run, label, losses, &job);
    }
    gold_case_run(run, "04_losses/likelihood", likelihood, NULL);
    golden_bits(run, json_get(section, "bpd"));
}
