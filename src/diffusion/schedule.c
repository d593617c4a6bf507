#include "diffusion/schedule.h"

#include "base/fixmath.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

static const double PI = 3.14159265358979323846;

static const struct { const char *name; schedule_kind kind; } kinds[] = {
    { "linear", SCHEDULE_LINEAR },     { "quad", SCHEDULE_QUAD },     { "scaled_linear", SCHEDULE_QUAD },
    { "cosine", SCHEDULE_COSINE },     { "squaredcos_cap_v2", SCHEDULE_COSINE },
    { "sigmoid", SCHEDULE_SIGMOID },   { "const", SCHEDULE_CONST },   { "jsd", SCHEDULE_JSD },
    { "warmup10", SCHEDULE_WARMUP10 }, { "warmup50", SCHEDULE_WARMUP50 },
    { "custom", SCHEDULE_CUSTOM },
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

ddpm_status schedule_kind_find(const char *name, schedule_kind *kind)
{
    for (int i = 0; i < KINDS; i++)
        if (!strcasecmp(kinds[i].name, name)) {
            *kind = kinds[i].kind;
            return DDPM_OK;
        }
    return ddpm_fail(DDPM_EINVAL, "noise schedule \"%s\" is unknown; use linear, quad (scaled_linear), cosine "
                     "(squaredcos_cap_v2), sigmoid, const, jsd, warmup10, warmup50 or custom", name);
}

const char *schedule_kind_name(schedule_kind kind)
{
    for (int i = 0; i < KINDS; i++)
        if (kinds[i].kind == kind) return kinds[i].name;
    return "unknown";
}

schedule_config schedule_config_of(schedule_profile profile, schedule_kind kind, int T)
{
    static const struct { schedule_width width; schedule_logvar logvar; } conventions[] = {
        [PROFILE_HO]         = { SCHEDULE_F64, LOGVAR_BORROW },
        [PROFILE_OPENAI]     = { SCHEDULE_F64, LOGVAR_BORROW },
        [PROFILE_ERMONGROUP] = { SCHEDULE_F32, LOGVAR_FLOOR },
        [PROFILE_DIFFUSERS]  = { SCHEDULE_F32_TORCH, LOGVAR_FLOOR },
    };
    return (schedule_config){
        .kind = kind, .T = T, .beta_start = 1e-4, .beta_end = 0.02,
        .scaled = profile == PROFILE_OPENAI,
        .width = conventions[profile].width, .logvar = conventions[profile].logvar,
    };
}

/* ---- betas ---------------------------------------------------------------- */

static double round_f32(double x) { return (double)(float)x; }

/* numpy's: the last element is forced to `stop`. */
static double linspace_f64(double start, double stop, int n, int i)
{
    if (i == n - 1 && n > 1) return stop;
    return start + i * ((stop - start) / (n > 1 ? n - 1 : 1));
}

/* torch's in f32: counted from the nearer end. */
static double linspace_f32(double start, double stop, int n, int i)
{
    const float a = (float)start, b = (float)stop, step = n > 1 ? (b - a) / (float)(n - 1) : 0;
    return (double)(i < n / 2 || n == 1 ? a + (float)i * step : b - (float)(n - 1 - i) * step);
}

static double linspace(const schedule_config *c, double start, double stop, int n, int i)
{
    return c->width == SCHEDULE_F32_TORCH ? linspace_f32(start, stop, n, i) : linspace_f64(start, stop, n, i);
}

static double warmup(const schedule_config *c, double fraction, int i)
{
    const int n = (int)(c->T * fraction);
    return i < n ? linspace_f64(c->beta_start, c->beta_end, n, i) : c->beta_end;
}

/* The unevaluated sum of two doubles, about 106 bits. */
typedef struct { double hi, lo; } wide;

static wide wide_sum(double hi, double lo)   /* |hi| >= |lo| */
{
    const double sum = hi + lo;
    return (wide){ sum, lo - (sum - hi) };
}

static wide wide_mul(wide a, wide b)
{
    const double hi = a.hi * b.hi;
    return wide_sum(hi, fma(a.hi, b.hi, -hi) + (a.hi * b.lo + a.lo * b.hi));
}

static wide wide_div(wide a, double b)
{
    const double q = a.hi / b;
    return wide_sum(q, (fma(-q, b, a.hi) + a.lo) / b);
}

static wide wide_one_minus(wide a)           /* |a| <= 2 */
{
    const double hi = 1 - a.hi, part = hi - 1;
    return wide_sum(hi, ((1 - (hi - part)) - (a.hi + part)) - a.lo);
}

/* Correctly rounded, by its series, for |x| < 1.6. beta is 1 minus a quotient of
 * two of these that is almost 1, where the last bit of a cosine is as much as
 * 1e-11 of beta: the authors' tables can only be met if there is no such bit. */
static double cosine(double x)
{
    const wide z = wide_mul((wide){ x, 0 }, (wide){ x, 0 });
    wide sum = { 1, 0 };
    for (int k = 17; k >= 1; k--)
        sum = wide_one_minus(wide_mul(wide_div(z, 2.0 * k * (2 * k - 1)), sum));
    return sum.hi;
}

static double cosine_alpha_bar(double u)
{
    const double c = cosine((u + 0.008) / 1.008 * PI / 2);
    return c * c;
}

static double beta_of(const schedule_config *c, int i)
{
    const int T = c->T;
    switch (c->kind) {
    case SCHEDULE_LINEAR: {
        const double scale = c->scaled ? 1000.0 / T : 1;
        return linspace(c, scale * c->beta_start, scale * c->beta_end, T, i);
    }
    case SCHEDULE_QUAD: {
        const double root = linspace(c, sqrt(c->beta_start), sqrt(c->beta_end), T, i);
        return root * root;
    }
    case SCHEDULE_COSINE:
        return fmin(1 - cosine_alpha_bar((double)(i + 1) / T) / cosine_alpha_bar((double)i / T), 0.999);
    case SCHEDULE_SIGMOID:
        return 1 / (fix_exp(-linspace(c, -6, 6, T, i)) + 1) * (c->beta_end - c->beta_start) + c->beta_start;
    case SCHEDULE_CONST:    return c->beta_end;
    case SCHEDULE_JSD:      return 1 / linspace(c, T, 1, T, i);
    case SCHEDULE_WARMUP10: return warmup(c, 0.1, i);
    case SCHEDULE_WARMUP50: return warmup(c, 0.5, i);
    case SCHEDULE_CUSTOM:   return c->custom[i];
    }
    return 0;
}

/* ---- tables --------------------------------------------------------------- */

enum { TABLES = 14 };

static ddpm_status allocate(int T, schedule *s)
{
    double *mem = calloc((size_t)T * TABLES, sizeof *mem);
    int *map = calloc((size_t)T, sizeof *map);
    if (!mem || !map) {
        free(mem);
        free(map);
        return ddpm_fail(DDPM_ENOMEM, "no memory for the tables of a noise schedule of %d steps", T);
    }
    s->T = T;
    s->timestep_map = map;
    double **const tables[TABLES] = {
        &s->betas, &s->log_betas, &s->alphas_cumprod, &s->alphas_cumprod_prev, &s->alphas_cumprod_next,
        &s->sqrt_alphas_cumprod, &s->sqrt_one_minus_alphas_cumprod, &s->log_one_minus_alphas_cumprod,
        &s->sqrt_recip_alphas_cumprod, &s->sqrt_recipm1_alphas_cumprod, &s->posterior_variance,
        &s->posterior_log_variance_clipped, &s->posterior_mean_coef1, &s->posterior_mean_coef2,
    };
    for (int i = 0; i < TABLES; i++) *tables[i] = mem + (size_t)i * (size_t)T;
    return DDPM_OK;
}

void schedule_free(schedule *s)
{
    if (!s) return;
    free(s->betas);          /* the first table is the whole slab */
    free(s->timestep_map);
    *s = (schedule){ 0 };
}

/* Row i's tables from betas, alphas_cumprod and alphas_cumprod_prev. The order
 * of operations is the authors', for equal roundings. */
static void derive_row(schedule *s, int i)
{
    const double beta = s->betas[i], bar = s->alphas_cumprod[i], prev = s->alphas_cumprod_prev[i];
    s->log_betas[i] = fix_log(beta);
    s->alphas_cumprod_next[i] = i + 1 < s->T ? s->alphas_cumprod[i + 1] : 0;
    s->sqrt_alphas_cumprod[i] = sqrt(bar);
    s->sqrt_one_minus_alphas_cumprod[i] = sqrt(1 - bar);
    s->log_one_minus_alphas_cumprod[i] = fix_log(1 - bar);
    s->sqrt_recip_alphas_cumprod[i] = sqrt(1 / bar);
    s->sqrt_recipm1_alphas_cumprod[i] = sqrt(1 / bar - 1);
    s->posterior_variance[i] = beta * (1 - prev) / (1 - bar);
    s->posterior_mean_coef1[i] = beta * sqrt(prev) / (1 - bar);
    s->posterior_mean_coef2[i] = (1 - prev) * sqrt(1 - beta) / (1 - bar);
}

static void derive(schedule *s)
{
    for (int i = 0; i < s->T; i++) derive_row(s, i);
    for (int i = 0; i < s->T; i++)
        s->posterior_log_variance_clipped[i] = fix_log(s->logvar == LOGVAR_FLOOR
            ? fmax(s->posterior_variance[i], 1e-20) : s->posterior_variance[i ? i : 1]);
}

/* alpha-bar of a chain from its betas. The f32 code bases hold 1 - beta and
 * alpha-bar in f32 and accumulate the product in f64. */
static void accumulate(schedule *s)
{
    const bool f32 = s->width != SCHEDULE_F64;
    double product = 1;
    for (int i = 0; i < s->T; i++) {
        s->alphas_cumprod_prev[i] = i ? s->alphas_cumprod[i - 1] : 1;
        product *= f32 ? round_f32(1 - s->betas[i]) : 1 - s->betas[i];
        s->alphas_cumprod[i] = f32 ? round_f32(product) : product;
    }
}

/* One operation of an f32 code base. */
static double in_width(const schedule *s, double x) { return s->width == SCHEDULE_F64 ? x : round_f32(x); }

/* New betas, from the ratios of the shifted and scaled alpha-bar; the last is 1. */
static void rescale_to_zero_snr(schedule *s)
{
    const double first = in_width(s, sqrt(s->alphas_cumprod[0])), last = in_width(s, sqrt(s->alphas_cumprod[s->T - 1]));
    const double scale = in_width(s, first / in_width(s, first - last));
    double prev = 1;
    for (int i = 0; i < s->T; i++) {
        const double root = in_width(s, in_width(s, in_width(s, sqrt(s->alphas_cumprod[i])) - last) * scale);
        const double bar = in_width(s, root * root);
        s->betas[i] = in_width(s, 1 - in_width(s, bar / prev));
        prev = bar;
    }
}

static ddpm_status end_at_zero_snr(const schedule_config *c, schedule *s)
{
    if (s->alphas_cumprod[s->T - 1] <= 0)
        return ddpm_fail(DDPM_EINVAL, "the %s noise schedule ends without signal already; leave out the rescaling to zero "
                         "terminal SNR", schedule_kind_name(c->kind));
    rescale_to_zero_snr(s);
    accumulate(s);
    return DDPM_OK;
}

static ddpm_status check_config(const schedule_config *c)
{
    if (c->T < 2 || c->T > SCHEDULE_MAX_T)
        return ddpm_fail(DDPM_EINVAL, "a noise schedule of %d steps is impossible; use 2 to %d", c->T, SCHEDULE_MAX_T);
    if (c->kind == SCHEDULE_LINEAR && c->scaled && !(1000.0 / c->T * c->beta_end < 1))
        return ddpm_fail(DDPM_EINVAL, "the linear schedule scaled by 1000/T ends at beta = %g with T = %d, which leaves "
                         "nothing of the image; use more steps (T > 20 with beta_end 0.02) or another schedule",
                         1000.0 / c->T * c->beta_end, c->T);
    if (c->kind == SCHEDULE_CUSTOM && !c->custom)
        return ddpm_fail(DDPM_EINVAL, "the custom noise schedule has no betas; give a list of %d", c->T);
    return DDPM_OK;
}

static ddpm_status fill_betas(const schedule_config *c, schedule *s)
{
    for (int i = 0; i < c->T; i++) {
        const double exact = beta_of(c, i), beta = c->width == SCHEDULE_F64 ? exact : round_f32(exact);
        if (!(beta > 0 && beta <= 1))
            return ddpm_fail(DDPM_EINVAL, "beta[%d] of the %s noise schedule is %g, not in (0,1]; change beta_start, "
                             "beta_end or the number of steps", i, schedule_kind_name(c->kind), beta);
        s->betas[i] = beta;
        s->timestep_map[i] = i;
    }
    return DDPM_OK;
}

ddpm_status schedule_new(const schedule_config *c, schedule *s)
{
    *s = (schedule){ .original_T = c->T, .width = c->width, .logvar = c->logvar };
    DDPM_TRY(check_config(c));
    DDPM_TRY(allocate(c->T, s));
    ddpm_status status = fill_betas(c, s);
    if (status == DDPM_OK) {
        accumulate(s);
        if (!(s->alphas_cumprod[0] < 1))
            status = ddpm_fail(DDPM_EINVAL, "beta[0] of the %s noise schedule, %g, is too small to change alpha-bar",
                               schedule_kind_name(c->kind), s->betas[0]);
        else if (c->zero_terminal_snr) status = end_at_zero_snr(c, s);
    }
    if (status != DDPM_OK) {
        schedule_free(s);
        return status;
    }
    derive(s);
    return DDPM_OK;
}

/* ---- chains made from a chain ---------------------------------------------- */

/* strict: every element greater than the one before; else not smaller. */
static ddpm_status check_list(const schedule *full, const int *list, int n, bool strict)
{
    if (n < 1) return ddpm_fail(DDPM_EINVAL, "the list of timesteps is empty");
    for (int k = 0; k < n; k++) {
        if (list[k] < 0 || list[k] >= full->T)
            return ddpm_fail(DDPM_EINVAL, "timestep %d in the list is not in 0..%d", list[k], full->T - 1);
        if (k && list[k] < list[k - 1] + strict)
            return ddpm_fail(DDPM_EINVAL, "timesteps %d, %d in the list are not ascending", list[k - 1], list[k]);
    }
    return DDPM_OK;
}

static ddpm_status start_chain(const schedule *full, const int *list, int n, schedule *s)
{
    DDPM_TRY(allocate(n, s));
    s->original_T = full->original_T;
    s->width = full->width;
    s->logvar = n > 1 ? full->logvar : LOGVAR_FLOOR;   /* nothing to borrow in a single row */
    for (int k = 0; k < n; k++) s->timestep_map[k] = full->timestep_map[list[k]];
    return DDPM_OK;
}

ddpm_status schedule_respace(const schedule *full, const int *list, int n, schedule *s)
{
    *s = (schedule){ 0 };
    DDPM_TRY(check_list(full, list, n, true));
    if (full->width != SCHEDULE_F64) return schedule_from_steps(full, list, NULL, 1, n, s);
    DDPM_TRY(start_chain(full, list, n, s));
    for (int k = 0; k < n; k++)
        s->betas[k] = 1 - full->alphas_cumprod[list[k]] / (k ? full->alphas_cumprod[list[k - 1]] : 1);
    accumulate(s);
    derive(s);
    return DDPM_OK;
}

ddpm_status schedule_from_steps(const schedule *full, const int *list, const int *prev, double last, int n, schedule *s)
{
    *s = (schedule){ 0 };
    DDPM_TRY(check_list(full, list, n, false));
    DDPM_TRY(start_chain(full, list, n, s));
    s->logvar = LOGVAR_FLOOR;
    const bool f32 = full->width != SCHEDULE_F64;
    for (int k = 0; k < n; k++) {
        const int to = prev ? prev[k] : k ? list[k - 1] : -1;
        assert(to <= list[k]);
        s->alphas_cumprod[k] = full->alphas_cumprod[list[k]];
        s->alphas_cumprod_prev[k] = to < 0 ? last : full->alphas_cumprod[to];
        const double ratio = s->alphas_cumprod[k] / s->alphas_cumprod_prev[k];
        s->betas[k] = f32 ? round_f32(1 - round_f32(ratio)) : 1 - ratio;
    }
    derive(s);
    return DDPM_OK;
}
