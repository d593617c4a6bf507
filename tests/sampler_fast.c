/* DPM-Solver++(2M), UniPC and Heun: their order against the exact solution of the
 * noiseless equation for a Gaussian, the steps of diffusers, calls and errors.
 * Walks from the middle of a chain and the ways to interpolate. */
#include "golden_file.h"

#include "base/rng.h"
#include "diffusion/interpolate.h"
#include "diffusion/respace.h"
#include "diffusion/sampler.h"

#include <math.h>

enum { IMAGES = 9 };

static schedule make(const schedule_config *c)
{
    schedule s;
    if (schedule_new(c, &s) != DDPM_OK) fail_msg("%s", ddpm_last_error());
    return s;
}

static schedule make_linear(void)
{
    const schedule_config c = schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    return make(&c);
}

/* Rows even in log SNR, from lambda = 5 down to -5, so that every S is too. */
static schedule make_even(int T)
{
    double *betas = malloc((size_t)T * sizeof *betas), prev = 1;
    for (int i = 0; i < T; i++) {
        const double lambda = 5 - 10.0 * i / (T - 1), bar = 1 / (1 + exp(-2 * lambda));
        betas[i] = 1 - bar / prev;
        prev = bar;
    }
    schedule_config c = schedule_config_of(PROFILE_OPENAI, SCHEDULE_CUSTOM, T);
    c.custom = betas;
    const schedule s = make(&c);
    free(betas);
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

/* ---- the exact denoiser of N(mean, sd^2) --------------------------------------- */

typedef struct {
    const process *p;
    double mean, sd;
    int    calls, observed, first_step, last_t;
    int    keep_after;               /* step whose x is kept, or -1 */
    float  kept[IMAGES];
} model;

static int row_of(const process *p, float t)
{
    int i = 0;
    while (p->s->timestep_map[i] < (int)t) i++;
    return i;
}

static ddpm_status denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    model *m = ctx;
    const process *p = m->p;
    const int i = row_of(p, t[0]);
    const double bar = p->s->alphas_cumprod[i], prev = p->s->alphas_cumprod_prev[i], beta = 1 - bar / prev, variance = m->sd * m->sd;
    (void)y;
    m->calls++;
    m->last_t = (int)t[0];
    for (int k = 0; k < n; k++) {
        const double xt = (double)x[k], x0 = m->mean + sqrt(bar) * variance * (xt - sqrt(bar) * m->mean) / (bar * variance + 1 - bar);
        const double eps = (xt - sqrt(bar) * x0) / sqrt(1 - bar);
        const double before = sqrt(prev) * beta / (1 - bar) * x0 + sqrt(1 - beta) * (1 - prev) / (1 - bar) * xt;
        out[k] = (float)(p->mean == MEAN_EPSILON ? eps : p->mean == MEAN_START_X ? x0 : p->mean == MEAN_V ? sqrt(bar) * eps - sqrt(1 - bar) * x0 : before);
    }
    return DDPM_OK;
}

static void noise(void *ctx, int step, int n, float *z)
{
    (void)ctx;
    rng_normals((rng_address){ .seed = 5, .stream = RNG_SAMPLE_NOISE, .step = (uint64_t)step }, 0, (size_t)n, z);
}

static void observe(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    model *m = ctx;
    if (!m->observed) m->first_step = step;
    assert_int_equal(step, m->first_step + m->observed++);
    assert_int_equal(t, m->p->s->timestep_map[m->p->s->T - 1 - step]);
    assert_true(isfinite(pred_xstart[0]));
    if (step == m->keep_after) memcpy(m->kept, x, sizeof m->kept);
}

/* x_T = -2, -1.5 .. 2 through the sampler. */
static void run(const sampler *s, const process *p, model *m, float *x)
{
    sampler_env e = { .denoise = denoise, .noise = noise, .observe = observe, .ctx = m, .n = IMAGES, .dims = { 1, 1 } };
    m->p = p;
    for (int k = 0; k < IMAGES; k++) x[k] = (float)(0.5 * k - 2);
    assert_int_equal(sampler_reserve(p, &e), DDPM_OK);
    if (s->run(p, &e, x) != DDPM_OK) fail_msg("%s: %s", s->name, ddpm_last_error());
    assert_int_equal(m->calls, sampler_calls(s, p));
    assert_int_equal(m->observed, p->s->T);
    sampler_release(&e);
}

static const sampler *named(const char *name)
{
    const sampler *s;
    assert_int_equal(sampler_find(name, &s), DDPM_OK);
    return s;
}

/* The noiseless equation keeps the standard score. */
static double exact(const model *m, double bar_from, double x, double bar_to)
{
    const double variance = m->sd * m->sd, score = (x - sqrt(bar_from) * m->mean) / sqrt(bar_from * variance + 1 - bar_from);
    return sqrt(bar_to) * m->mean + score * sqrt(bar_to * variance + 1 - bar_to);
}

/* ---- order of convergence --------------------------------------------------------- */

/* Largest error at the level of row 0. The step from there to the image is the
 * same for all S. */
static double error_of(const char *name, const schedule *full, int S, spacing_kind kind)
{
    schedule s = respace(full, S, kind);
    const process p = { .s = &s, .mean = MEAN_V };
    model m = { .mean = 0.3, .sd = 0.25, .keep_after = S - 2 };
    float x[IMAGES];
    double worst = 0;
    run(named(name), &p, &m, x);
    for (int k = 0; k < IMAGES; k++)
        worst = fmax(worst, fabs((double)m.kept[k] - exact(&m, s.alphas_cumprod[S - 1], 0.5 * k - 2, s.alphas_cumprod[0])));
    schedule_free(&s);
    return worst;
}

/* Slope of log error over log S by least squares, on S = 20, 40, 80, 160. */
static double order_of(const char *name, const schedule *full)
{
    double sum = 0;
    for (int k = 0; k < 4; k++) sum += (k - 1.5) * log2(error_of(name, full, 20 << k, SPACING_LOGSNR));
    return -sum / 5;
}

static void test_order(void **state)
{
    (void)state;
    const struct { const char *name; double least, most; } rows[] = {
        { "ddim", 0.9, 1.1 }, { "dpm++2m", 1.8, 2.3 }, { "heun", 1.8, 2.3 }, { "unipc", 2.6, 3.3 },
    };
    schedule full = make_even(8000);
    for (int k = 0; k < 4; k++) {
        const double order = order_of(rows[k].name, &full);
        if (!(order >= rows[k].least && order <= rows[k].most)) fail_msg("%s: order %.3f", rows[k].name, order);
    }
    schedule_free(&full);
}

/* On the usual schedule, where whole timesteps make the spacing uneven. */
static void test_few_steps(void **state)
{
    (void)state;
    schedule full = make_linear();
    const char *const fast[] = { "dpm++2m", "unipc" };
    for (int k = 0; k < 2; k++) {
        const double ten = error_of(fast[k], &full, 10, SPACING_LOGSNR), twenty = error_of(fast[k], &full, 20, SPACING_LOGSNR),
                     forty = error_of(fast[k], &full, 40, SPACING_LOGSNR), ddim = error_of("ddim", &full, 20, SPACING_LOGSNR);
        if (!(ten / forty > 5 && twenty / forty > 3 && twenty < ddim / 6))
            fail_msg("%s: errors %g, %g, %g, ddim %g", fast[k], ten, twenty, forty, ddim);
    }
    schedule_free(&full);
}

/* ---- what they have in common -------------------------------------------------------- */

static const char *const SOLVERS[] = { "dpm++2m", "unipc", "heun" };

static void test_mean_types(void **state)
{
    (void)state;
    schedule full = make_linear(), s = respace(&full, 12, SPACING_LOGSNR);
    for (int k = 0; k < 3; k++) {
        float want[IMAGES];
        for (mean_type mean = MEAN_START_X, left = 4; left > 0; mean = (mean + 1) % 4, left--) {
            const process p = { .s = &s, .mean = mean };
            model m = { .mean = 0.3, .sd = 0.25, .keep_after = -1 };
            float x[IMAGES];
            run(named(SOLVERS[k]), &p, &m, x);
            if (mean == MEAN_START_X) memcpy(want, x, sizeof want);
            for (int j = 0; j < IMAGES; j++)
                if (!(fabs((double)(x[j] - want[j])) < 2e-5)) fail_msg("%s, %s: %g, not %g", SOLVERS[k], mean_type_name(mean), (double)x[j], (double)want[j]);
        }
    }
    schedule_free(&s);
    schedule_free(&full);
}

/* Images beyond 1: clipping holds every prediction, so also the result. */
static void test_clip_modes(void **state)
{
    (void)state;
    schedule full = make_linear(), s = respace(&full, 20, SPACING_LOGSNR);
    for (int k = 0; k < 3; k++) {
        float x[3][IMAGES];
        double free_most = 0, clipped_most = 0;
        for (int clip = CLIP_NONE; clip <= CLIP_X0; clip++) {
            const process p = { .s = &s, .mean = MEAN_EPSILON, .clip = (clip_mode)clip };
            model m = { .mean = 0.9, .sd = 0.3, .keep_after = -1 };
            run(named(SOLVERS[k]), &p, &m, x[clip]);
        }
        assert_memory_equal(x[CLIP_REDERIVE], x[CLIP_X0], sizeof x[0]);
        for (int j = 0; j < IMAGES; j++) {
            free_most = fmax(free_most, fabs((double)x[CLIP_NONE][j]));
            clipped_most = fmax(clipped_most, fabs((double)x[CLIP_X0][j]));
        }
        assert_true(free_most > 1.2 && clipped_most <= 1 && clipped_most > 0.99);
    }
    schedule_free(&s);
    schedule_free(&full);
}

/* Two rows leave no room for a second order but Heun's: DDIM. */
static void test_two_steps_are_ddim(void **state)
{
    (void)state;
    schedule full = make_linear(), s = respace(&full, 2, SPACING_LOGSNR);
    const process p = { .s = &s, .mean = MEAN_V };
    float x[2][IMAGES];
    model ddim = { .mean = 0.3, .sd = 0.25, .keep_after = -1 }, dpmpp = ddim;
    run(named("ddim"), &p, &ddim, x[0]);
    run(named("dpm++2m"), &p, &dpmpp, x[1]);
    for (int j = 0; j < IMAGES; j++) assert_true(fabs((double)(x[0][j] - x[1][j])) < 1e-6);
    schedule_free(&s);
    schedule_free(&full);
}

/* A chain that starts from pure noise: infinite step in log SNR. */
static void test_zero_terminal_snr(void **state)
{
    (void)state;
    schedule_config c = schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    c.zero_terminal_snr = true;
    schedule full = make(&c);
    for (int k = 0; k < 3; k++) {
        schedule s = respace(&full, 40, SPACING_QUAD);
        int list[41];
        schedule_free(&s);
        for (int j = 0; j < 41; j++) list[j] = j < 40 ? (int)(999.0 * j * j / 1600) + (j > 0) : 999;
        assert_int_equal(schedule_respace(&full, list, 41, &s), DDPM_OK);
        const process p = { .s = &s, .mean = MEAN_V };
        model m = { .mean = 0.3, .sd = 0.25, .keep_after = -1 };
        float x[IMAGES];
        run(named(SOLVERS[k]), &p, &m, x);
        assert_int_equal(m.calls, strcmp(SOLVERS[k], "heun") ? 41 : 2 * 41 - 2);
        for (int j = 0; j < IMAGES; j++)
            if (!(fabs((double)x[j] - (0.3 + 0.25 * (0.5 * j - 2))) < 0.02)) fail_msg("%s: %g at %d", SOLVERS[k], (double)x[j], j);
        schedule_free(&s);
    }
    schedule_free(&full);
}

/* A list with repetitions, as ermongroup's quadratic rule makes: such a step does nothing. */
static void test_repeated_steps(void **state)
{
    (void)state;
    schedule full = make_linear(), s, once;
    const int list[] = { 0, 0, 3, 10, 10, 10, 40, 200, 500, 800, 999, 999 }, distinct[] = { 0, 3, 10, 40, 200, 500, 800, 999 };
    assert_int_equal(schedule_from_steps(&full, list, NULL, 1, 12, &s), DDPM_OK);
    assert_int_equal(schedule_from_steps(&full, distinct, NULL, 1, 8, &once), DDPM_OK);
    const process p = { .s = &s, .mean = MEAN_V }, q = { .s = &once, .mean = MEAN_V };
    for (int k = 0; k < 3; k++) {
        model m = { .mean = 0.3, .sd = 0.25, .keep_after = -1 }, n = m;
        float x[IMAGES], want[IMAGES];
        run(named(SOLVERS[k]), &q, &n, want);
        sampler_env e = { .denoise = denoise, .ctx = &m, .n = IMAGES, .dims = { 1, 1 } };
        m.p = &q;
        for (int j = 0; j < IMAGES; j++) x[j] = (float)(0.5 * j - 2);
        assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
        assert_int_equal(named(SOLVERS[k])->run(&p, &e, x), DDPM_OK);
        sampler_release(&e);
        const double allowed = k == 2 ? 2e-6 : 0.02;      /* the repetition costs the others a step of order 2 */
        for (int j = 0; j < IMAGES; j++)
            if (!(fabs((double)(x[j] - want[j])) < allowed)) fail_msg("%s: %g, not %g", SOLVERS[k], (double)x[j], (double)want[j]);
    }
    schedule_free(&s);
    schedule_free(&once);
    schedule_free(&full);
}

static void test_errors(void **state)
{
    (void)state;
    schedule full = make_linear(), s;
    step_list list;
    int prev[7];
    float x[IMAGES] = { 0 };
    assert_int_equal(respace_diffusers(1000, 7, SPACING_LINSPACE, 0, &list), DDPM_OK);
    respace_diffusers_ddim_prev(1000, 7, &list, prev);
    assert_int_equal(schedule_from_steps(&full, list.t, prev, 1, list.n, &s), DDPM_OK);
    const process skips = { .s = &s, .mean = MEAN_V }, p = { .s = &full, .mean = MEAN_V };
    model m = { .p = &p };
    sampler_env e = { .denoise = denoise, .ctx = &m, .n = IMAGES, .dims = { 1, 1 } };
    assert_int_equal(sampler_reserve(&skips, &e), DDPM_OK);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(named(SOLVERS[k])->run(&skips, &e, x), DDPM_EINVAL);
        assert_non_null(strstr(ddpm_last_error(), "ddim"));
    }
    assert_int_equal(sampler_ddpm_from(&p, &e, 1000, x), DDPM_EINVAL);
    assert_int_equal(sampler_ddim_from(&p, &e, -1, x), DDPM_EINVAL);
    assert_int_equal(m.calls, 0);
    sampler_release(&e);
    schedule_free(&s);
    step_list_free(&list);
    schedule_free(&full);
}

/* ---- diffusers ------------------------------------------------------------------------- */

/* Gives the recorded outputs in order and compares the states. */
typedef struct { const char *name; golden t, out, sample; size_t len; const process *p; int calls; } recording;

static ddpm_status replay(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    recording *r = ctx;
    (void)y, (void)x, (void)n;
    if ((double)t[0] != golden_at(&r->t, (size_t)r->calls)) fail_msg("%s: call %d at t = %g", r->name, r->calls, (double)t[0]);
    memcpy(out, (const float *)r->out.data + (size_t)r->calls++ * r->len, r->len * sizeof *out);
    return DDPM_OK;
}

/* Noise determines x_0 157 times less well than it is stored, at t = 999. */
static void compare_state(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    const recording *r = ctx;
    const double allowed = r->p->mean == MEAN_EPSILON ? 1e-4 : 5e-6;
    (void)t, (void)pred_xstart;
    for (size_t k = 0; k < r->len; k++) {
        const double want = golden_at(&r->sample, (size_t)step * r->len + k);
        if (!(fabs((double)x[k] - want) <= allowed)) fail_msg("%s step %d element %zu: got %.9g, want %.9g", r->name, step, k, (double)x[k], want);
    }
}

/* The rows are the different t of the recording, ascending. */
static schedule rows_of(const schedule *full, const golden *t)
{
    int list[64], n = 0;
    schedule s;
    for (size_t k = t->len; k-- > 0;)
        if (!n || list[n - 1] != (int)golden_at(t, k)) list[n++] = (int)golden_at(t, k);
    assert_int_equal(schedule_from_steps(full, list, NULL, 1, n, &s), DDPM_OK);
    return s;
}

static void test_golden_diffusers(void **state)
{
    (void)state;
    const struct { const char *name, *sampler; schedule_kind kind; mean_type mean; clip_mode clip; } runs[] = {
        { "dpmpp_eps_10", "dpm++2m", SCHEDULE_LINEAR, MEAN_EPSILON, CLIP_NONE }, { "dpmpp_v_20", "dpm++2m", SCHEDULE_QUAD, MEAN_V, CLIP_NONE },
        { "dpmpp_sample_16", "dpm++2m", SCHEDULE_LINEAR, MEAN_START_X, CLIP_NONE },
        { "unipc_eps_10", "unipc", SCHEDULE_LINEAR, MEAN_EPSILON, CLIP_NONE }, { "unipc_v_20", "unipc", SCHEDULE_QUAD, MEAN_V, CLIP_NONE },
        { "unipc_sample_16", "unipc", SCHEDULE_LINEAR, MEAN_START_X, CLIP_NONE },
        { "heun_eps_10", "heun", SCHEDULE_LINEAR, MEAN_EPSILON, CLIP_NONE }, { "heun_v_10", "heun", SCHEDULE_QUAD, MEAN_V, CLIP_NONE },
        { "heun_sample_clip_10", "heun", SCHEDULE_LINEAR, MEAN_START_X, CLIP_X0 },
    };
    golden_file g = golden_open("tests/golden_solvers/diffusers.safetensors");
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        const schedule_config c = schedule_config_of(PROFILE_DIFFUSERS, runs[i].kind, 1000);
        const golden start = golden_tensor(&g, "%s/xT", runs[i].name);
        recording r = { .name = runs[i].name, .t = golden_tensor(&g, "%s/t", runs[i].name), .out = golden_tensor(&g, "%s/model_output", runs[i].name),
                        .sample = golden_tensor(&g, "%s/sample", runs[i].name), .len = start.len };
        schedule full = make(&c), s = rows_of(&full, &r.t);
        const process p = { .s = &s, .mean = runs[i].mean, .clip = runs[i].clip };
        sampler_env e = { .denoise = replay, .observe = compare_state, .ctx = &r, .n = 1, .dims = { (int)start.len, 1 } };
        float x[64];
        r.p = &p;
        memcpy(x, start.data, start.len * sizeof *x);
        assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
        assert_int_equal(named(runs[i].sampler)->run(&p, &e, x), DDPM_OK);
        assert_int_equal((size_t)r.calls, r.t.len);
        sampler_release(&e);
        schedule_free(&s);
        schedule_free(&full);
    }
    golden_close(&g);
}

/* ---- from the middle, and between images -------------------------------------------------- */

static void test_from_the_middle(void **state)
{
    (void)state;
    schedule full = make_linear(), s = respace(&full, 25, SPACING_LOGSNR);
    const process p = { .s = &s, .mean = MEAN_V };
    for (int ddim = 0; ddim < 2; ddim++) {
        model whole = { .mean = 0.3, .sd = 0.25, .keep_after = 9 }, rest = { .p = &p, .mean = 0.3, .sd = 0.25, .keep_after = -1 };
        sampler_env e = { .denoise = denoise, .noise = noise, .observe = observe, .ctx = &rest, .n = IMAGES, .dims = { 1, 1 } };
        float x[IMAGES], y[IMAGES];
        run(named(ddim ? "ddim" : "ddpm"), &p, &whole, x);
        memcpy(y, whole.kept, sizeof y);                      /* after step 9: what row 14 starts from */
        assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
        assert_int_equal(ddim ? sampler_ddim_from(&p, &e, 14, y) : sampler_ddpm_from(&p, &e, 14, y), DDPM_OK);
        assert_int_equal(rest.calls, 15);
        assert_int_equal(rest.first_step, 10);
        assert_memory_equal(x, y, sizeof x);
        sampler_release(&e);
    }
    schedule_free(&s);
    schedule_free(&full);
}

/* From the level of row 600 the noiseless way leads to the score's own image. */
static void test_ddim_from_an_image(void **state)
{
    (void)state;
    schedule full = make_linear();
    const process p = { .s = &full, .mean = MEAN_V };
    model m = { .p = &p, .mean = 0.3, .sd = 0.25, .keep_after = -1 };
    sampler_env e = { .denoise = denoise, .ctx = &m, .n = IMAGES, .dims = { 1, 1 } };
    float x[IMAGES], x0[IMAGES], eps[IMAGES], start[IMAGES];
    for (int k = 0; k < IMAGES; k++) x0[k] = (float)(0.2 * k - 0.5);
    noise(NULL, 0, IMAGES, eps);
    q_sample(&full, 600, IMAGES, x0, eps, start);
    memcpy(x, start, sizeof x);
    assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
    assert_int_equal(sampler_ddim_from(&p, &e, 600, x), DDPM_OK);
    for (int k = 0; k < IMAGES; k++) assert_true(fabs((double)x[k] - exact(&m, full.alphas_cumprod[600], (double)start[k], 1)) < 0.005);
    sampler_release(&e);
    schedule_free(&full);
}

static void test_stochastic_interpolation(void **state)
{
    (void)state;
    enum { LEN = 7 };
    schedule full = make_linear();
    float x[2][LEN], z[2][LEN], q[2][LEN], mixed[LEN];
    for (int k = 0; k < 2; k++) {
        for (int j = 0; j < LEN; j++) x[k][j] = (float)(0.3 * j - 1 + 0.1 * k);
        noise(NULL, k, LEN, z[k]);
        q_sample(&full, 420, LEN, x[k], z[k], q[k]);
    }
    interpolate_stochastic(&full, 420, 0, LEN, x[0], z[0], x[1], z[1], mixed);
    assert_memory_equal(mixed, q[0], sizeof mixed);
    interpolate_stochastic(&full, 420, 1, LEN, x[0], z[0], x[1], z[1], mixed);
    assert_memory_equal(mixed, q[1], sizeof mixed);
    interpolate_stochastic(&full, 420, 0.25, LEN, x[0], z[0], x[1], z[1], mixed);
    for (int j = 0; j < LEN; j++) assert_true(fabs((double)mixed[j] - (0.75 * (double)q[0][j] + 0.25 * (double)q[1][j])) < 1e-6);
    schedule_free(&full);
}

static double angle(size_t len, const float *u, const float *v)
{
    double uv = 0, uu = 0, vv = 0;
    for (size_t k = 0; k < len; k++) {
        uv += (double)u[k] * (double)v[k];
        uu += (double)u[k] * (double)u[k];
        vv += (double)v[k] * (double)v[k];
    }
    return acos(uv / sqrt(uu * vv));
}

static void test_slerp(void **state)
{
    (void)state;
    enum { LEN = 300 };
    float z1[LEN], z2[LEN], z[LEN];
    noise(NULL, 1, LEN, z1);
    for (int far = 0; far <= 4; far++) {                      /* from nearly the same to nearly opposite */
        noise(NULL, 2, LEN, z2);
        for (int k = 0; k < LEN; k++) z2[k] = (float)(0.3 * (double)z2[k] + (1 - far * 0.5) * (double)z1[k]);
        const double theta = angle(LEN, z1, z2);
        for (int j = 1; j < 10; j++) {
            const double a = 0.1 * j, of_z1 = sin((1 - a) * theta) / sin(theta), of_z2 = sin(a * theta) / sin(theta);
            assert_int_equal(interpolate_slerp(LEN, a, z1, z2, z), DDPM_OK);
            for (int k = 0; k < LEN; k++) assert_true(fabs((double)z[k] - (of_z1 * (double)z1[k] + of_z2 * (double)z2[k])) < 3e-6);
        }
        assert_int_equal(interpolate_slerp(LEN, 0, z1, z2, z), DDPM_OK);
        assert_memory_equal(z, z1, sizeof z);
        assert_int_equal(interpolate_slerp(LEN, 1, z1, z2, z), DDPM_OK);
        assert_memory_equal(z, z2, sizeof z);
    }
    assert_int_equal(interpolate_slerp(LEN, 0.3, z1, z1, z), DDPM_OK);
    for (int k = 0; k < LEN; k++) assert_true(fabs((double)(z[k] - z1[k])) < 1e-6);
    for (int k = 0; k < LEN; k++) z2[k] = -z1[k];
    assert_int_equal(interpolate_slerp(LEN, 0.3, z1, z2, z), DDPM_EINVAL);
    memset(z2, 0, sizeof z2);
    assert_int_equal(interpolate_slerp(LEN, 0.3, z1, z2, z), DDPM_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order), cmocka_unit_test(test_few_steps), cmocka_unit_test(test_mean_types), cmocka_unit_test(test_clip_modes),
        cmocka_unit_test(test_two_steps_are_ddim), cmocka_unit_test(test_zero_terminal_snr), cmocka_unit_test(test_repeated_steps),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_golden_diffusers), cmocka_unit_test(test_from_the_middle),
        cmocka_unit_test(test_ddim_from_an_image), cmocka_unit_test(test_stochastic_interpolation), cmocka_unit_test(test_slerp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
