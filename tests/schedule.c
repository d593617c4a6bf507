/* Schedules and lists of timesteps against the authors' tables, published
 * numbers and counting. */
#include "golden_file.h"

#include "diffusion/process.h"
#include "diffusion/respace.h"
#include "diffusion/schedule.h"

#include <math.h>

static void expect_near(const char *what, double got, double want, double tolerance)
{
    if (got == want || fabs(got - want) <= tolerance) return;
    fail_msg("%s: got %.17g, want %.17g, off by %.3g (allowed %.3g)", what, got, want, fabs(got - want), tolerance);
}

static void expect_relative(const char *what, double got, double want, double tolerance)
{
    expect_near(what, got, want, tolerance * fabs(want));
}

static schedule make(schedule_profile profile, schedule_kind kind, int T)
{
    const schedule_config c = schedule_config_of(profile, kind, T);
    schedule s;
    if (schedule_new(&c, &s) != DDPM_OK) fail_msg("%s", ddpm_last_error());
    return s;
}

static const double *table(const schedule *s, const char *name)
{
    const struct { const char *name; const double *values; } tables[] = {
        { "betas", s->betas }, { "alphas_cumprod", s->alphas_cumprod },
        { "alphas_cumprod_prev", s->alphas_cumprod_prev }, { "alphas_cumprod_next", s->alphas_cumprod_next },
        { "sqrt_alphas_cumprod", s->sqrt_alphas_cumprod },
        { "sqrt_one_minus_alphas_cumprod", s->sqrt_one_minus_alphas_cumprod },
        { "log_one_minus_alphas_cumprod", s->log_one_minus_alphas_cumprod },
        { "sqrt_recip_alphas_cumprod", s->sqrt_recip_alphas_cumprod },
        { "sqrt_recipm1_alphas_cumprod", s->sqrt_recipm1_alphas_cumprod },
        { "posterior_variance", s->posterior_variance },
        { "posterior_log_variance_clipped", s->posterior_log_variance_clipped },
        { "posterior_mean_coef1", s->posterior_mean_coef1 }, { "posterior_mean_coef2", s->posterior_mean_coef2 },
    };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (!strcmp(tables[i].name, name)) return tables[i].values;
    return NULL;
}

static const char *const TABLE_NAMES[] = {
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "alphas_cumprod_next", "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped",
    "posterior_mean_coef1", "posterior_mean_coef2",
};

/* Compares the tables the file has under `prefix`; returns how many. */
static int compare_tables(const golden_file *g, const char *prefix, const schedule *s, double tolerance)
{
    int compared = 0;
    for (size_t k = 0; k < sizeof TABLE_NAMES / sizeof TABLE_NAMES[0]; k++) {
        char name[128];
        golden want;
        snprintf(name, sizeof name, "%s/%s", prefix, TABLE_NAMES[k]);
        if (!golden_find(g, name, &want)) continue;
        assert_int_equal(want.len, s->T);
        for (int i = 0; i < s->T; i++) {
            char what[160];
            snprintf(what, sizeof what, "%s[%d]", name, i);
            expect_relative(what, table(s, TABLE_NAMES[k])[i], golden_at(&want, (size_t)i), tolerance);
        }
        compared++;
    }
    return compared;
}

static const struct { const char *prefix; schedule_profile profile; const char *kind; int T, tables; } CASES[] = {
    { "iddpm_linear_1000", PROFILE_OPENAI, "linear", 1000, 13 },
    { "iddpm_cosine_1000", PROFILE_OPENAI, "cosine", 1000, 13 },
    { "iddpm_linear_4000", PROFILE_OPENAI, "linear", 4000, 8 },
    { "iddpm_cosine_4000", PROFILE_OPENAI, "cosine", 4000, 8 },
    { "ho_linear_1000", PROFILE_HO, "linear", 1000, 3 },
    { "ho_quad_1000", PROFILE_HO, "quad", 1000, 3 },
    { "ho_warmup10_1000", PROFILE_HO, "warmup10", 1000, 3 },
    { "ho_warmup50_1000", PROFILE_HO, "warmup50", 1000, 3 },
    { "ho_const_1000", PROFILE_HO, "const", 1000, 3 },
    { "ho_jsd_1000", PROFILE_HO, "jsd", 1000, 3 },
    { "ddim_linear_1000_f32", PROFILE_ERMONGROUP, "linear", 1000, 1 },
    { "ddim_quad_1000_f32", PROFILE_ERMONGROUP, "quad", 1000, 1 },
    { "ddim_sigmoid_1000_f32", PROFILE_ERMONGROUP, "sigmoid", 1000, 1 },
    { "diffusers_linear_1000_f32", PROFILE_DIFFUSERS, "linear", 1000, 2 },
    { "diffusers_scaled_linear_1000_f32", PROFILE_DIFFUSERS, "scaled_linear", 1000, 2 },
    { "diffusers_squaredcos_cap_v2_1000_f32", PROFILE_DIFFUSERS, "squaredcos_cap_v2", 1000, 2 },
    { "diffusers_sigmoid_1000_f32", PROFILE_DIFFUSERS, "sigmoid", 1000, 2 },
};

static void test_golden_schedules(void **state)
{
    (void)state;
    golden_file g = golden_open("tests/golden/01_schedules/schedules.safetensors");
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        schedule_kind kind;
        assert_int_equal(schedule_kind_find(CASES[i].kind, &kind), DDPM_OK);
        schedule s = make(CASES[i].profile, kind, CASES[i].T);
        const double tolerance = s.width == SCHEDULE_F64 ? 1e-12 : 1e-6;
        assert_int_equal(compare_tables(&g, CASES[i].prefix, &s, tolerance), CASES[i].tables);
        schedule_free(&s);
    }
    golden_close(&g);
}

/* ermongroup's float32 betas and alpha-bar bit for bit, and the f64 betas behind them. */
static void test_ermongroup_bits(void **state)
{
    (void)state;
    const char *const kinds[] = { "linear", "quad", "sigmoid" };
    golden_file g = golden_open("tests/golden/01_schedules/schedules.safetensors");
    for (int k = 0; k < 3; k++) {
        schedule_kind kind;
        assert_int_equal(schedule_kind_find(kinds[k], &kind), DDPM_OK);
        schedule s = make(PROFILE_ERMONGROUP, kind, 1000);
        schedule exact = make(PROFILE_HO, kind, 1000);
        const golden alpha = golden_tensor(&g, "ddim_%s_1000_f32/alpha", kinds[k]);
        const golden betas = golden_tensor(&g, "ddim_%s_1000_f32/betas", kinds[k]);
        const golden betas64 = golden_tensor(&g, "ddim_%s_1000/betas", kinds[k]);
        assert_true(golden_at(&alpha, 0) == 1);
        for (size_t i = 0; i < 1000; i++) {
            expect_relative("f64 beta", exact.betas[i], golden_at(&betas64, i), 1e-12);
            expect_near("f32 beta", s.betas[i], golden_at(&betas, i), 0);
            expect_near("alpha", s.alphas_cumprod[i], golden_at(&alpha, i + 1), 0);
        }
        schedule_free(&s);
        schedule_free(&exact);
    }
    golden_close(&g);
}

/* diffusers: alpha-bar is bit-exact as a function of the betas. */
static void test_diffusers_bits(void **state)
{
    (void)state;
    golden_file g = golden_open("tests/golden/01_schedules/schedules.safetensors");
    const golden betas = golden_tensor(&g, "diffusers_linear_1000_f32/betas");
    const golden alpha = golden_tensor(&g, "diffusers_linear_1000_f32/alphas_cumprod");
    double custom[1000];
    for (size_t i = 0; i < 1000; i++) custom[i] = golden_at(&betas, i);
    schedule_config c = schedule_config_of(PROFILE_DIFFUSERS, SCHEDULE_CUSTOM, 1000);
    c.custom = custom;
    schedule s;
    assert_int_equal(schedule_new(&c, &s), DDPM_OK);
    for (size_t i = 0; i < 1000; i++) expect_near("alphas_cumprod", s.alphas_cumprod[i], golden_at(&alpha, i), 0);
    schedule_free(&s);
    golden_close(&g);
}

/* Numbers computed by hand from the formulas, to the digits printed. */
static void test_numbers(void **state)
{
    (void)state;
    schedule linear = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000), cosine = make(PROFILE_OPENAI, SCHEDULE_COSINE, 1000);
    schedule linear4000 = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 4000), linear100 = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 100);
    schedule linear250 = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 250), cosine4000 = make(PROFILE_OPENAI, SCHEDULE_COSINE, 4000);
    schedule cosine100 = make(PROFILE_OPENAI, SCHEDULE_COSINE, 100), quad = make(PROFILE_HO, SCHEDULE_QUAD, 1000);
    schedule warmup = make(PROFILE_HO, SCHEDULE_WARMUP10, 1000), jsd = make(PROFILE_HO, SCHEDULE_JSD, 1000);
    schedule sigmoid = make(PROFILE_HO, SCHEDULE_SIGMOID, 1000), floored = make(PROFILE_DIFFUSERS, SCHEDULE_LINEAR, 1000);
    const struct { double got, want, tolerance; } rows[] = {
        { linear.betas[1], 1.199199199e-4, 1e-9 }, { linear.betas[998], 0.01998008008, 1e-9 },
        { linear.alphas_cumprod[0], 0.9999, 1e-9 }, { linear.alphas_cumprod[500], 0.07779665837, 1e-9 },
        { linear.alphas_cumprod[999], 4.035829765e-5, 1e-9 },
        { linear4000.betas[0], 2.5e-5, 1e-9 }, { linear4000.betas[3999], 0.005, 1e-9 },
        { linear4000.alphas_cumprod[3999], 4.246652276e-5, 1e-9 },
        { linear100.betas[0], 1e-3, 1e-9 }, { linear100.betas[99], 0.2, 1e-9 }, { linear100.alphas_cumprod[99], 2.039008976e-5, 1e-9 },
        { linear250.alphas_cumprod[249], 3.264409135e-5, 1e-9 },
        { cosine.betas[0], 4.128422482e-5, 1e-9 }, { cosine.betas[1], 4.614175274e-5, 1e-9 },
        { cosine.betas[998], 0.7499993929, 1e-9 }, { cosine.betas[999], 0.999, 1e-9 },
        { cosine.alphas_cumprod[0], 0.9999587158, 1e-9 }, { cosine.alphas_cumprod[500], 0.4922851724, 1e-9 },
        { cosine.alphas_cumprod[999], 2.428766907e-9, 1e-9 },
        { cosine4000.betas[0], 9.865818814e-6, 1e-9 }, { cosine4000.betas[3998], 0.7499999621, 1e-9 },
        { cosine4000.alphas_cumprod[2000], 0.4934539797, 1e-9 }, { cosine4000.alphas_cumprod[3999], 1.517980469e-10, 1e-9 },
        { cosine100.betas[0], 6.312815983e-4, 1e-9 }, { cosine100.alphas_cumprod[99], 2.428572279e-7, 1e-9 },
        { quad.betas[1], 1.026483644e-4, 1e-9 }, { quad.betas[998], 0.01996280852, 1e-9 },
        { quad.alphas_cumprod[500], 0.3312745795, 1e-9 }, { quad.alphas_cumprod[999], 7.334124596e-4, 1e-9 },
        { warmup.betas[1], 3.01010101e-4, 1e-9 }, { warmup.alphas_cumprod[999], 4.613686682e-9, 1e-9 },
        { jsd.betas[0], 0.001, 1e-9 }, { jsd.betas[1], 1.001001e-3, 1e-9 }, { jsd.betas[998], 0.5, 1e-9 }, { jsd.betas[999], 1, 0 },
        { jsd.alphas_cumprod[999], 0, 0 },
        { sigmoid.betas[0], 1.492052008e-4, 1e-9 }, { sigmoid.betas[999], 0.0199507948, 1e-9 },
        { sigmoid.alphas_cumprod[999], 3.968181991e-5, 1e-9 },
        { linear.posterior_variance[1], 5.4531876613e-5, 1e-10 }, { linear.posterior_variance[2], 8.5489115231e-5, 1e-10 },
        { linear.posterior_variance[999], 0.01999998352656, 1e-12 },
        { linear.posterior_log_variance_clipped[0], -9.81672513529567, 1e-13 },
        { floored.posterior_log_variance_clipped[0], -46.0517018598809, 1e-13 },
        { linear.log_betas[1], -9.02868637194934, 1e-13 }, { linear.log_betas[999], -3.91202300542815, 1e-13 },
        { linear.posterior_mean_coef1[500], 0.003058057075629619, 1e-12 }, { linear.posterior_mean_coef2[500], 0.9941043507567255, 1e-12 },
        { linear.posterior_mean_coef1[0], 1, 1e-12 }, { linear.posterior_mean_coef2[0], 0, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char what[32];
        snprintf(what, sizeof what, "number %zu", i);
        expect_relative(what, rows[i].got, rows[i].want, rows[i].tolerance);
    }
    schedule *const all[] = { &linear, &cosine, &linear4000, &linear100, &linear250, &cosine4000, &cosine100, &quad, &warmup, &jsd, &sigmoid, &floored };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) schedule_free(all[i]);
}

static void test_schedule_errors(void **state)
{
    (void)state;
    double betas[2] = { 0.1, 0 };
    schedule_config bad[] = {
        schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, 20),
        schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, 5),
        schedule_config_of(PROFILE_OPENAI, SCHEDULE_COSINE, 1),
        schedule_config_of(PROFILE_HO, SCHEDULE_LINEAR, 0),
        schedule_config_of(PROFILE_HO, SCHEDULE_LINEAR, -3),
        schedule_config_of(PROFILE_HO, SCHEDULE_LINEAR, SCHEDULE_MAX_T + 1),
        schedule_config_of(PROFILE_HO, SCHEDULE_CUSTOM, 2),
        schedule_config_of(PROFILE_HO, SCHEDULE_CUSTOM, 2),
        schedule_config_of(PROFILE_HO, SCHEDULE_CONST, 10),
        schedule_config_of(PROFILE_HO, SCHEDULE_CONST, 10),
        schedule_config_of(PROFILE_HO, SCHEDULE_CONST, 10),
        schedule_config_of(PROFILE_HO, SCHEDULE_CONST, 10),
    };
    bad[7].custom = betas;
    bad[8].beta_end = 1.5;
    bad[9].beta_end = (double)NAN;
    bad[10].beta_end = 1e-30;
    bad[11].beta_end = -0.1;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        schedule s;
        assert_int_equal(schedule_new(&bad[i], &s), DDPM_EINVAL);
        assert_true(strlen(ddpm_last_error()) > 20);
        assert_null(s.betas);
        schedule_free(&s);
    }
    schedule_kind kind;
    assert_int_equal(schedule_kind_find("lineal", &kind), DDPM_EINVAL);
    schedule s = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 21);
    schedule_free(&s);
}

/* The cases of 02_respacing/respacing.json. */
static const struct { int T; schedule_kind kind; const char *spec; } SPACES[] = {
    { 1000, SCHEDULE_LINEAR, "1000" }, { 1000, SCHEDULE_LINEAR, "250" }, { 1000, SCHEDULE_LINEAR, "100" },
    { 1000, SCHEDULE_LINEAR, "ddim50" }, { 1000, SCHEDULE_LINEAR, "ddim25" }, { 1000, SCHEDULE_LINEAR, "ddim100" },
    { 1000, SCHEDULE_COSINE, "10,15,20" }, { 1000, SCHEDULE_COSINE, "25,25,25,25" }, { 300, SCHEDULE_LINEAR, "10,15,20" },
    { 100, SCHEDULE_COSINE, "7,13" }, { 1000, SCHEDULE_LINEAR, "90,60,60,20,20" }, { 1000, SCHEDULE_LINEAR, "5,1,9" },
    { 4000, SCHEDULE_LINEAR, "250" }, { 4000, SCHEDULE_COSINE, "ddim50" }, { 4000, SCHEDULE_COSINE, "ddim25" },
    { 4000, SCHEDULE_LINEAR, "100" }, { 4000, SCHEDULE_COSINE, "10,15,20" },
};

static void expect_list(const char *what, const step_list *list, const golden *want, bool descending)
{
    if ((size_t)list->n != want->len) fail_msg("%s: %d steps, want %zu", what, list->n, want->len);
    for (size_t k = 0; k < want->len; k++)
        expect_near(what, list->t[descending ? want->len - 1 - k : k], golden_at(want, k), 0);
}

static void test_golden_openai(void **state)
{
    (void)state;
    golden_file g = golden_open("tests/golden/02_respacing/respacing.safetensors");
    for (size_t i = 0; i < sizeof SPACES / sizeof SPACES[0]; i++) {
        char prefix[32];
        schedule full = make(PROFILE_OPENAI, SPACES[i].kind, SPACES[i].T), s;
        snprintf(prefix, sizeof prefix, "space/%zu", i);
        assert_int_equal(schedule_respace_openai(&full, SPACES[i].spec, &s), DDPM_OK);
        const golden map = golden_tensor(&g, "%s/timestep_map", prefix);
        const step_list list = { s.T, s.timestep_map };
        expect_list(prefix, &list, &map, false);
        assert_int_equal(s.original_T, SPACES[i].T);
        assert_int_equal(compare_tables(&g, prefix, &s, 1e-12), 3);
        schedule_free(&s);
        schedule_free(&full);
    }
    golden_close(&g);
}

static void test_openai_numbers(void **state)
{
    (void)state;
    const int count25[] = { 0, 42, 83, 125, 166, 208, 250, 291, 333, 375, 416, 458, 500, 541, 583, 624, 666, 708, 749, 791, 832, 874, 916, 957, 999 };
    step_list list;
    assert_int_equal(respace_openai(1000, "25", &list), DDPM_OK);
    assert_int_equal(list.n, 25);
    assert_memory_equal(list.t, count25, sizeof count25);
    step_list_free(&list);
    assert_int_equal(respace_openai(7, "", &list), DDPM_OK);
    assert_int_equal(list.n, 7);
    assert_int_equal(list.t[6], 6);
    step_list_free(&list);
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000), s;
    assert_int_equal(schedule_respace_openai(&full, "ddim50", &s), DDPM_OK);
    expect_relative("beta 0", s.betas[0], 1e-4, 1e-12);
    expect_relative("beta 1", s.betas[1], 0.006165187946595374, 1e-12);
    expect_relative("beta 49", s.betas[49], 0.3246144475291255, 1e-12);
    schedule_free(&s);
    schedule_free(&full);
    full = make(PROFILE_OPENAI, SCHEDULE_COSINE, 4000);
    assert_int_equal(schedule_respace_openai(&full, "100", &s), DDPM_OK);
    expect_relative("beta 98", s.betas[98], 0.7560735189790166, 1e-12);
    expect_relative("beta 99", s.betas[99], 0.9999993749494377, 1e-12);
    schedule_free(&s);
    schedule_free(&full);
}

static void test_openai_errors(void **state)
{
    (void)state;
    const struct { int T; const char *spec; } bad[] = {
        { 1000, "ddim300" }, { 100, "60,60" }, { 1000, "1" }, { 100, "101" },
        { 100, "ddim" }, { 100, "ddim5x" }, { 100, "5,,5" }, { 100, "5," }, { 100, "x" }, { 100, "5 5" }, { 100, "0" },
        { 100, "-5" }, { 100, "99999999999999999999" }, { 100, "ddim0" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, bad[i].T), s;
        if (schedule_respace_openai(&full, bad[i].spec, &s) != DDPM_EINVAL) fail_msg("\"%s\" was accepted", bad[i].spec);
        assert_non_null(strstr(ddpm_last_error(), bad[i].spec));
        assert_null(s.betas);
        schedule_free(&full);
    }
}

/* The count of whole strides is a known property of ddimN at T = 1000: 62 values. */
static void test_openai_ddim_counts(void **state)
{
    (void)state;
    int possible = 0;
    for (int n = 1; n <= 1000; n++) {
        char spec[16];
        step_list list;
        snprintf(spec, sizeof spec, "ddim%d", n);
        if (respace_openai(1000, spec, &list) != DDPM_OK) continue;
        assert_int_equal(list.n, n);
        possible++;
        step_list_free(&list);
    }
    assert_int_equal(possible, 62);
}

static void test_golden_ermongroup(void **state)
{
    (void)state;
    const int steps[] = { 10, 20, 50, 100, 30, 300, 1000 };
    golden_file g = golden_open("tests/golden/02_respacing/respacing.safetensors");
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        const golden uniform = golden_tensor(&g, "ddim_seq/T1000_S%d_uniform", steps[i]);
        const golden quad = golden_tensor(&g, "ddim_seq/T1000_S%d_quad", steps[i]);
        step_list list;
        assert_int_equal(respace_ermongroup_uniform(1000, steps[i], &list), DDPM_OK);
        expect_list("uniform", &list, &uniform, false);
        step_list_free(&list);
        assert_int_equal(respace_ermongroup_quad(1000, steps[i], &list), DDPM_OK);
        expect_list("quad", &list, &quad, false);
        step_list_free(&list);
    }
    step_list list;
    assert_int_equal(respace_ermongroup_uniform(1000, 0, &list), DDPM_EINVAL);
    assert_int_equal(respace_ermongroup_uniform(1000, 1001, &list), DDPM_EINVAL);
    assert_int_equal(respace_ermongroup_quad(1000, 0, &list), DDPM_EINVAL);
    golden_close(&g);
}

static void test_golden_diffusers(void **state)
{
    (void)state;
    const struct { int S, offset; } runs[] = { { 10, 0 }, { 10, 1 }, { 20, 0 }, { 20, 1 }, { 50, 0 }, { 50, 1 }, { 100, 0 }, { 100, 1 }, { 7, 0 }, { 1000, 0 } };
    const spacing_kind kinds[] = { SPACING_LEADING, SPACING_LINSPACE, SPACING_TRAILING };
    golden_file g = golden_open("tests/golden/02_respacing/respacing.safetensors");
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
        for (int k = 0; k < 3; k++) {
            const golden want = golden_tensor(&g, "diffusers_ts/T1000_S%d_off%d_%s", runs[i].S, runs[i].offset, spacing_name(kinds[k]));
            step_list list;
            assert_int_equal(respace_diffusers(1000, runs[i].S, kinds[k], runs[i].offset, &list), DDPM_OK);
            expect_list(spacing_name(kinds[k]), &list, &want, true);
            step_list_free(&list);
        }
    step_list list;
    assert_int_equal(respace_diffusers(1000, 1000, SPACING_LEADING, 1, &list), DDPM_EINVAL);   /* t = 1000 does not exist */
    assert_int_equal(respace_diffusers(1000, 10, SPACING_QUAD, 0, &list), DDPM_EINVAL);
    assert_int_equal(respace_diffusers(1000, 61, SPACING_TRAILING, 0, &list), DDPM_OK);        /* numpy's arange has 62 */
    assert_int_equal(list.n, 61);
    assert_int_equal(list.t[60], 999);
    step_list_free(&list);
    golden_close(&g);
}

static void test_golden_model_timesteps(void **state)
{
    (void)state;
    golden_file g = golden_open("tests/golden/02_respacing/respacing.safetensors");
    for (size_t i = 0; i < sizeof SPACES / sizeof SPACES[0]; i++) {
        schedule full = make(PROFILE_OPENAI, SPACES[i].kind, SPACES[i].T), s;
        assert_int_equal(schedule_respace_openai(&full, SPACES[i].spec, &s), DDPM_OK);
        const golden want = golden_tensor(&g, "space/%zu/model_timesteps_rescaled", i);
        const process p = { .s = &s, .rescale_timesteps = true }, raw = { .s = &s };
        for (int k = 0; k < s.T; k++) {
            expect_near("rescaled t", (double)process_model_t(&p, k), golden_at(&want, (size_t)k), 0);
            expect_near("t", (double)process_model_t(&raw, k), s.timestep_map[k], 0);
        }
        schedule_free(&s);
        schedule_free(&full);
    }
    golden_close(&g);
}

static const spacing_kind OURS[] = { SPACING_LEADING, SPACING_LINSPACE, SPACING_TRAILING, SPACING_UNIFORM, SPACING_QUAD, SPACING_LOGSNR };

static void expect_exact(const schedule *full, int S, spacing_kind kind)
{
    step_list list;
    assert_int_equal(respace_exact(full, S, kind, &list), DDPM_OK);
    if (list.n != S) fail_msg("%s: %d steps instead of %d of %d", spacing_name(kind), list.n, S, full->T);
    for (int k = 0; k < S; k++) {
        const bool ascending = k == 0 || list.t[k] > list.t[k - 1];
        if (!ascending || list.t[k] < 0 || list.t[k] >= full->T)
            fail_msg("%s: S = %d, T = %d: step %d is %d", spacing_name(kind), S, full->T, k, list.t[k]);
    }
    step_list_free(&list);
}

static void test_exact_counts(void **state)
{
    (void)state;
    const int lengths[] = { 2, 3, 7, 21, 50, 97, 250 };
    for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++)
        for (int cosine = 0; cosine < 2; cosine++) {
            schedule full = make(PROFILE_HO, cosine ? SCHEDULE_COSINE : SCHEDULE_JSD, lengths[n]);
            for (size_t k = 0; k < sizeof OURS / sizeof OURS[0]; k++)
                for (int S = 1; S <= full.T; S++) expect_exact(&full, S, OURS[k]);
            schedule_free(&full);
        }
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    for (size_t k = 0; k < sizeof OURS / sizeof OURS[0]; k++)
        for (int S = 1; S <= 1000; S += S < 120 ? 1 : 37) expect_exact(&full, S, OURS[k]);
    step_list list;
    assert_int_equal(respace_exact(&full, 0, SPACING_UNIFORM, &list), DDPM_EINVAL);
    assert_int_equal(respace_exact(&full, 1001, SPACING_UNIFORM, &list), DDPM_EINVAL);
    assert_int_equal(respace_exact(&full, 1, SPACING_LEADING, &list), DDPM_OK);
    assert_int_equal(list.t[0], 999);
    step_list_free(&list);
    schedule_free(&full);
}

/* Where the other code bases' rules give S different steps, ours give the same ones. */
static void expect_same_if_exact(const schedule *full, int S, spacing_kind kind, step_list *theirs)
{
    bool exact = theirs->n == S;
    for (int k = 1; k < theirs->n; k++) exact = exact && theirs->t[k] > theirs->t[k - 1];
    step_list ours;
    assert_int_equal(respace_exact(full, S, kind, &ours), DDPM_OK);
    for (int k = 0; exact && k < S; k++)
        if (ours.t[k] != theirs->t[k]) fail_msg("%s: S = %d, step %d: %d, theirs %d", spacing_name(kind), S, k, ours.t[k], theirs->t[k]);
    step_list_free(&ours);
    step_list_free(theirs);
}

static void test_exact_equals_originals(void **state)
{
    (void)state;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    for (int S = 2; S <= 1000; S++) {
        step_list theirs;
        assert_int_equal(respace_ermongroup_uniform(1000, S, &theirs), DDPM_OK);
        expect_same_if_exact(&full, S, SPACING_UNIFORM, &theirs);
        assert_int_equal(respace_ermongroup_quad(1000, S, &theirs), DDPM_OK);
        expect_same_if_exact(&full, S, SPACING_QUAD, &theirs);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(respace_diffusers(1000, S, OURS[k], 0, &theirs), DDPM_OK);
            expect_same_if_exact(&full, S, OURS[k], &theirs);
        }
    }
    schedule_free(&full);
}

/* log SNR of the steps is even: no gap differs from the mean gap by more than one step of the chain. */
static void test_logsnr_even(void **state)
{
    (void)state;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    step_list list;
    assert_int_equal(respace_exact(&full, 12, SPACING_LOGSNR, &list), DDPM_OK);
    assert_int_equal(list.t[0], 0);
    assert_int_equal(list.t[11], 999);
    const double top = log(1 / full.alphas_cumprod[0] - 1), bottom = log(1 / full.alphas_cumprod[999] - 1);
    for (int k = 1; k < 11; k++) {
        const double want = top + (bottom - top) * k / 11, here = log(1 / full.alphas_cumprod[list.t[k]] - 1);
        for (int side = -1; side <= 1; side += 2) {
            const double other = log(1 / full.alphas_cumprod[list.t[k] + side] - 1);
            assert_true(fabs(here - want) <= fabs(other - want));
        }
    }
    step_list_free(&list);
    schedule_free(&full);
}

static void test_respaced_rows(void **state)
{
    (void)state;
    schedule full = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000), s, again;
    const int one[] = { 999 }, twice[] = { 3, 3 }, outside[] = { 1000 }, pair[] = { 499, 999 }, last[] = { 1 };
    assert_int_equal(schedule_respace(&full, one, 1, &s), DDPM_OK);
    expect_relative("single row: beta is 1 - alpha-bar", s.betas[0], 1 - full.alphas_cumprod[999], 1e-12);
    expect_relative("log variance", s.posterior_log_variance_clipped[0], log(1e-20), 1e-12);
    schedule_free(&s);
    assert_int_equal(schedule_respace(&full, twice, 2, &s), DDPM_EINVAL);
    assert_int_equal(schedule_respace(&full, outside, 1, &s), DDPM_EINVAL);
    assert_int_equal(schedule_respace(&full, one, 0, &s), DDPM_EINVAL);
    assert_int_equal(schedule_respace(&full, pair, 2, &s), DDPM_OK);
    assert_int_equal(schedule_respace(&s, last, 1, &again), DDPM_OK);      /* maps compose */
    assert_int_equal(again.timestep_map[0], 999);
    assert_int_equal(again.original_T, 1000);
    schedule_free(&again);
    schedule_free(&s);
    assert_int_equal(schedule_from_steps(&full, twice, NULL, 1, 2, &s), DDPM_OK);
    expect_near("a repeated step has no noise", s.betas[1], 0, 0);
    expect_near("and keeps x", s.posterior_mean_coef2[1], 1, 1e-12);
    schedule_free(&s);
    schedule_free(&full);
}

/* The f32 code bases divide and subtract in float: beta of a short step has their roundings. */
static void test_f32_rows(void **state)
{
    (void)state;
    schedule full = make(PROFILE_ERMONGROUP, SCHEDULE_LINEAR, 1000), s;
    const int list[] = { 0, 1, 2, 3, 4, 5, 500 };
    assert_int_equal(schedule_from_steps(&full, list, NULL, 1, 7, &s), DDPM_OK);
    for (int k = 1; k < 7; k++) {
        const float at = (float)full.alphas_cumprod[list[k]], before = (float)full.alphas_cumprod[list[k - 1]];
        const float ratio = at / before, beta = 1 - ratio;
        expect_near("beta", s.betas[k], (double)beta, 0);
        expect_near("alpha-bar", s.alphas_cumprod[k], (double)at, 0);
    }
    schedule_free(&s);
    assert_int_equal(schedule_respace(&full, list, 7, &s), DDPM_OK);      /* alpha-bar kept, not accumulated again */
    expect_near("alpha-bar", s.alphas_cumprod[6], full.alphas_cumprod[500], 0);
    schedule_free(&s);
    schedule_free(&full);
}

/* diffusers, whose float square roots are not the nearest ones, but for 1 - ratio
 * of neighbours each off by some 6e-8 of 1; in double the shifted and scaled
 * square roots themselves. */
static void test_zero_terminal_snr(void **state)
{
    (void)state;
    const char *const names[] = { "linear", "scaled_linear", "squaredcos_cap_v2" };
    golden_file g = golden_open("tests/golden_solvers/diffusers.safetensors");
    for (int k = 0; k < 3; k++) {
        schedule_kind kind;
        char prefix[48];
        schedule s;
        snprintf(prefix, sizeof prefix, "zero_snr/%s", names[k]);
        assert_int_equal(schedule_kind_find(names[k], &kind), DDPM_OK);
        schedule_config c = schedule_config_of(PROFILE_DIFFUSERS, kind, 200);
        c.zero_terminal_snr = true;
        assert_int_equal(schedule_new(&c, &s), DDPM_OK);
        const golden betas = golden_tensor(&g, "%s/betas", prefix), bars = golden_tensor(&g, "%s/alphas_cumprod", prefix);
        for (size_t i = 0; i < 200; i++) {
            expect_near("beta", s.betas[i], golden_at(&betas, i), 5e-6);
            expect_near("alpha-bar", s.alphas_cumprod[i], golden_at(&bars, i), 1e-6);
        }
        schedule_free(&s);
    }
    golden_close(&g);
    schedule plain = make(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000), s;
    schedule_config c = schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    c.zero_terminal_snr = true;
    assert_int_equal(schedule_new(&c, &s), DDPM_OK);
    const double first = plain.sqrt_alphas_cumprod[0], last = plain.sqrt_alphas_cumprod[999];
    for (int i = 0; i < 1000; i++)
        expect_near("sqrt(alpha-bar)", s.sqrt_alphas_cumprod[i], (plain.sqrt_alphas_cumprod[i] - last) * first / (first - last), 1e-12);
    assert_true(s.alphas_cumprod[999] <= 0 && s.betas[999] >= 1);
    assert_int_equal(process_check(&(process){ .s = &s, .mean = MEAN_EPSILON }), DDPM_EINVAL);
    assert_int_equal(process_check(&(process){ .s = &s, .mean = MEAN_V }), DDPM_OK);
    schedule_free(&s);
    schedule_free(&plain);
    c = schedule_config_of(PROFILE_HO, SCHEDULE_JSD, 50);
    c.zero_terminal_snr = true;
    assert_int_equal(schedule_new(&c, &s), DDPM_EINVAL);      /* it ends there already */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_schedules), cmocka_unit_test(test_ermongroup_bits),
        cmocka_unit_test(test_diffusers_bits), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_schedule_errors), cmocka_unit_test(test_golden_openai),
        cmocka_unit_test(test_openai_numbers), cmocka_unit_test(test_openai_errors),
        cmocka_unit_test(test_openai_ddim_counts), cmocka_unit_test(test_golden_ermongroup),
        cmocka_unit_test(test_golden_diffusers), cmocka_unit_test(test_golden_model_timesteps),
        cmocka_unit_test(test_exact_counts), cmocka_unit_test(test_exact_equals_originals),
        cmocka_unit_test(test_logsnr_even), cmocka_unit_test(test_respaced_rows), cmocka_unit_test(test_f32_rows),
        cmocka_unit_test(test_zero_terminal_snr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
