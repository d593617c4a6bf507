#include "diffusion/respace.h"

#include "base/fixmath.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static ddpm_status list_new(int n, step_list *list)
{
    assert(n > 0);
    *list = (step_list){ .n = n, .t = calloc((size_t)n, sizeof *list->t) };
    if (list->t) return DDPM_OK;
    list->n = 0;
    return ddpm_fail(DDPM_ENOMEM, "no memory for a list of %d timesteps", n);
}

void step_list_free(step_list *l)
{
    if (!l) return;
    free(l->t);
    *l = (step_list){ 0 };
}

/* The range 0, stride, 2 stride, ... below T. */
static ddpm_status list_range(int T, int stride, step_list *list)
{
    DDPM_TRY(list_new((T - 1) / stride + 1, list));
    for (int k = 0; k < list->n; k++) list->t[k] = k * stride;
    return DDPM_OK;
}

/* numpy's linspace(0, stop, n)[i] */
static double linspace(double stop, int n, int i)
{
    return i == n - 1 && n > 1 ? stop : i * (stop / (n > 1 ? n - 1 : 1));
}

/* numpy's and Python's round: at this size the unit of a double is 1, so the
 * addition itself rounds half to even. 0 <= x < 2^51. */
static int round_half_even(double x) { return (int)((x + 0x1p52) - 0x1p52); }

/* ---- OpenAI ------------------------------------------------------------------ */

static ddpm_status parse_count(const char *spec, const char **at, int *count)
{
    char *end;
    errno = 0;
    const long v = strtol(*at, &end, 10);
    if (end == *at || errno || v < 0 || v > SCHEDULE_MAX_T)
        return ddpm_fail(DDPM_EINVAL, "respacing \"%s\": \"%s\" does not start with a number of steps; "
                         "write for example 250, 10,15,20 or ddim50", spec, *at);
    *at = end;
    *count = (int)v;
    return DDPM_OK;
}

static ddpm_status openai_ddim(int T, const char *spec, step_list *list)
{
    const char *at = spec + 4;
    int count = 0;
    DDPM_TRY(parse_count(spec, &at, &count));
    if (*at) return ddpm_fail(DDPM_EINVAL, "respacing \"%s\": \"%s\" follows the number of steps", spec, at);
    for (int stride = 1; stride < T; stride++)
        if ((T - 1) / stride + 1 == count) return list_range(T, stride, list);
    return ddpm_fail(DDPM_EINVAL, "respacing \"%s\": no whole stride through %d steps makes exactly %d; "
                     "use another number or another spacing", spec, T, count);
}

/* One section: `count` of the `size` steps from `start`, both ends included.
 * The position is accumulated, not multiplied, as in the original. */
static void fill_section(int start, int size, int count, int *out)
{
    const double stride = count <= 1 ? 1 : (double)(size - 1) / (count - 1);
    double position = 0;
    for (int k = 0; k < count; k++) {
        out[k] = start + round_half_even(position);
        position += stride;
    }
}

static int count_sections(const char *spec)
{
    int n = 1;
    for (const char *c = spec; *c; c++) n += *c == ',';
    return n;
}

static ddpm_status openai_sections(int T, const char *spec, step_list *list)
{
    const int sections = count_sections(spec);
    const char *at = spec;
    int start = 0;
    DDPM_TRY(list_new(T, list));
    list->n = 0;
    for (int i = 0; i < sections; i++) {
        const int size = T / sections + (i < T % sections);
        int count = 0;
        DDPM_TRY(parse_count(spec, &at, &count));
        if (*at != (i + 1 < sections ? ',' : '\0'))
            return ddpm_fail(DDPM_EINVAL, "respacing \"%s\": \"%s\" follows a number of steps; separate by commas", spec, at);
        at++;
        if (count > size)
            return ddpm_fail(DDPM_EINVAL, "respacing \"%s\": section %d of the chain has %d steps, not %d; "
                             "use at most %d", spec, i + 1, size, count, size);
        fill_section(start, size, count, list->t + list->n);
        list->n += count;
        start += size;
    }
    if (list->n == 0) return ddpm_fail(DDPM_EINVAL, "respacing \"%s\" leaves no step", spec);
    return DDPM_OK;
}

ddpm_status respace_openai(int T, const char *spec, step_list *list)
{
    assert(T >= 1);
    *list = (step_list){ 0 };
    if (!*spec) return list_range(T, 1, list);
    const ddpm_status status = strncmp(spec, "ddim", 4) ? openai_sections(T, spec, list) : openai_ddim(T, spec, list);
    if (status != DDPM_OK) step_list_free(list);
    return status;
}

ddpm_status schedule_respace_openai(const schedule *full, const char *spec, schedule *s)
{
    step_list list;
    *s = (schedule){ 0 };
    DDPM_TRY(respace_openai(full->T, spec, &list));
    const ddpm_status status = list.n > 1 ? schedule_respace(full, list.t, list.n, s)
        : ddpm_fail(DDPM_EINVAL, "respacing \"%s\": a chain of one step has no posterior variance in this code base; "
                    "use 2 or more steps", spec);
    step_list_free(&list);
    return status;
}

/* ---- ermongroup --------------------------------------------------------------- */

static ddpm_status check_steps(int T, int S)
{
    if (S >= 1 && S <= T) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%d sampling steps are impossible for a chain of %d; use 1 to %d", S, T, T);
}

ddpm_status respace_ermongroup_uniform(int T, int S, step_list *list)
{
    *list = (step_list){ 0 };
    DDPM_TRY(check_steps(T, S));
    return list_range(T, T / S, list);
}

static int quad_step(int T, int S, int k)
{
    const double root = linspace(sqrt(T * 0.8), S, k);
    return (int)(root * root);
}

ddpm_status respace_ermongroup_quad(int T, int S, step_list *list)
{
    *list = (step_list){ 0 };
    if (S < 1 || S > SCHEDULE_MAX_T) return check_steps(T, S);
    DDPM_TRY(list_new(S, list));
    for (int k = 0; k < S; k++) list->t[k] = quad_step(T, S, k);
    return DDPM_OK;
}

/* ---- diffusers ----------------------------------------------------------------- */

/* Element k, counted from the noisiest, of np.round(np.arange(T, 0, -T/S)) - 1:
 * numpy takes the stride from the difference of the first two elements. */
static int trailing_step(int T, int S, int k)
{
    const double delta = (T - (double)T / S) - T;
    return round_half_even(T + k * delta) - 1;
}

/* Step k of S, ascending. For some S rounding gives trailing an element S + 1 at
 * t = -1 in the original, which is left out. */
static int diffusers_step(int T, int S, spacing_kind kind, int k)
{
    if (kind == SPACING_LEADING) return k * (T / S);
    return kind == SPACING_LINSPACE ? round_half_even(linspace(T - 1, S, k)) : trailing_step(T, S, S - 1 - k);
}

ddpm_status respace_diffusers(int T, int S, spacing_kind kind, int offset, step_list *list)
{
    *list = (step_list){ 0 };
    DDPM_TRY(check_steps(T, S));
    if (kind > SPACING_TRAILING)
        return ddpm_fail(DDPM_EINVAL, "diffusers has no timestep spacing \"%s\"; use leading, linspace or trailing", spacing_name(kind));
    if (kind == SPACING_LEADING && (offset < 0 || (S - 1) * (T / S) + offset >= T))
        return ddpm_fail(DDPM_EINVAL, "steps_offset %d takes the last of %d leading steps beyond timestep %d", offset, S, T - 1);
    DDPM_TRY(list_new(S, list));
    for (int k = 0; k < S; k++) list->t[k] = diffusers_step(T, S, kind, k) + (kind == SPACING_LEADING ? offset : 0);
    return DDPM_OK;
}

void respace_diffusers_ddim_prev(int T, int S, const step_list *list, int *prev)
{
    for (int k = 0; k < list->n; k++) prev[k] = list->t[k] - T / S;
}

/* ---- exactly S steps -------------------------------------------------------------- */

static const char *const spacings[] = {
    [SPACING_LEADING] = "leading", [SPACING_LINSPACE] = "linspace", [SPACING_TRAILING] = "trailing",
    [SPACING_UNIFORM] = "uniform", [SPACING_QUAD] = "quad",         [SPACING_LOGSNR] = "logsnr",
};
enum { SPACINGS = sizeof spacings / sizeof spacings[0] };

ddpm_status spacing_find(const char *name, spacing_kind *kind)
{
    for (int i = 0; i < SPACINGS; i++)
        if (!strcmp(spacings[i], name)) {
            *kind = (spacing_kind)i;
            return DDPM_OK;
        }
    return ddpm_fail(DDPM_EINVAL, "timestep spacing \"%s\" is unknown; use leading, linspace, trailing, uniform, quad or logsnr", name);
}

const char *spacing_name(spacing_kind kind) { return spacings[kind]; }

/* Nearest ascending list of different steps in 0..T-1: first up, then down. */
static void make_distinct(int T, step_list *l)
{
    for (int k = 0; k < l->n; k++) {
        const int least = k ? l->t[k - 1] + 1 : 0;
        if (l->t[k] < least) l->t[k] = least;
    }
    for (int k = l->n - 1; k >= 0; k--) {
        const int most = k + 1 < l->n ? l->t[k + 1] - 1 : T - 1;
        if (l->t[k] > most) l->t[k] = most;
    }
}

/* log(alpha-bar / (1 - alpha-bar)); a chain that ends without signal stays finite. */
static double logsnr(const schedule *s, int i)
{
    const double bar = fmax(s->alphas_cumprod[i], 1e-20);
    return fix_log(bar) - fix_log(1 - bar);
}

/* The row whose log SNR is nearest to `want`; log SNR falls with i. */
static int nearest_logsnr(const schedule *s, double want)
{
    int low = 0, high = s->T - 1;
    while (high - low > 1) {
        const int middle = low + (high - low) / 2;
        if (logsnr(s, middle) > want) low = middle;
        else high = middle;
    }
    return logsnr(s, low) - want < want - logsnr(s, high) ? low : high;
}

static int exact_step(const schedule *full, int S, spacing_kind kind, int k)
{
    const int T = full->T;
    switch (kind) {
    case SPACING_LEADING:
    case SPACING_LINSPACE:
    case SPACING_TRAILING: return diffusers_step(T, S, kind, k);
    case SPACING_UNIFORM:  return (int)((int64_t)k * T / S);
    case SPACING_QUAD:     return quad_step(T, S, k);
    case SPACING_LOGSNR: {
        const double top = logsnr(full, 0), bottom = logsnr(full, T - 1);
        return nearest_logsnr(full, top + (bottom - top) * k / (S - 1));
    }
    }
    return 0;
}

ddpm_status respace_exact(const schedule *full, int S, spacing_kind kind, step_list *list)
{
    *list = (step_list){ 0 };
    DDPM_TRY(check_steps(full->T, S));
    DDPM_TRY(list_new(S, list));
    if (S == 1) {
        list->t[0] = full->T - 1;   /* the only place from which pure noise is a fair start */
        return DDPM_OK;
    }
    for (int k = 0; k < S; k++) list->t[k] = exact_step(full, S, kind, k);
    make_distinct(full->T, list);
    return DDPM_OK;
}
