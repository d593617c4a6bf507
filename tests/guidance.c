/* Guidance: a mixture of two Gaussian denoisers is a Gaussian denoiser, a Bayesian
 * classifier leads to the posterior, and guided-diffusion's own numbers. */
#include "golden_file.h"

#include "base/rng.h"
#include "diffusion/guidance.h"
#include "diffusion/respace.h"

#include <math.h>

enum { IMAGES = 7, NONE = 2 };

static schedule make(schedule_kind kind)
{
    const schedule_config c = schedule_config_of(PROFILE_OPENAI, kind, 1000);
    schedule s;
    if (schedule_new(&c, &s) != DDPM_OK) fail_msg("%s", ddpm_last_error());
    return s;
}

static schedule respace(const schedule *full, int S)
{
    step_list list;
    schedule s;
    assert_int_equal(respace_exact(full, S, SPACING_LOGSNR, &list), DDPM_OK);
    assert_int_equal(schedule_respace(full, list.t, list.n, &s), DDPM_OK);
    step_list_free(&list);
    return s;
}

/* ---- denoisers of N(mean, sd^2), the mean by class -------------------------------- */

typedef struct {
    const process *p;
    double mean[3], sd;
    int    calls, images;            /* images of the last call                     */
    double shift, shrink;            /* classifier: log p(y|x_0) of N(shift, shrink^2) */
    classifier_free   *free_of_class;
    classifier_guided *by_class;
} model;

/* E[x_0 | x_t] of N(mean, sd^2), and the score of x_t. */
static double xstart_of(double bar, double mean, double sd, double xt)
{
    return mean + sqrt(bar) * sd * sd * (xt - sqrt(bar) * mean) / (bar * sd * sd + 1 - bar);
}

static double score_of(double bar, double mean, double sd, double xt) { return -(xt - sqrt(bar) * mean) / (bar * sd * sd + 1 - bar); }

static int row_of(const process *p, float t)
{
    int i = 0;
    while (p->s->timestep_map[i] < (int)t) i++;
    return i;
}

/* What a network of the process' mean type says when it means x0. */
static double output_of(const process *p, int i, double xt, double x0)
{
    const double bar = p->s->alphas_cumprod[i], prev = p->s->alphas_cumprod_prev[i], beta = 1 - bar / prev;
    const double eps = (xt - sqrt(bar) * x0) / sqrt(1 - bar);
    return p->mean == MEAN_EPSILON ? eps : p->mean == MEAN_START_X ? x0 : p->mean == MEAN_V ? sqrt(bar) * eps - sqrt(1 - bar) * x0
         : sqrt(prev) * beta / (1 - bar) * x0 + sqrt(1 - beta) * (1 - prev) / (1 - bar) * xt;
}

/* Learned variances tell the class. */
static ddpm_status denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    model *m = ctx;
    const int width = process_out_channels(m->p, 1);
    m->calls++;
    m->images = n;
    for (int k = 0; k < n; k++) {
        const int i = row_of(m->p, t[k]), class = y ? y[k] : NONE;
        const double x0 = xstart_of(m->p->s->alphas_cumprod[i], m->mean[class], m->sd, (double)x[k]);
        out[k * width] = (float)output_of(m->p, i, (double)x[k], x0);
        if (width == 2) out[k * 2 + 1] = (float)(-3 - class);
    }
    return DDPM_OK;
}

static ddpm_status guided(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    const model *m = ctx;
    return m->by_class ? classifier_guided_denoise(m->by_class, n, t, y, x, out) : classifier_free_denoise(m->free_of_class, n, t, y, x, out);
}

static void start(float *x)
{
    for (int k = 0; k < IMAGES; k++) x[k] = (float)(0.6 * k - 1.8);
}

static const int LABELS[IMAGES] = { 0, 1, 0, 1, 1, 0, 0 };
static const model TWO_CLASSES = { .mean = { -0.4, 0.5, 0.1 }, .sd = 0.2 };

/* Sample with classifier-free guidance; without any when scale < 0. */
static model sample_free(const process *p, double scale, const char *method, float *x)
{
    model m = TWO_CLASSES;
    const sampler *s;
    m.p = p;
    classifier_free g = { .denoise = denoise, .ctx = &m, .p = p, .scale = scale, .null_class = NONE, .n = IMAGES, .dims = { 1, 1 } };
    m.free_of_class = &g;
    sampler_env e = { .denoise = scale < 0 ? denoise : guided, .ctx = &m, .n = IMAGES, .dims = { 1, 1 }, .y = LABELS };
    start(x);
    if (scale >= 0) assert_int_equal(classifier_free_reserve(&g), DDPM_OK);
    assert_int_equal(sampler_reserve(p, &e), DDPM_OK);
    assert_int_equal(sampler_find(method, &s), DDPM_OK);
    assert_int_equal(s->run(p, &e, x), DDPM_OK);
    sampler_release(&e);
    if (scale >= 0) classifier_free_release(&g);
    return m;
}

/* Scores of equal deviations mix to the score of the mixed mean, m_u + w (m_c - m_u). */
static void test_guided_gaussian(void **state)
{
    (void)state;
    schedule full = make(SCHEDULE_LINEAR), s = respace(&full, 100);
    const double scales[] = { 0, 0.5, 2, 4 };
    for (mean_type mean = MEAN_EPSILON; mean <= MEAN_V; mean++)
        for (int j = 0; j < 4; j++) {
            const process p = { .s = &s, .mean = mean };
            float x[IMAGES];
            const model m = sample_free(&p, scales[j], "unipc", x);
            assert_int_equal(m.calls, s.T);
            assert_int_equal(m.images, scales[j] > 0 ? 2 * IMAGES : IMAGES);
            const double bar = s.alphas_cumprod[s.T - 1];
            for (int k = 0; k < IMAGES; k++) {
                const double target = m.mean[NONE] + scales[j] * (m.mean[LABELS[k]] - m.mean[NONE]);
                const double latent = (0.6 * k - 1.8 - sqrt(bar) * target) / sqrt(bar * m.sd * m.sd + 1 - bar);
                if (!(fabs((double)x[k] - (target + m.sd * latent)) < 3e-3))
                    fail_msg("%s, scale %g, image %d: %g, not %g", mean_type_name(mean), scales[j], k, (double)x[k], target + m.sd * latent);
            }
        }
    schedule_free(&s);
    schedule_free(&full);
}

static void test_scale_one_is_free(void **state)
{
    (void)state;
    schedule full = make(SCHEDULE_COSINE), s = respace(&full, 20);
    for (mean_type mean = MEAN_EPSILON; mean <= MEAN_V; mean++) {
        const process p = { .s = &s, .mean = mean, .clip = CLIP_REDERIVE };
        float plain[IMAGES], one[IMAGES];
        sample_free(&p, -1, "ddim", plain);
        const model m = sample_free(&p, 1, "ddim", one);
        assert_memory_equal(plain, one, sizeof one);
        assert_int_equal(m.calls, 20);
        assert_int_equal(m.images, IMAGES);
    }
    schedule_free(&s);
    schedule_free(&full);
}

/* One call on three images: the mean half is mixed, the variance half that of the class. */
static void test_learned_variance(void **state)
{
    (void)state;
    schedule full = make(SCHEDULE_LINEAR);
    const process p = { .s = &full, .mean = MEAN_EPSILON, .var = VAR_LEARNED_RANGE };
    model m = TWO_CLASSES;
    m.p = &p;
    classifier_free g = { .denoise = denoise, .ctx = &m, .p = &p, .scale = 3, .null_class = NONE, .n = 5, .dims = { 1, 1 } };
    const float t[3] = { 10, 500, 999 }, x[3] = { 0.2f, -1, 1.5f };
    const int y[3] = { 0, 1, 0 }, none[3] = { NONE, NONE, NONE };
    float out[6], cond[6], uncond[6];
    assert_int_equal(classifier_free_reserve(&g), DDPM_OK);
    assert_int_equal(classifier_free_denoise(&g, 3, t, y, x, out), DDPM_OK);
    assert_int_equal(m.calls, 1);
    denoise(&m, 3, t, y, x, cond);
    denoise(&m, 3, t, none, x, uncond);
    for (int k = 0; k < 3; k++) {
        assert_true(fabs((double)out[2 * k] - ((double)uncond[2 * k] + 3 * ((double)cond[2 * k] - (double)uncond[2 * k]))) < 1e-5);
        assert_true(out[2 * k + 1] == (float)(-3 - y[k]));
    }
    assert_int_equal(classifier_free_denoise(&g, 3, t, NULL, x, out), DDPM_EINVAL);
    classifier_free_release(&g);
    g.scale = NAN;
    assert_int_equal(classifier_free_reserve(&g), DDPM_EINVAL);
    g.scale = -1;
    assert_int_equal(classifier_free_reserve(&g), DDPM_EINVAL);
    schedule_free(&full);
}

/* ---- by a classifier ------------------------------------------------------------------ */

/* log p(y | x_t) by Bayes: the score of x_t under the posterior of x_0 less that under the data. */
static void posterior_of(const model *m, double *mean, double *sd)
{
    const double precision = 1 / (m->sd * m->sd) + 1 / (m->shrink * m->shrink);
    *sd = sqrt(1 / precision);
    *mean = (m->mean[NONE] / (m->sd * m->sd) + m->shift / (m->shrink * m->shrink)) / precision;
}

static ddpm_status bayes(void *ctx, int n, const float *t, const int *y, const float *x, float *grad)
{
    const model *m = ctx;
    double mean, sd;
    (void)y;
    posterior_of(m, &mean, &sd);
    for (int k = 0; k < n; k++) {
        const double bar = m->p->s->alphas_cumprod[row_of(m->p, t[k])], xt = (double)x[k];
        grad[k] = (float)(score_of(bar, mean, sd, xt) - score_of(bar, m->mean[NONE], m->sd, xt));
    }
    return DDPM_OK;
}

/* The guided denoiser is the posterior's: its noiseless way is known. */
static void test_bayes(void **state)
{
    (void)state;
    schedule full = make(SCHEDULE_LINEAR), s = respace(&full, 100);
    for (mean_type mean = MEAN_EPSILON; mean <= MEAN_V; mean++) {
        const process p = { .s = &s, .mean = mean };
        model m = { .p = &p, .mean = { 0, 0, 0.1 }, .sd = 0.4, .shift = 0.7, .shrink = 0.3 };
        classifier_guided g = { .denoise = denoise, .ctx = &m, .gradient = bayes, .gradient_ctx = &m, .p = &p, .form = GUIDE_SCORE,
                                .scale = 1, .n = IMAGES, .dims = { 1, 1 } };
        m.by_class = &g;
        sampler_env e = { .denoise = guided, .ctx = &m, .n = IMAGES, .dims = { 1, 1 } };
        float x[IMAGES];
        double target, sd;
        posterior_of(&m, &target, &sd);
        start(x);
        assert_int_equal(classifier_guided_reserve(&g), DDPM_OK);
        assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
        assert_int_equal(sampler_unipc(&p, &e, x), DDPM_OK);
        const double bar = s.alphas_cumprod[s.T - 1];
        for (int k = 0; k < IMAGES; k++) {
            const double want = target + sd * (0.6 * k - 1.8 - sqrt(bar) * target) / sqrt(bar * sd * sd + 1 - bar);
            if (!(fabs((double)x[k] - want) < 3e-3)) fail_msg("%s, image %d: %g, not %g", mean_type_name(mean), k, (double)x[k], want);
        }
        sampler_release(&e);
        classifier_guided_release(&g);
    }
    schedule_free(&s);
    schedule_free(&full);
}

/* Ancestral sampling with the mean form: mean of the answer to x_T = 0 without noise. */
static void silence(void *ctx, int step, int n, float *z)
{
    (void)ctx, (void)step;
    for (int k = 0; k < n; k++) z[k] = 0;
}

static void test_bayes_mean_form(void **state)
{
    (void)state;
    schedule full = make(SCHEDULE_LINEAR);
    const process p = { .s = &full, .mean = MEAN_EPSILON, .var = VAR_FIXED_LARGE };
    model m = { .p = &p, .mean = { 0, 0, 0.1 }, .sd = 0.4, .shift = 0.7, .shrink = 0.3 };
    classifier_guided g = { .denoise = denoise, .ctx = &m, .gradient = bayes, .gradient_ctx = &m, .p = &p, .form = GUIDE_MEAN,
                            .scale = 1, .n = IMAGES, .dims = { 1, 1 } };
    m.by_class = &g;
    sampler_env e = { .denoise = guided, .noise = silence, .ctx = &m, .n = IMAGES, .dims = { 1, 1 } };
    float x[IMAGES];
    double target, sd;
    posterior_of(&m, &target, &sd);
    start(x);
    assert_int_equal(classifier_guided_reserve(&g), DDPM_OK);
    assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
    assert_int_equal(sampler_ddpm(&p, &e, x), DDPM_OK);
    assert_true(fabs((double)x[3] - target) < 0.01);          /* x_T = 0 */
    sampler_release(&e);
    classifier_guided_release(&g);
    schedule_free(&full);
}

static void test_guided_errors(void **state)
{
    (void)state;
    schedule full = make(SCHEDULE_LINEAR), jsd, twice;
    const schedule_config c = schedule_config_of(PROFILE_HO, SCHEDULE_JSD, 50);
    const int list[] = { 3, 3, 90 };
    assert_int_equal(schedule_new(&c, &jsd), DDPM_OK);
    assert_int_equal(schedule_from_steps(&full, list, NULL, 1, 3, &twice), DDPM_OK);
    const process ends = { .s = &jsd, .mean = MEAN_V }, repeats = { .s = &twice, .mean = MEAN_V };
    classifier_guided g = { .p = &ends, .form = GUIDE_SCORE, .scale = 1, .n = 1, .dims = { 1, 1 } };
    assert_int_equal(classifier_guided_reserve(&g), DDPM_EINVAL);
    g.form = GUIDE_MEAN;
    assert_int_equal(classifier_guided_reserve(&g), DDPM_OK);
    classifier_guided_release(&g);
    g.scale = INFINITY;
    assert_int_equal(classifier_guided_reserve(&g), DDPM_EINVAL);
    g.scale = 1;
    g.p = &repeats;
    assert_int_equal(classifier_guided_reserve(&g), DDPM_EINVAL);
    schedule_free(&twice);
    schedule_free(&jsd);
    schedule_free(&full);
}

/* ---- guided-diffusion -------------------------------------------------------------------- */

enum { N = 5, C = 3, Q = 4, LEN = C * Q };

typedef struct { const float *out, *grad; size_t width; } recording;

static ddpm_status replay(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    const recording *r = ctx;
    (void)t, (void)y, (void)x;
    memcpy(out, r->out, (size_t)n * Q * r->width * sizeof *out);
    return DDPM_OK;
}

static ddpm_status replay_gradient(void *ctx, int n, const float *t, const int *y, const float *x, float *grad)
{
    const recording *r = ctx;
    (void)t, (void)y, (void)x;
    memcpy(grad, r->grad, (size_t)n * LEN * sizeof *grad);
    return DDPM_OK;
}

/* The mean, or x_0, that the guided output of every image means to a process that does not clip. */
static void check_guided(const golden_file *g, const process *p, guidance_form form, const recording *r, const float *x, const char *name)
{
    const golden want = golden_tensor(g, "%s", name), times = golden_tensor(g, "t");
    recording copy = *r;
    classifier_guided guide = { .denoise = replay, .ctx = &copy, .gradient = replay_gradient, .gradient_ctx = &copy, .p = p, .form = form,
                                .scale = 1.5, .n = N, .dims = { Q, C } };
    float t[N], out[N * 2 * LEN], x0[LEN], mean[LEN];
    process raw = *p;
    raw.clip = CLIP_NONE;
    for (size_t n = 0; n < N; n++) t[n] = (float)golden_at(&times, n);
    assert_int_equal(classifier_guided_reserve(&guide), DDPM_OK);
    assert_int_equal(classifier_guided_denoise(&guide, N, t, NULL, x, out), DDPM_OK);
    for (size_t n = 0; n < N; n++) {
        p_mean_variance(&raw, (int)t[n], (image_dims){ Q, C }, x + n * LEN, out + n * Q * r->width, &(p_moments){ .mean = mean, .pred_xstart = x0 });
        const float *got = form == GUIDE_MEAN ? mean : x0;
        double peak = 0;
        for (size_t k = 0; k < LEN; k++) peak = fmax(peak, fabs(golden_at(&want, n * LEN + k)));
        for (size_t k = 0; k < LEN; k++) {
            const double w = golden_pixel(&want, n, k / C, k % C);
            if (!(fabs((double)got[k] - w) <= 2e-5 * peak + 2e-6)) fail_msg("%s, image %zu, element %zu: got %.9g, want %.9g", name, n, k, (double)got[k], w);
        }
    }
    classifier_guided_release(&guide);
}

static void load_output(const golden_file *g, const process *p, float *out)
{
    const golden o = golden_tensor(g, "out");
    const size_t width = (size_t)process_out_channels(p, C);
    for (size_t n = 0; n < N; n++) {
        golden_to_nhwc(&o, n, width, 0, out + n * Q * width);
        if (width == C) continue;
        const golden v = golden_tensor(g, "values/%s", p->var == VAR_LEARNED ? "LEARNED" : "LEARNED_RANGE");
        golden_to_nhwc(&v, n, width, C, out + n * Q * width);
    }
}

static void test_golden_guided_diffusion(void **state)
{
    (void)state;
    const char *const means[] = { "EPSILON", "START_X", "PREVIOUS_X" }, *const vars[] = { "FIXED_SMALL", "FIXED_LARGE", "LEARNED", "LEARNED_RANGE" };
    golden_file g = golden_open("tests/golden_solvers/guided.safetensors");
    const golden gx = golden_tensor(&g, "x"), gg = golden_tensor(&g, "grad");
    schedule s = make(SCHEDULE_LINEAR);
    float x[N * LEN], grad[N * LEN], out[N * 2 * LEN];
    for (size_t n = 0; n < N; n++) {
        golden_to_nhwc(&gx, n, C, 0, x + n * LEN);
        golden_to_nhwc(&gg, n, C, 0, grad + n * LEN);
    }
    for (int m = 0; m < 3; m++)
        for (int v = 0; v < 4; v++)
            for (int clip = 0; clip < 2; clip++) {
                const process p = { .s = &s, .mean = (mean_type)m, .var = (var_type)v, .clip = clip ? CLIP_REDERIVE : CLIP_NONE };
                const recording r = { out, grad, (size_t)process_out_channels(&p, C) };
                char name[64];
                load_output(&g, &p, out);
                snprintf(name, sizeof name, "mean/%s/%s/clip%d", means[m], vars[v], clip);
                check_guided(&g, &p, GUIDE_MEAN, &r, x, name);
                snprintf(name, sizeof name, "xstart/%s/clip%d", means[m], clip);
                check_guided(&g, &p, GUIDE_SCORE, &r, x, name);
            }
    schedule_free(&s);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guided_gaussian), cmocka_unit_test(test_scale_one_is_free), cmocka_unit_test(test_learned_variance),
        cmocka_unit_test(test_bayes), cmocka_unit_test(test_bayes_mean_form), cmocka_unit_test(test_guided_errors),
        cmocka_unit_test(test_golden_guided_diffusion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
