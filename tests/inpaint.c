/* Inpainting: the walk of the paper spelled out, exact moments of the filled pixel
 * with closed-form denoisers of two pixels, errors. */
#include "diffusion/inpaint.h"
#include "diffusion/respace.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const double MEAN = 0.1, SD = 0.3;    /* of each of the two pixels */

static schedule make(int S)
{
    const schedule_config c = schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    schedule full, s;
    step_list list;
    assert_int_equal(schedule_new(&c, &full), DDPM_OK);
    assert_int_equal(respace_exact(&full, S, SPACING_TRAILING, &list), DDPM_OK);
    assert_int_equal(schedule_respace(&full, list.t, list.n, &s), DDPM_OK);
    step_list_free(&list);
    schedule_free(&full);
    return s;
}

/* ---- the exact denoiser of two pixels with correlation rho ------------------------- */

enum { MOST = 4096 };

typedef struct {
    const process *p;
    double rho;
    bool   impulses;                /* noise(): units; else none */
    int    calls, draws, observed;
    int    rows[MOST];              /* of the calls              */
} model;

static int row_of(const process *p, float t)
{
    int i = 0;
    while (p->s->timestep_map[i] < (int)t) i++;
    return i;
}

/* E[x_0 | x_t] along the sum and the difference of the pixels, which are independent. */
static ddpm_status denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    model *m = ctx;
    const int i = row_of(m->p, t[0]);
    const double bar = m->p->s->alphas_cumprod[i], a = sqrt(bar), plus = SD * SD * (1 + m->rho), minus = SD * SD * (1 - m->rho);
    (void)y;
    assert_true(m->calls < MOST);
    m->rows[m->calls++] = i;
    for (int k = 0; k < n; k++) {
        const double u = (double)x[2 * k] - a * MEAN, v = (double)x[2 * k + 1] - a * MEAN;
        const double sum = a * plus / (bar * plus + 1 - bar) * (u + v) / 2, difference = a * minus / (bar * minus + 1 - bar) * (u - v) / 2;
        out[2 * k] = (float)(MEAN + sum + difference);
        out[2 * k + 1] = (float)(MEAN + sum - difference);
    }
    return DDPM_OK;
}

/* Draw number d is unit noise in pixel 0 of image 3 + 2d and in pixel 1 of image 4 + 2d. */
static void noise(void *ctx, int step, int n, float *z)
{
    model *m = ctx;
    assert_int_equal(step, m->draws++);
    memset(z, 0, 2 * (size_t)n * sizeof *z);
    if (!m->impulses) return;
    z[2 * (3 + 2 * step)] = 1;
    z[2 * (4 + 2 * step) + 1] = 1;
}

static void observe(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    model *m = ctx;
    assert_int_equal(step, m->observed++);
    assert_int_equal(t, m->p->s->timestep_map[m->rows[step]]);
    assert_true(isfinite(x[0]) && isfinite(pred_xstart[0]));
}

typedef struct { double mean, sd; int calls, draws; } moments;

static int count_draws(const process *p, const inpainting *in)
{
    const int calls = inpaint_calls(p, in);
    return 2 * (calls - 1) + (calls - p->s->T);     /* all rows but row 0, which is visited once; one per row climbed */
}

/* Moments of pixel 1 of the result when pixel 0 is known to be `value`: answers to
 * nothing, to units of x_T (images 1, 2) and of every draw. */
static moments measure(const process *p, double rho, int jump, int resamples, double value)
{
    model m = { .p = p, .rho = rho, .impulses = true };
    inpainting in = { .jump = jump, .resamples = resamples };
    const int images = 3 + 2 * count_draws(p, &in);
    float *x = calloc(2 * (size_t)images, sizeof *x), *image = calloc(2 * (size_t)images, sizeof *image);
    unsigned char *mask = calloc(2 * (size_t)images, 1);
    sampler_env e = { .denoise = denoise, .noise = noise, .observe = observe, .ctx = &m, .n = images, .dims = { 2, 1 } };
    for (int k = 0; k < images; k++) {
        image[2 * k] = (float)value;
        image[2 * k + 1] = NAN;                     /* unknown pixels are not looked at */
        mask[2 * k] = 1;
    }
    x[2] = x[5] = 1;
    in.image = image;
    in.mask = mask;
    assert_int_equal(sampler_reserve(p, &e), DDPM_OK);
    if (sampler_inpaint(p, &e, &in, x) != DDPM_OK) fail_msg("%s", ddpm_last_error());
    assert_int_equal(m.calls, inpaint_calls(p, &in));
    assert_int_equal(m.observed, m.calls);
    assert_int_equal(m.draws, count_draws(p, &in));
    moments got = { (double)x[1], 0, m.calls, m.draws };
    for (int k = 0; k < images; k++) {
        assert_true(x[2 * k] == (float)value);      /* known pixels are exact */
        if (k) got.sd += ((double)x[2 * k + 1] - got.mean) * ((double)x[2 * k + 1] - got.mean);
    }
    got.sd = sqrt(got.sd);
    sampler_release(&e);
    free(x);
    free(image);
    free(mask);
    return got;
}

/* ---- the walk --------------------------------------------------------------------------- */

/* '4' is the step of row 4, '^' one row up. */
typedef struct { int T, jump, resamples; const char *walk; } listing;

static const listing LISTINGS[] = {
    { 5, 2, 2, "43^^43" "21^^21" "0" },
    { 3, 1, 3, "2^2^2" "1^1^1" "0" },
    { 6, 3, 3, "543" "21^^^321^^^321" "0" },
    { 4, 3, 2, "321^^^321" "0" },
    { 4, 4, 9, "3210" },
    { 5, 1, 1, "43210" },
};

/* x' = a x + b + s z of every operation on an unknown pixel without correlation. */
static moments follow(const process *p, const char *walk)
{
    moments r = { 0, 1, 0, 0 };
    double var = 1;
    int i = p->s->T;                                /* x is at the level of row i - 1 */
    for (const char *c = walk; *c; c++) {
        if (*c == '^') {
            const double from = i ? p->s->alphas_cumprod[i - 1] : 1, ratio = p->s->alphas_cumprod[i] / from;
            r.mean *= sqrt(ratio);
            var = ratio * var + 1 - ratio;
            i++;
            r.draws++;
            continue;
        }
        i = *c - '0';
        const double bar = p->s->alphas_cumprod[i], prev = i ? p->s->alphas_cumprod[i - 1] : 1, beta = 1 - bar / prev;
        const double gain = sqrt(bar) * SD * SD / (bar * SD * SD + 1 - bar), of_x0 = sqrt(prev) * beta / (1 - bar), of_xt = sqrt(1 - beta) * (1 - prev) / (1 - bar);
        r.mean = of_x0 * (MEAN + gain * (r.mean - sqrt(bar) * MEAN)) + of_xt * r.mean;
        var = (of_x0 * gain + of_xt) * (of_x0 * gain + of_xt) * var + (i ? (1 - prev) / (1 - bar) * beta : 0);
        r.calls++;
        r.draws += i ? 2 : 0;
    }
    r.sd = sqrt(var);
    return r;
}

static void test_walk(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof LISTINGS / sizeof LISTINGS[0]; k++) {
        const listing *l = &LISTINGS[k];
        schedule s = make(l->T);
        const process p = { .s = &s, .mean = MEAN_START_X };
        model m = { .p = &p };
        float x[2] = { 0.5f, -0.5f };
        const float image[2] = { 0.25f, 0 };
        const unsigned char mask[2] = { 1, 0 };
        const inpainting in = { image, mask, l->jump, l->resamples };
        sampler_env e = { .denoise = denoise, .noise = noise, .ctx = &m, .n = 1, .dims = { 2, 1 } };
        assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
        assert_int_equal(sampler_inpaint(&p, &e, &in, x), DDPM_OK);
        int calls = 0;
        for (const char *c = l->walk; *c; c++)
            if (*c != '^') assert_int_equal(m.rows[calls++], *c - '0');
        assert_int_equal(m.calls, calls);
        sampler_release(&e);
        schedule_free(&s);
    }
}

/* A pixel that does not depend on the known one follows the walk's own recursion. */
static void test_independent_pixels(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof LISTINGS / sizeof LISTINGS[0]; k++) {
        schedule s = make(LISTINGS[k].T);
        const process p = { .s = &s, .mean = MEAN_START_X };
        const moments want = follow(&p, LISTINGS[k].walk), got = measure(&p, 0, LISTINGS[k].jump, LISTINGS[k].resamples, 0.75);
        if (!(fabs(got.mean - want.mean) < 2e-6 && fabs(got.sd - want.sd) < 2e-6 && got.calls == want.calls && got.draws == want.draws))
            fail_msg("%s: mean %.8g (%.8g), sd %.8g (%.8g), calls %d (%d), draws %d (%d)", LISTINGS[k].walk, got.mean, want.mean, got.sd, want.sd,
                     got.calls, want.calls, got.draws, want.draws);
        schedule_free(&s);
    }
}

/* With many steps that is the data's own distribution, however often it is resampled.
 * Ancestral steps of variance beta leave too much deviation, of order 1/S, and
 * those of beta-tilde too little. */
static void test_distribution_is_kept(void **state)
{
    (void)state;
    for (int resamples = 1; resamples <= 3; resamples++) {
        double last = 1;
        for (int S = 125; S <= 500; S *= 2) {
            schedule s = make(S);
            const process large = { .s = &s, .mean = MEAN_START_X, .var = VAR_FIXED_LARGE }, small = { .s = &s, .mean = MEAN_START_X };
            const moments more = measure(&large, 0, 10, resamples, -0.5), less = measure(&small, 0, 10, resamples, -0.5);
            if (!(fabs(more.mean - MEAN) < 1e-4 && fabs(less.mean - MEAN) < 1e-4 && less.sd < SD && more.sd > SD && more.sd - SD < last / 1.7))
                fail_msg("%d steps, resampled %d times: mean %g, %g, sd %g, %g", S, resamples, less.mean, more.mean, less.sd, more.sd);
            last = more.sd - SD;
            schedule_free(&s);
        }
        assert_true(last < 0.002);
    }
}

/* A pixel that does depend on the known one: resampling leads to N(mean + rho (value - mean), sd^2 (1 - rho^2)),
 * the nearer the more steps, of which each has an error of its own. */
static void test_conditional(void **state)
{
    (void)state;
    const double rho = 0.9, value = 0.8, want_mean = MEAN + rho * (value - MEAN), want_sd = SD * sqrt(1 - rho * rho);
    double last = 1;
    for (int S = 50; S <= 200; S *= 2) {
        schedule s = make(S);
        const process p = { .s = &s, .mean = MEAN_START_X };
        const moments once = measure(&p, rho, 1, 1, value), often = measure(&p, rho, 1, 10, value);
        const double before = fabs(once.mean - want_mean), after = fabs(often.mean - want_mean);
        if (!(after < before / 2 && after < last / 1.7 && fabs(often.sd - want_sd) < 0.02))
            fail_msg("%d steps: mean off by %g, after resampling by %g; sd %g, then %g (want %g)", S, before, after, once.sd, often.sd, want_sd);
        last = after;
        schedule_free(&s);
    }
    assert_true(last < 0.03);
}

/* Nothing known and no jump: ancestral sampling. Everything known: the image. */
static void test_masks(void **state)
{
    (void)state;
    schedule s = make(20);
    const process p = { .s = &s, .mean = MEAN_START_X, .clip = CLIP_X0 };
    const float image[4] = { 0.1f, 0.2f, -0.3f, 1 };
    const unsigned char mask[4] = { 0, 0, 1, 1 };
    const inpainting in = { image, mask, 5, 1 };
    float x[4] = { 1, -1, 0.5f, 2 }, plain[4];
    for (int k = 0; k < 2; k++) {
        model m = { .p = &p, .rho = 0.5 };
        sampler_env e = { .denoise = denoise, .noise = noise, .ctx = &m, .n = 2, .dims = { 2, 1 } };
        assert_int_equal(sampler_reserve(&p, &e), DDPM_OK);
        if (k == 0) {
            memcpy(plain, x, sizeof x);
            for (int i = s.T - 1; i >= 0; i--) {    /* without noise, whose numbers differ */
                const sampler_arrays a = { { 4, 1 }, plain, e.out, e.z, plain, e.pred_xstart };
                assert_int_equal(sampler_network(&p, &e, i, plain), DDPM_OK);
                sampler_ddpm_step(&p, i, &a);
            }
        } else assert_int_equal(sampler_inpaint(&p, &e, &in, x), DDPM_OK);
        sampler_release(&e);
    }
    assert_memory_equal(x, plain, 2 * sizeof *x);
    assert_memory_equal(x + 2, image + 2, 2 * sizeof *x);
    schedule_free(&s);
}

static void test_errors(void **state)
{
    (void)state;
    schedule s = make(250);
    const process p = { .s = &s, .mean = MEAN_START_X };
    inpainting in = { .jump = INPAINT_JUMP, .resamples = INPAINT_RESAMPLES };
    assert_int_equal(inpaint_check(&p, &in), DDPM_OK);
    assert_int_equal(inpaint_calls(&p, &in), 250 + 24 * 9 * 10);
    in.jump = 0;
    assert_int_equal(inpaint_check(&p, &in), DDPM_EINVAL);
    in = (inpainting){ .jump = 10, .resamples = 0 };
    assert_int_equal(inpaint_check(&p, &in), DDPM_EINVAL);
    in.resamples = INT32_MAX;
    assert_int_equal(inpaint_check(&p, &in), DDPM_EINVAL);
    in = (inpainting){ .jump = INT32_MAX, .resamples = INT32_MAX };      /* never jumps */
    assert_int_equal(inpaint_check(&p, &in), DDPM_OK);
    assert_int_equal(inpaint_calls(&p, &in), 250);
    schedule_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk), cmocka_unit_test(test_independent_pixels), cmocka_unit_test(test_distribution_is_kept),
        cmocka_unit_test(test_conditional), cmocka_unit_test(test_masks), cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
