/* Every prediction, variance and loss on every kind of schedule: either refused with a sentence, or the
 * value and the gradient are those of the definition, evaluated here in long double from the betas alone
 * and differentiated numerically. Row 0 has the decoder, with images at the ends of the range. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "diffusion/loss.h"
#include "diffusion/respace.h"

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

enum { N_MEANS = MEAN_V + 1, N_VARS = VAR_LEARNED_RANGE + 1, N_LOSSES = LOSS_MSE_SUM + 1, IMAGES = 14, DELTAS = 6, LEN = IMAGES * DELTAS };

/* Both sides of -0.999 and 0.999, where the outer bins begin. */
static const float IMAGE[IMAGES] = { -1, -0.9995f, -0.9991f, -0.9989f, -0.99215686f, -0.5f, -0.0039215689f, 0.0117647059f, 0.5f,
                                     0.99215686f, 0.9989f, 0.9991f, 0.9995f, 1 };

/* How far the network is off, in units of what the mean of row 0 is uncertain by. */
static const float DELTA[DELTAS] = { -6, -0.9f, -0.11f, 0.23f, 1.7f, 30 };

/* ---- the definition ---------------------------------------------------------------------- */

typedef struct { const process *p; int i; loss_type type; } setting;
typedef struct { long double x0, xt, noise, out, v; } element;

static long double bar_at(const schedule *s, int i) { return i < 0 ? 1 : (long double)s->alphas_cumprod[i]; }

/* beta-tilde of DDPM eq. 7. */
static long double tilde_at(const schedule *s, int i)
{
    return (long double)s->betas[i] * (1 - bar_at(s, i - 1)) / (1 - bar_at(s, i));
}

static long double log_small(const schedule *s, int i)
{
    if (s->logvar == LOGVAR_FLOOR) return logl(fmaxl(tilde_at(s, i), 1e-20L));
    return logl(tilde_at(s, i ? i : 1));
}

static long double log_variance(const setting *c, long double v)
{
    const schedule *s = c->p->s;
    const long double large = logl((long double)s->betas[c->i]), small = log_small(s, c->i), share = (v + 1) / 2;
    switch (c->p->var) {
    case VAR_FIXED_SMALL:   return small;
    case VAR_FIXED_LARGE:   return c->i == 0 && s->logvar == LOGVAR_BORROW ? small : large;
    case VAR_LEARNED:       return v;
    case VAR_LEARNED_RANGE: return share * large + (1 - share) * small;
    }
    return NAN;
}

/* The mean of q(x_{t-1} | x_t, x_0). */
static long double posterior(const setting *c, long double x0, long double xt)
{
    const schedule *s = c->p->s;
    const long double beta = (long double)s->betas[c->i], bar = bar_at(s, c->i), prev = bar_at(s, c->i - 1);
    return (sqrtl(prev) * beta * x0 + sqrtl(1 - beta) * (1 - prev) * xt) / (1 - bar);
}

static long double mean_of(const setting *c, const element *e)
{
    const long double bar = bar_at(c->p->s, c->i);
    switch (c->p->mean) {
    case MEAN_EPSILON:    return posterior(c, (e->xt - sqrtl(1 - bar) * e->out) / sqrtl(bar), e->xt);
    case MEAN_START_X:    return posterior(c, e->out, e->xt);
    case MEAN_PREVIOUS_X: return e->out;
    case MEAN_V:          return posterior(c, sqrtl(bar) * e->xt - sqrtl(1 - bar) * e->out, e->xt);
    }
    return NAN;
}

static long double target_of(const setting *c, const element *e)
{
    const long double bar = bar_at(c->p->s, c->i);
    switch (c->p->mean) {
    case MEAN_EPSILON:    return e->noise;
    case MEAN_START_X:    return e->x0;
    case MEAN_PREVIOUS_X: return posterior(c, e->x0, e->xt);
    case MEAN_V:          return sqrtl(bar) * e->noise - sqrtl(1 - bar) * e->x0;
    }
    return NAN;
}

static long double cdf(long double x) { return 0.5L * (1 + tanhl(sqrtl(2 / acosl(-1)) * (x + 0.044715L * x * x * x))); }

/* Minus the log of the mass in an 8-bit bin, the outer ones open.                 DDPM eq. 13 */
static long double decoder(long double x, long double mean, long double logvar)
{
    const long double sigma = expl(0.5L * logvar);
    const long double upper = cdf((x - mean + 1 / 255.0L) / sigma), lower = cdf((x - mean - 1 / 255.0L) / sigma);
    const long double above = cdf(-(x - mean - 1 / 255.0L) / sigma);      /* 1 - lower, exactly */
    return -logl(fmaxl(x < -0.999L ? upper : x > 0.999L ? above : upper - lower, 1e-12L));
}

/* One element of the bound in bits. */
static long double bound(const setting *c, const element *e)
{
    const long double logvar = log_variance(c, e->v), mean = mean_of(c, e), own = log_small(c->p->s, c->i);
    if (c->i == 0) return decoder(e->x0, mean, logvar) / logl(2);
    const long double diff = posterior(c, e->x0, e->xt) - mean;
    return 0.5L * (logvar - own - 1 + expl(own - logvar) + diff * diff * expl(-logvar)) / logl(2);
}

/* Factors of the two parts of the loss, which are means over the elements but for the sum. */
typedef struct { long double mse, vb; bool vb_to_mean; } factors;

static factors factors_of(const setting *c)
{
    const bool learned = c->p->var >= VAR_LEARNED;
    const long double T = c->p->s->T;
    switch (c->type) {
    case LOSS_MSE:          return (factors){ 1, learned ? 1 : 0, false };
    case LOSS_RESCALED_MSE: return (factors){ 1, learned ? T / 1000 : 0, false };
    case LOSS_KL:           return (factors){ 0, 1, true };
    case LOSS_RESCALED_KL:  return (factors){ 0, T, true };
    case LOSS_MSE_SUM:      return (factors){ LEN, 0, false };
    }
    return (factors){ 0 };
}

static long double squared(const setting *c, const element *e) { return (e->out - target_of(c, e)) * (e->out - target_of(c, e)); }

/* The part of the loss whose slope reaches the mean's output, or the variance's. */
static long double part(const setting *c, const element *e, bool of_mean)
{
    const factors f = factors_of(c);
    const long double mse = of_mean && f.mse > 0 ? f.mse * squared(c, e) : 0;
    return (mse + (f.vb > 0 && (f.vb_to_mean || !of_mean) ? f.vb * bound(c, e) : 0)) / LEN;
}

static long double difference(const setting *c, const element *e, bool of_mean, long double h)
{
    element up = *e, down = *e;
    *(of_mean ? &up.out : &up.v) += h;
    *(of_mean ? &down.out : &down.v) -= h;
    return (part(c, &up, of_mean) - part(c, &down, of_mean)) / (2 * h);
}

/* Central differences with three widths, extrapolated; no two may disagree. */
static double slope(const setting *c, const element *e, bool of_mean)
{
    const long double h = 4e-6L, wide = difference(c, e, of_mean, 4 * h), mid = difference(c, e, of_mean, 2 * h), near = difference(c, e, of_mean, h);
    const long double first = (4 * mid - wide) / 3, second = (4 * near - mid) / 3;
    if (!(fabsl(first - second) <= 1e-3L * fabsl(second) + 1e-9L)) fail_msg("the definition has a kink here: %Lg, %Lg", first, second);
    return (double)((16 * second - first) / 15);
}

/* ---- images ------------------------------------------------------------------------------------ */

typedef struct { float x0[LEN], xt[LEN], noise[LEN], out[2 * LEN], grad[2 * LEN]; } arrays;

/* A network that is off by DELTA, in the units of what it predicts. */
static void fill(const setting *c, arrays *a)
{
    const schedule *s = c->p->s;
    const bool learned = process_learns_variance(c->p);
    const size_t width = learned ? 2 : 1;
    const double bar = s->alphas_cumprod[c->i], sigma = sqrt(exp((double)log_small(s, c->i ? c->i : 1)));
    const double unit = c->p->mean == MEAN_EPSILON ? 0.05 : c->p->mean == MEAN_PREVIOUS_X || c->i == 0 ? fmin(sigma, 0.01) : 0.02;
    for (size_t k = 0; k < LEN; k++) {
        const size_t d = k % DELTAS;
        a->x0[k] = IMAGE[k / DELTAS];
        a->noise[k] = (float)(1.7 * cos((double)(k * k) + 0.3 * (double)k));
        a->xt[k] = (float)(sqrt(bar) * (double)a->x0[k] + sqrt(1 - bar) * (double)a->noise[k]);
        const element e = { (long double)a->x0[k], (long double)a->xt[k], (long double)a->noise[k], 0, 0 };
        a->out[k * width] = (float)((double)target_of(c, &e) + unit * (double)DELTA[d]);
        if (learned) a->out[k * width + 1] = (float)(c->p->var == VAR_LEARNED ? log(s->betas[c->i]) + 0.3 * ((double)d - 2.7) : 0.45 * (double)d - 1.2);
    }
}

static void expect_near(const char *what, const setting *c, size_t k, double got, double want, double allowed)
{
    if (!(fabs(got - want) <= allowed))
        fail_msg("%s %s %s, row %d of %d, %s of element %zu: got %.9g, want %.9g (allowed %.3g)", mean_type_name(c->p->mean), var_type_name(c->p->var),
                 loss_type_name(c->type), c->i, c->p->s->T, what, k, got, want, allowed);
}

/* What the rounding of a float log variance does to the slope by the variance: it is a difference of near ones. */
static double rounding(const setting *c)
{
    const double range = fabs(log(c->p->s->betas[c->i]) - (double)log_small(c->p->s, c->i)) / 2;
    return 1e-6 * (double)factors_of(c).vb / LEN * (c->p->var == VAR_LEARNED_RANGE ? range : 1);
}

static void check_gradient(const setting *c, const arrays *a, bool of_mean)
{
    const size_t width = process_learns_variance(c->p) ? 2 : 1;
    double want[LEN], peak = 0;
    for (size_t k = 0; k < LEN; k++) {
        const element e = { (long double)a->x0[k], (long double)a->xt[k], (long double)a->noise[k], (long double)a->out[k * width], (long double)a->out[k * width + width - 1] };
        want[k] = slope(c, &e, of_mean);
        peak = fmax(peak, fabs(want[k]));
    }
    const double floor = of_mean ? 2e-5 * peak : 1e-6 * peak + rounding(c);   /* the error of a mean is 1e3 roundings of its target or more */
    for (size_t k = 0; k < LEN; k++)
        expect_near(of_mean ? "slope by the mean" : "slope by the variance", c, k, (double)a->grad[k * width + (of_mean ? 0 : 1)], 0.7 * want[k], 3e-4 * fabs(want[k]) + floor);
}

static void check_row(const setting *c)
{
    const bool learned = process_learns_variance(c->p);
    arrays *a = calloc(1, sizeof *a);
    loss_terms terms;
    long double mse = 0, vb = 0;
    assert_non_null(a);
    fill(c, a);
    const loss_input input = { c->p, c->type, c->i, { LEN, 1 }, 0.7, a->x0, a->xt, a->noise, a->out };
    loss_eval(&input, &terms, a->grad);
    const factors f = factors_of(c);
    for (size_t k = 0; k < LEN; k++) {
        const size_t at = k * (learned ? 2 : 1);
        const element e = { (long double)a->x0[k], (long double)a->xt[k], (long double)a->noise[k], (long double)a->out[at], learned ? (long double)a->out[at + 1] : 0 };
        if (f.mse > 0) mse += f.mse * squared(c, &e) / LEN;
        if (f.vb > 0) vb += f.vb * bound(c, &e) / LEN;
    }
    expect_near("mse", c, 0, terms.mse, (double)mse, 1e-4 * (double)mse);
    expect_near("vb", c, 0, terms.vb, (double)vb, 1e-4 * fabs((double)vb) + 1e-6 * (double)f.vb);
    expect_near("loss", c, 0, terms.loss, (double)(mse + vb), 1e-4 * fabs((double)(mse + vb)) + 1e-6 * (double)f.vb);
    check_gradient(c, a, true);
    if (learned) check_gradient(c, a, false);
    free(a);
}

/* ---- all combinations -------------------------------------------------------------------------- */

typedef struct { const char *name; schedule_profile profile; schedule_kind kind; int T; bool zero_snr; const char *spaced; } row;

static const row SCHEDULES[] = {
    { "linear", PROFILE_OPENAI, SCHEDULE_LINEAR, 1000, false, NULL },   { "cosine", PROFILE_OPENAI, SCHEDULE_COSINE, 1000, false, NULL },
    { "spaced", PROFILE_OPENAI, SCHEDULE_COSINE, 4000, false, "50" },   { "Ho's, short", PROFILE_HO, SCHEDULE_CONST, 3, false, NULL },
    { "f32", PROFILE_ERMONGROUP, SCHEDULE_LINEAR, 1000, false, NULL },  { "torch's", PROFILE_DIFFUSERS, SCHEDULE_QUAD, 1000, false, NULL },
    { "zero signal", PROFILE_OPENAI, SCHEDULE_LINEAR, 1000, true, NULL }, { "jsd", PROFILE_HO, SCHEDULE_JSD, 100, false, NULL },
};
enum { N_SCHEDULES = sizeof SCHEDULES / sizeof *SCHEDULES };

static void make(const row *r, schedule *s)
{
    schedule full;
    schedule_config c = schedule_config_of(r->profile, r->kind, r->T);
    c.zero_terminal_snr = r->zero_snr;
    MUST(schedule_new(&c, r->spaced ? &full : s));
    if (!r->spaced) return;
    MUST(schedule_respace_openai(&full, r->spaced, s));
    schedule_free(&full);
}

/* A sentence, and what to do instead. */
static void expect_refused(const setting *c)
{
    if (loss_check(c->type, c->p) != DDPM_EINVAL)
        fail_msg("%s %s %s is not refused", mean_type_name(c->p->mean), var_type_name(c->p->var), loss_type_name(c->type));
    assert_non_null(strstr(ddpm_last_error(), "use "));
}

static void every_combination(void **state)
{
    (void)state;
    int trained = 0, refused = 0;
    for (int k = 0; k < N_SCHEDULES; k++) {
        schedule s;
        make(&SCHEDULES[k], &s);
        const bool no_signal = s.alphas_cumprod[s.T - 1] <= 0;
        for (int n = 0; n < N_MEANS * N_VARS * N_LOSSES; n++) {
            const process p = { .s = &s, .mean = (mean_type)(n % N_MEANS), .var = (var_type)(n / N_MEANS % N_VARS) };
            setting c = { &p, 0, (loss_type)(n / N_MEANS / N_VARS) };
            const bool learned = p.var == VAR_LEARNED || p.var == VAR_LEARNED_RANGE;
            if ((no_signal && p.mean == MEAN_EPSILON) || (c.type == LOSS_MSE_SUM && learned)) {
                expect_refused(&c);
                refused++;
                continue;
            }
            MUST(loss_check(c.type, &p));
            const int rows[] = { 0, 1, s.T / 2, s.T - 1 };
            for (int i = 0; i < 4; i++) {
                c.i = rows[i];
                check_row(&c);
            }
            trained++;
        }
        schedule_free(&s);
    }
    assert_int_equal(refused, N_SCHEDULES * 8 + 2 * (N_VARS * N_LOSSES - 2));
    assert_int_equal(trained + refused, N_SCHEDULES * 80);
}

/* Where a step is repeated nothing lies between the two variances, and previous_x says nothing about x_0. */
static void repeated_steps(void **state)
{
    (void)state;
    const int list[] = { 10, 500, 500, 900 };
    const schedule_config config = schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    schedule full, s;
    MUST(schedule_new(&config, &full));
    MUST(schedule_from_steps(&full, list, NULL, 1, 4, &s));
    for (int n = 0; n < N_MEANS * N_VARS; n++) {
        const process p = { .s = &s, .mean = (mean_type)(n % N_MEANS), .var = (var_type)(n / N_MEANS) };
        const bool bad = p.var == VAR_LEARNED_RANGE || p.mean == MEAN_PREVIOUS_X;
        assert_int_equal(process_check(&p), bad ? DDPM_EINVAL : DDPM_OK);
        assert_int_equal(loss_check(LOSS_MSE, &p), bad ? DDPM_EINVAL : DDPM_OK);
    }
    schedule_free(&s);
    schedule_free(&full);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_combination), cmocka_unit_test(repeated_steps) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
