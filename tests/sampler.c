/* Samplers: exact mean and deviation with a closed-form denoiser, single steps
 * of the authors' code (golden set 07), step counts and errors. */
#include "golden_file.h"

#include "base/rng.h"
#include "diffusion/respace.h"
#include "diffusion/sampler.h"

#include <math.h>

static const double MEAN = 0.3, SD = 0.25;     /* of the one-pixel data set N(MEAN, SD^2) */

static schedule make(schedule_profile profile, schedule_kind kind, int T)
{
    const schedule_config c = schedule_config_of(profile, kind, T);
    schedule s;
    if (schedule_new(&c, &s) != DDPM_OK) fail_msg("%s", ddpm_last_error());
    return s;
}

static schedule respace(const schedule *full, int S, spacing_kind kind)
{
    step_list list;
    schedule s;
    assert_int_equal(respace_exact(full, S, kind, &list), DDPM_OK);
    assert_int_equal(schedule_respace(full, list.t, list.n, &s), DDPM_OK);
    step_list_free(&list);
    return s;
}

/* ---- the exact denoiser of N(MEAN, SD^2) -------------------------------------- */

typedef struct {
    const schedule *full;    /* original chain: alpha-bar of the t received    */
    const process  *p;
    double v;                /* what learned variances are told                */
    bool   from_rng;         /* noise: random numbers; else unit impulses      */
    int    calls, noises, observed, fail_at;
    int    row_of_step;      /* +1 walks down, -1 up: order of the t received  */
} model;

/* E[x_0 | x_t] = to_xt x_t + constant */
static void xstart_line(double bar, double *to_xt, double *constant)
{
    const double gain = sqrt(bar) * SD * SD / (bar * SD * SD + 1 - bar);
    *to_xt = gain;
    *constant = MEAN * (1 - gain * sqrt(bar));
}

static ddpm_status denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    model *m = ctx;
    const int width = process_out_channels(m->p, 1);
    (void)y;
    if (++m->calls == m->fail_at) return ddpm_fail(DDPM_ENUMERIC, "the network is tired");
    for (int k = 0; k < n; k++) {
        const double bar = m->full->alphas_cumprod[(int)t[k]], xt = (double)x[k];
        double gain, constant;
        xstart_line(bar, &gain, &constant);
        const double x0 = gain * xt + constant, eps = (xt - sqrt(bar) * x0) / sqrt(1 - bar);
        out[k * width] = (float)(m->p->mean == MEAN_EPSILON ? eps : m->p->mean == MEAN_START_X ? x0 : sqrt(bar) * eps - sqrt(1 - bar) * x0);
        if (width == 2) out[k * 2 + 1] = (float)m->v;
    }
    return DDPM_OK;
}

/* Image 2 + k gets a unit of noise at step k and nothing else. */
static void noise(void *ctx, int step, int n, float *z)
{
    model *m = ctx;
    m->noises++;
    if (m->from_rng) {
        rng_normals((rng_address){ .seed = 3, .stream = RNG_SAMPLE_NOISE, .step = (uint64_t)step }, 0, (size_t)n, z);
        return;
    }
    for (int k = 0; k < n; k++) z[k] = k == 2 + step;
}

static void observe(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    model *m = ctx;
    const int S = m->p->s->T;
    assert_int_equal(step, m->observed++);
    assert_int_equal(t, m->p->s->timestep_map[m->row_of_step < 0 ? step : S - 1 - step]);
    assert_true(isfinite(x[0]) && isfinite(pred_xstart[0]));
}

/* ---- the recursion that the samplers must follow --------------------------------- */

/* x' = a x + b + sigma z for row i, in the papers' own terms. */
typedef struct { double a, b, sigma; } line;

typedef enum { ANCESTRAL, DDIM, ENCODE } method;

static line expected_line(const process *p, method how, double eta, bool sigma_hat, int i)
{
    const double bar = p->s->alphas_cumprod[i], next = p->s->alphas_cumprod_next[i];
    const double prev = i ? p->s->alphas_cumprod[i - 1] : 1, beta = 1 - bar / prev;
    double gain, constant;
    xstart_line(bar, &gain, &constant);
    if (how == ANCESTRAL) {
        const double of_x0 = sqrt(prev) * beta / (1 - bar), of_xt = sqrt(1 - beta) * (1 - prev) / (1 - bar);
        const double small = (1 - prev) / (1 - bar) * beta, sigma = sqrt(p->var == VAR_FIXED_LARGE ? beta : small);
        return (line){ of_x0 * gain + of_xt, of_x0 * constant, i ? sigma : 0 };
    }
    const double to = how == ENCODE ? next : prev;
    const double sigma = how == ENCODE ? 0 : eta * sqrt((1 - prev) / (1 - bar) * beta);
    const double of_eps = sqrt(fmax(1 - to - sigma * sigma, 0)) / sqrt(1 - bar);       /* eps = (x_t - sqrt(ab) x_0) / sqrt(1 - ab) */
    return (line){ (sqrt(to) - of_eps * sqrt(bar)) * gain + of_eps, (sqrt(to) - of_eps * sqrt(bar)) * constant,
                   sigma_hat ? i ? sqrt(beta) : 0 : sigma };
}

static void expected_moments(const process *p, method how, double eta, bool sigma_hat, double *mean, double *sd)
{
    double var = 1;
    *mean = 0;
    for (int k = 0; k < p->s->T; k++) {
        const line l = expected_line(p, how, eta, sigma_hat, how == ENCODE ? k : p->s->T - 1 - k);
        *mean = l.a * *mean + l.b;
        var = l.a * l.a * var + l.sigma * l.sigma;
    }
    *sd = sqrt(var);
}

/* Run the sampler on impulses: its answer to x_T = 0 is the mean, the squares of
 * its answers to a unit in x_T and in each noise add up to the variance. */
static void measured_moments(const schedule *full, const process *p, method how, double eta, bool sigma_hat, double v, double *mean, double *sd)
{
    const int S = p->s->T;
    model m = { .full = full, .p = p, .v = v, .row_of_step = how == ENCODE ? -1 : 1 };
    sampler_env e = { .denoise = denoise, .noise = noise, .observe = observe, .ctx = &m, .n = S + 2, .dims = { 1, 1 }, .eta = eta, .sigma_hat = sigma_hat };
    float *x = calloc((size_t)S + 2, sizeof *x);
    assert_int_equal(sampler_reserve(p, &e), DDPM_OK);
    x[1] = 1;
    assert_int_equal(how == ANCESTRAL ? sampler_ddpm(p, &e, x) : how == DDIM ? sampler_ddim(p, &e, x) : sampler_encode(p, &e, x), DDPM_OK);
    assert_int_equal(m.calls, S);
    assert_int_equal(m.observed, S);
    assert_int_equal(m.noises, how == ENCODE || (how == DDIM && eta <= 0) ? 0 : S - 1);
    *mean = (double)x[0];
    double var = 0;
    for (int k = 1; k < S + 2; k++) var += ((double)x[k] - (double)x[0]) * ((double)x[k] - (double)x[0]);
    *sd = sqrt(var);
    sampler_release(&e);
    free(x);
}

/* Float coefficients are off by up to 6e-8 in each step. */
static double tolerance_of(const process *p)
{
    const double direct = 1e-6 + (p->s->T > 50 ? 1e-8 * p->s->T : 0);
    return p->mean == MEAN_EPSILON ? 10 * direct : direct;     /* and eps determines x_0 157 times less well at t = 999 */
}

static void check_moments(const schedule *full, const process *p, method how, double eta, bool sigma_hat)
{
    const double tolerance = tolerance_of(p);
    double mean, sd, want_mean, want_sd;
    measured_moments(full, p, how, eta, sigma_hat, 0, &mean, &sd);
    expected_moments(p, how, eta, sigma_hat, &want_mean, &want_sd);
    if (!(fabs(mean - want_mean) <= tolerance && fabs(sd - want_sd) <= tolerance))
        fail_msg("method %d, %d steps, mean type %d, var %d, eta %g: mean %.9g (want %.9g), sd %.9g (want %.9g)", (int)how, p->s->T,
                 (int)p->mean, (int)p->var, eta, mean, want_mean, sd, want_sd);
}

static const mean_type DIRECT[] = { MEAN_START_X, MEAN_V };

static void test_ancestral_moments(void **state)
{
    (void)state;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    const int steps[] = { 1, 2, 10, 50, 1000 };
    for (int n = 0; n < 5; n++) {
        schedule s = respace(&full, steps[n], SPACING_TRAILING);
        for (int m = 0; m < 2; m++) {
            process p = { .s = &s, .mean = DIRECT[m], .var = VAR_FIXED_SMALL };
            check_moments(&full, &p, ANCESTRAL, 0, false);
            p.var = VAR_FIXED_LARGE;
            check_moments(&full, &p, ANCESTRAL, 0, false);
            p.mean = MEAN_EPSILON;
            check_moments(&full, &p, ANCESTRAL, 0, false);
        }
        schedule_free(&s);
    }
    schedule_free(&full);
}

/* v = -1 and 1 are the ends of the learned range: the fixed variances. */
static void test_learned_moments(void **state)
{
    (void)state;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_COSINE, 1000), s = respace(&full, 20, SPACING_LINSPACE);
    const process small = { .s = &s, .mean = MEAN_V }, large = { .s = &s, .mean = MEAN_V, .var = VAR_FIXED_LARGE };
    const process range = { .s = &s, .mean = MEAN_V, .var = VAR_LEARNED_RANGE }, learned = { .s = &s, .mean = MEAN_V, .var = VAR_LEARNED };
    double mean, sd, want_mean, want_sd;
    expected_moments(&small, ANCESTRAL, 0, false, &want_mean, &want_sd);
    measured_moments(&full, &range, ANCESTRAL, 0, false, -1, &mean, &sd);
    assert_true(fabs(mean - want_mean) < 1e-6 && fabs(sd - want_sd) < 1e-6);
    expected_moments(&large, ANCESTRAL, 0, false, &want_mean, &want_sd);
    measured_moments(&full, &range, ANCESTRAL, 0, false, 1, &mean, &sd);
    assert_true(fabs(mean - want_mean) < 1e-6 && fabs(sd - want_sd) < 1e-6);
    measured_moments(&full, &learned, ANCESTRAL, 0, false, -200, &mean, &sd);      /* no noise at all: x_T alone */
    double gain = 1;
    for (int i = 0; i < s.T; i++) gain *= expected_line(&small, ANCESTRAL, 0, false, i).a;
    assert_true(fabs(sd - gain) < 1e-6);
    schedule_free(&s);
    schedule_free(&full);
}

static void test_ddim_moments(void **state)
{
    (void)state;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    const int steps[] = { 1, 2, 10, 50, 1000 };
    const double etas[] = { 0, 0.5, 1 };
    for (int n = 0; n < 5; n++) {
        schedule s = respace(&full, steps[n], SPACING_TRAILING);
        for (int m = 0; m < 2; m++)
            for (int e = 0; e < 3; e++) {
                process p = { .s = &s, .mean = DIRECT[m] };
                check_moments(&full, &p, DDIM, etas[e], false);
                p.mean = MEAN_EPSILON;
                check_moments(&full, &p, DDIM, etas[e], false);
            }
        const process p = { .s = &s, .mean = MEAN_V };
        if (steps[n] > 1) check_moments(&full, &p, DDIM, 1, true);
        schedule_free(&s);
    }
    schedule_free(&full);
}

/* Many steps find the data's own mean and deviation. */
static void test_limits(void **state)
{
    (void)state;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    const process p = { .s = &full, .mean = MEAN_V };
    double mean, sd;
    measured_moments(&full, &p, ANCESTRAL, 0, false, 0, &mean, &sd);
    assert_true(fabs(mean - MEAN) < 0.005 && fabs(sd - SD) < 0.005);
    measured_moments(&full, &p, DDIM, 0, false, 0, &mean, &sd);
    assert_true(fabs(mean - MEAN) < 0.005 && fabs(sd - SD) < 0.005);
    schedule_free(&full);
}

static void test_eta_one_is_ancestral(void **state)
{
    (void)state;
    enum { IMAGES = 64 };
    schedule full = make(PROFILE_OPENAI, SCHEDULE_COSINE, 4000), s = respace(&full, 50, SPACING_LINSPACE);
    const process p = { .s = &s, .mean = MEAN_START_X, .clip = CLIP_REDERIVE };
    float x[2][IMAGES];
    for (int k = 0; k < 2; k++) {
        model m = { .full = &full, .p = &p, .from_rng = true };
        sampler_env e = { .denoise = denoise, .noise = noise, .ctx = &m, .n = IMAGES, .dims = { 1, 1 }, .eta = 1 };
        rng_normals((rng_address){ .seed = 3, .stream = RNG_XT }, 0, IMAGES, x[k]);
        assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
        assert_int_equal(k ? sampler_ddim(&p, &e, x[k]) : sampler_ddpm(&p, &e, x[k]), DDPM_OK);
        sampler_release(&e);
    }
    for (int k = 0; k < IMAGES; k++) assert_true(fabs((double)(x[0][k] - x[1][k])) < 2e-6);
    schedule_free(&s);
    schedule_free(&full);
}

/* Largest error of decode(encode(x)) over images from -0.2 to 0.8. meet: the encoder ends where the decoder starts. */
static double round_trip(const schedule *full, int S, spacing_kind kind, bool meet)
{
    enum { IMAGES = 11 };
    schedule s = respace(full, S, kind);
    if (meet) s.alphas_cumprod_next[S - 1] = s.alphas_cumprod[S - 1];
    const process p = { .s = &s, .mean = MEAN_V };
    model m = { .full = full, .p = &p };
    sampler_env e = { .denoise = denoise, .ctx = &m, .n = IMAGES, .dims = { 1, 1 } };
    float x[IMAGES];
    double worst = 0;
    for (int k = 0; k < IMAGES; k++) x[k] = (float)(0.1 * k - 0.2);
    assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
    assert_int_equal(sampler_encode(&p, &e, x), DDPM_OK);
    assert_int_equal(m.calls, S);
    assert_true(S < 100 || fabs((double)x[10] - (0.8 - MEAN) / SD) < 0.2);       /* the latent of a Gaussian is its standard score */
    assert_int_equal(sampler_ddim(&p, &e, x), DDPM_OK);
    for (int k = 0; k < IMAGES; k++) worst = fmax(worst, fabs((double)x[k] - (0.1 * k - 0.2)));
    sampler_release(&e);
    schedule_free(&s);
    return worst;
}

static void test_encode(void **state)
{
    (void)state;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    const double coarse = round_trip(&full, 100, SPACING_LINSPACE, false), fine = round_trip(&full, 1000, SPACING_LINSPACE, false);
    if (!(fine < 0.01 && fine < coarse / 3)) fail_msg("round trip errors %g and %g", coarse, fine);
    schedule s = respace(&full, 40, SPACING_LEADING);
    const process p = { .s = &s, .mean = MEAN_V };
    check_moments(&full, &p, ENCODE, 0, false);
    schedule_free(&s);
    schedule_free(&full);
}

/* Both ways are Euler's method, so twice the steps halve the error. Where a short chain ends far from pure noise, as over a
 * cosine schedule, they should meet at one level. */
static void test_round_trip_order(void **state)
{
    (void)state;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 4000);
    double before = round_trip(&full, 20, SPACING_UNIFORM, true);
    for (int S = 40; S <= 640; S *= 2) {
        const double error = round_trip(&full, S, SPACING_UNIFORM, true);
        if (!(before / error > 1.7 && before / error < 2.1)) fail_msg("round trip error %g in %d steps, %g in half of them", error, S, before);
        before = error;
    }
    schedule_free(&full);
    full = make(PROFILE_OPENAI, SCHEDULE_COSINE, 1000);
    const double met = round_trip(&full, 10, SPACING_UNIFORM, true), apart = round_trip(&full, 10, SPACING_UNIFORM, false);
    if (!(met < apart)) fail_msg("round trip errors %g when both ways meet, else %g", met, apart);
    schedule_free(&full);
}

/* Every S of 1..T, every spacing: as many network calls as the sampler says, S for all but Heun. */
static void test_every_step_count(void **state)
{
    (void)state;
    const int T = 24;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, T);
    for (int kind = SPACING_LEADING; kind <= SPACING_LOGSNR; kind++)
        for (int S = 1; S <= T; S++) {
            schedule s = respace(&full, S, (spacing_kind)kind);
            const process p = { .s = &s };
            for (const sampler *k = samplers; k->name; k++) {
                model m = { .full = &full, .p = &p };
                sampler_env e = { .denoise = denoise, .noise = noise, .ctx = &m, .n = 1, .dims = { 1, 1 }, .eta = 1 };
                float x = 0.5f;
                assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
                assert_int_equal(k->run(&p, &e, &x), DDPM_OK);
                assert_int_equal(m.calls, sampler_calls(k, &p));
                assert_int_equal(m.calls, strcmp(k->name, "heun") ? S : 2 * S - 1);
                assert_true(isfinite(x));
                sampler_release(&e);
            }
            schedule_free(&s);
        }
    schedule_free(&full);
}

/* One step is the network's x_0 itself. */
static void test_single_step(void **state)
{
    (void)state;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000), s = respace(&full, 1, SPACING_UNIFORM);
    const process p = { .s = &s, .mean = MEAN_START_X };
    for (const sampler *k = samplers; k->name; k++) {
        model m = { .full = &full, .p = &p };
        sampler_env e = { .denoise = denoise, .ctx = &m, .n = 1, .dims = { 1, 1 } };     /* and needs no noise */
        double gain, constant;
        float x = 1.5f;
        xstart_line(full.alphas_cumprod[999], &gain, &constant);
        assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
        assert_int_equal(k->run(&p, &e, &x), DDPM_OK);
        assert_true(fabs((double)x - (gain * 1.5 + constant)) < 1e-6);
        sampler_release(&e);
    }
    schedule_free(&s);
    schedule_free(&full);
}

/* From alpha-bar 0, where x_t is its own noise, by each form in which DDIM wants that noise. */
static void test_pure_noise(void **state)
{
    (void)state;
    schedule_config c = schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, 50);
    c.zero_terminal_snr = true;
    schedule s;
    assert_int_equal(schedule_new(&c, &s), DDPM_OK);
    assert_true(s.alphas_cumprod[49] <= 0);
    double want = 0.8;
    for (int i = 49; i >= 0; i--) {
        const double bar = s.alphas_cumprod[i], prev = i ? s.alphas_cumprod[i - 1] : 1;
        double gain, constant;
        xstart_line(bar, &gain, &constant);
        const double x0 = gain * want + constant, eps = (want - sqrt(bar) * x0) / sqrt(1 - bar);
        want = sqrt(prev) * x0 + sqrt(1 - prev) * eps;
    }
    for (int k = 0; k < 6; k++) {
        const process p = { .s = &s, .mean = k % 2 ? MEAN_START_X : MEAN_V, .clip = (clip_mode)(k / 2) };
        model m = { .full = &s, .p = &p };
        sampler_env e = { .denoise = denoise, .noise = noise, .ctx = &m, .n = 1, .dims = { 1, 1 } };
        float x = 0.8f;
        assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
        assert_int_equal(sampler_ddim(&p, &e, &x), DDPM_OK);
        if (!(fabs((double)x - want) < 1e-5)) fail_msg("mean %d, clip %d: %g, not %g", p.mean, p.clip, (double)x, want);
        assert_int_equal(sampler_encode(&p, &e, &x), DDPM_OK);
        assert_true(isfinite(x));
        sampler_release(&e);
    }
    schedule_free(&s);
}

static void test_errors(void **state)
{
    (void)state;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 50), jsd = make(PROFILE_HO, SCHEDULE_JSD, 50);
    process p = { .s = &full, .mean = MEAN_V };
    model m = { .full = &full, .p = &p, .fail_at = 7 };
    sampler_env e = { .denoise = denoise, .noise = noise, .ctx = &m, .n = 1, .dims = { 1, 1 } };
    float x = 0;
    const sampler *found;
    assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
    assert_int_equal(sampler_ddpm(&p, &e, &x), DDPM_ENUMERIC);
    assert_int_equal(m.calls, 7);
    assert_string_equal(ddpm_last_error(), "the network is tired");
    e.eta = 1.5;
    assert_int_equal(sampler_ddim(&p, &e, &x), DDPM_EINVAL);
    e.eta = 0.5;
    e.sigma_hat = true;
    assert_int_equal(sampler_ddim(&p, &e, &x), DDPM_EINVAL);
    e = (sampler_env){ .denoise = denoise, .noise = noise, .ctx = &m, .n = 1, .dims = { 1, 1 }, .t = e.t, .out = e.out, .z = e.z, .pred_xstart = e.pred_xstart, .memory = e.memory };
    p = (process){ .s = &jsd, .mean = MEAN_EPSILON };
    assert_int_equal(sampler_ddim(&p, &e, &x), DDPM_EINVAL);       /* ends at alpha-bar 0 */
    assert_int_equal(sampler_encode(&p, &e, &x), DDPM_EINVAL);
    assert_int_equal(m.calls, 7);
    assert_int_equal(sampler_find("dddim", &found), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "ddpm, ddim"));
    assert_int_equal(sampler_find("ddim", &found), DDPM_OK);
    assert_true(found->run == sampler_ddim);
    sampler_release(&e);
    schedule_free(&full);
    schedule_free(&jsd);
}

/* ---- the authors' steps -------------------------------------------------------------- */

/* One recorded trajectory; elements in any order, since nothing depends on it
 * while variances are fixed. `out` stands for the network: its recorded output,
 * or the recorded x_0 prediction told as START_X. */
typedef struct { golden x0, sample, noise, out, pred; size_t len; bool noisy; int n; } trajectory;

static trajectory open_trajectory(const golden_file *g, const char *name, const char *start, const char *out)
{
    trajectory t = { .x0 = golden_tensor(g, "%s/%s", name, start), .sample = golden_tensor(g, "%s/sample", name),
                     .out = golden_tensor(g, "%s/%s", name, out), .pred = golden_tensor(g, "%s/pred_xstart", name) };
    char key[96];
    snprintf(key, sizeof key, "%s/noise", name);
    t.noisy = golden_find(g, key, &t.noise);
    t.n = (int)t.sample.shape[0];
    t.len = t.x0.len;
    return t;
}

static const float *slice(const golden *t, int step, size_t len) { return (const float *)t->data + (size_t)step * len; }

static void expect_close(const char *name, int step, const float *got, const float *want, size_t len, double amplification)
{
    double peak = 0;
    for (size_t k = 0; k < len; k++) peak = fmax(peak, fabs((double)want[k]));
    for (size_t k = 0; k < len; k++)
        if (!(fabs((double)got[k] - (double)want[k]) <= 5e-5 * peak + 6e-5 * amplification))
            fail_msg("%s step %d element %zu: got %.9g, want %.9g", name, step, k, (double)got[k], (double)want[k]);
}

typedef struct { method how; double eta; bool sigma_hat; } rule;

/* Every step from the recorded state, and the whole way from the start. */
static void check_trajectory(const char *name, const process *p, rule r, const trajectory *t)
{
    float *x = malloc(t->len * sizeof *x), *pred = malloc(t->len * sizeof *pred), *walk = malloc(t->len * sizeof *walk);
    assert_int_equal(p->s->T, t->n);
    memcpy(walk, t->x0.data, t->len * sizeof *walk);
    for (int k = 0; k < 2 * t->n; k++) {
        const int step = k % t->n, i = r.how == ENCODE ? step : t->n - 1 - step;
        const bool forced = k < t->n, have_noise = t->noisy && (size_t)step < t->noise.shape[0];
        const float *from = !forced ? walk : step ? slice(&t->sample, step - 1, t->len) : t->x0.data;
        const sampler_arrays a = { { (int)t->len, 1 }, from, slice(&t->out, step, t->len), have_noise ? slice(&t->noise, step, t->len) : NULL, forced ? x : walk, pred };
        if (r.how == ANCESTRAL) sampler_ddpm_step(p, i, &a);
        else if (r.how == DDIM) sampler_ddim_step(p, i, r.eta, r.sigma_hat, &a);
        else sampler_encode_step(p, i, &a);
        expect_close(name, step, a.x, slice(&t->sample, step, t->len), t->len, 0);
        expect_close(name, step, pred, slice(&t->pred, step, t->len), t->len, p->mean == MEAN_EPSILON ? p->s->sqrt_recipm1_alphas_cumprod[i] : 0);
    }
    free(x);
    free(pred);
    free(walk);
}

static void test_golden_openai(void **state)
{
    (void)state;
    const struct { const char *file, *name, *spec; schedule_kind kind; int T; var_type var; bool clip; rule r; } runs[] = {
        { "iddpm_ddpm", "a_small_clip", "10", SCHEDULE_LINEAR, 1000, VAR_FIXED_SMALL, true, { ANCESTRAL, 0, false } },
        { "iddpm_ddpm", "a_large_clip", "10", SCHEDULE_LINEAR, 1000, VAR_FIXED_LARGE, true, { ANCESTRAL, 0, false } },
        { "iddpm_ddpm", "a_large_noclip", "10", SCHEDULE_LINEAR, 1000, VAR_FIXED_LARGE, false, { ANCESTRAL, 0, false } },
        { "iddpm_ddpm", "a_xstart_small_clip", "2,3,5", SCHEDULE_LINEAR, 1000, VAR_FIXED_SMALL, true, { ANCESTRAL, 0, false } },
        { "iddpm_ddim", "a_eta0_clip", "ddim10", SCHEDULE_LINEAR, 1000, VAR_FIXED_LARGE, true, { DDIM, 0, false } },
        { "iddpm_ddim", "a_eta0_noclip", "ddim10", SCHEDULE_LINEAR, 1000, VAR_FIXED_LARGE, false, { DDIM, 0, false } },
        { "iddpm_ddim", "a_eta0.5_clip", "ddim10", SCHEDULE_LINEAR, 1000, VAR_FIXED_LARGE, true, { DDIM, 0.5, false } },
        { "iddpm_ddim", "a_eta1_clip", "ddim10", SCHEDULE_LINEAR, 1000, VAR_FIXED_LARGE, true, { DDIM, 1, false } },
        { "iddpm_ddim", "b_eta0.5_clip", "ddim10", SCHEDULE_COSINE, 4000, VAR_FIXED_LARGE, true, { DDIM, 0.5, false } },
        { "iddpm_reverse", "a_reverse", "ddim10", SCHEDULE_LINEAR, 1000, VAR_FIXED_LARGE, false, { ENCODE, 0, false } },
        { "iddpm_reverse", "b_reverse_clip", "ddim10", SCHEDULE_COSINE, 4000, VAR_FIXED_LARGE, true, { ENCODE, 0, false } },
    };
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        char path[96];
        snprintf(path, sizeof path, "tests/golden/07_samplers/%s.safetensors", runs[i].file);
        golden_file g = golden_open(path);
        schedule full = make(PROFILE_OPENAI, runs[i].kind, runs[i].T), s;
        assert_int_equal(schedule_respace_openai(&full, runs[i].spec, &s), DDPM_OK);
        const process p = { .s = &s, .mean = MEAN_START_X, .var = runs[i].var, .clip = runs[i].clip ? CLIP_REDERIVE : CLIP_NONE };
        const trajectory t = open_trajectory(&g, runs[i].name, runs[i].r.how == ENCODE ? "x0" : "xT", "pred_xstart");
        check_trajectory(runs[i].name, &p, runs[i].r, &t);
        schedule_free(&s);
        schedule_free(&full);
        golden_close(&g);
    }
}

static void test_golden_ermongroup(void **state)
{
    (void)state;
    const struct { const char *name; int S; bool quad, noisy; double eta; } runs[] = {
        { "gen_uniform_eta0", 10, false, false, 0 }, { "gen_uniform_eta1", 10, false, false, 1 }, { "gen_quad_eta0", 10, true, false, 0 },
        { "gen_quad_eta0.5", 8, true, false, 0.5 }, { "ddpm_noisy_uniform", 10, false, true, 0 },
    };
    golden_file g = golden_open("tests/golden/07_samplers/ermongroup.safetensors");
    schedule full = make(PROFILE_ERMONGROUP, SCHEDULE_LINEAR, 1000);
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        step_list list;
        schedule s;
        assert_int_equal(runs[i].quad ? respace_ermongroup_quad(1000, runs[i].S, &list) : respace_ermongroup_uniform(1000, runs[i].S, &list), DDPM_OK);
        assert_int_equal(schedule_from_steps(&full, list.t, NULL, 1, list.n, &s), DDPM_OK);
        const trajectory t = open_trajectory(&g, runs[i].name, "xT", "pred_xstart");
        const process p = { .s = &s, .mean = MEAN_START_X, .var = VAR_FIXED_LARGE, .clip = runs[i].noisy ? CLIP_REDERIVE : CLIP_NONE };
        check_trajectory(runs[i].name, &p, (rule){ runs[i].noisy ? ANCESTRAL : DDIM, runs[i].eta, false }, &t);
        if (runs[i].noisy) check_trajectory("ddpm_noisy as sigma-hat", &p, (rule){ DDIM, 1, true }, &t);
        schedule_free(&s);
        step_list_free(&list);
    }
    schedule_free(&full);
    golden_close(&g);
}

static void test_golden_diffusers(void **state)
{
    (void)state;
    const struct { const char *name; int S; spacing_kind spacing; int offset; method how; var_type var; clip_mode clip; double eta; bool alpha_to_one; } runs[] = {
        { "ddpm_small_leading", 10, SPACING_LEADING, 0, ANCESTRAL, VAR_FIXED_SMALL, CLIP_X0, 0, true },
        { "ddpm_large_leading", 10, SPACING_LEADING, 0, ANCESTRAL, VAR_FIXED_LARGE, CLIP_X0, 0, true },
        { "ddpm_large_noclip_trailing", 8, SPACING_TRAILING, 0, ANCESTRAL, VAR_FIXED_LARGE, CLIP_NONE, 0, true },
        { "ddim_eta0_leading", 10, SPACING_LEADING, 0, DDIM, VAR_FIXED_SMALL, CLIP_X0, 0, true },
        { "ddim_eta0_leading_clippedeps", 10, SPACING_LEADING, 0, DDIM, VAR_FIXED_SMALL, CLIP_REDERIVE, 0, true },
        { "ddim_eta1_linspace", 10, SPACING_LINSPACE, 0, DDIM, VAR_FIXED_SMALL, CLIP_X0, 1, true },
        { "ddim_eta0.5_trailing_alpha0", 10, SPACING_TRAILING, 0, DDIM, VAR_FIXED_SMALL, CLIP_NONE, 0.5, false },
        { "ddim_eta0_offset1", 10, SPACING_LEADING, 1, DDIM, VAR_FIXED_SMALL, CLIP_NONE, 0, false },
    };
    golden_file g = golden_open("tests/golden/07_samplers/diffusers.safetensors");
    schedule full = make(PROFILE_DIFFUSERS, SCHEDULE_LINEAR, 1000);
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        step_list list;
        int prev[16];
        schedule s;
        assert_int_equal(respace_diffusers(1000, runs[i].S, runs[i].spacing, runs[i].offset, &list), DDPM_OK);
        respace_diffusers_ddim_prev(1000, runs[i].S, &list, prev);
        assert_int_equal(schedule_from_steps(&full, list.t, runs[i].how == DDIM ? prev : NULL,
                                             runs[i].alpha_to_one ? 1 : full.alphas_cumprod[0], list.n, &s), DDPM_OK);
        const trajectory t = open_trajectory(&g, runs[i].name, "xT", "model_output");
        const process p = { .s = &s, .mean = MEAN_EPSILON, .var = runs[i].var, .clip = runs[i].clip, .final_noise = runs[i].how == ANCESTRAL };
        check_trajectory(runs[i].name, &p, (rule){ runs[i].how, runs[i].eta, false }, &t);
        schedule_free(&s);
        step_list_free(&list);
    }
    schedule_free(&full);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ancestral_moments), cmocka_unit_test(test_learned_moments), cmocka_unit_test(test_ddim_moments),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_eta_one_is_ancestral), cmocka_unit_test(test_encode),
        cmocka_unit_test(test_round_trip_order),
        cmocka_unit_test(test_every_step_count), cmocka_unit_test(test_single_step), cmocka_unit_test(test_errors), cmocka_unit_test(test_pure_noise),
        cmocka_unit_test(test_golden_openai), cmocka_unit_test(test_golden_ermongroup), cmocka_unit_test(test_golden_diffusers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
