/* Compatibility profiles, from settings to the steps that are walked: the authors'
 * trajectories through sampling_new alone, their published lists and their
 * errors. The network's part of a trajectory is fed from the file. */
#include "golden_file.h"

#include "api/sampling.h"

#include <math.h>

static void check(ddpm_status status)
{
    if (status != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

typedef struct { settings model, request; sampling how; } fixture;

static ddpm_status try_make(fixture *f, const char *model, const char *request)
{
    settings_defaults(&f->model);
    settings_defaults(&f->request);
    check(settings_set_pairs(&f->model, "image_size=8", ORIGIN_CHECKPOINT));
    check(settings_set_pairs(&f->model, model, ORIGIN_CHECKPOINT));
    check(settings_set_pairs(&f->request, request, ORIGIN_COMMAND_LINE));
    check(settings_resolve(&f->model));
    return sampling_new(&f->model, &f->request, &f->how);
}

static fixture *make(const char *model, const char *request)
{
    fixture *f = malloc(sizeof *f);
    assert_non_null(f);
    check(try_make(f, model, request));
    return f;
}

static void unmake(fixture *f)
{
    sampling_free(&f->how);
    free(f);
}

/* --- trajectories --------------------------------------------------------------------- */

/* output: the file has what the network said; else it is what leads to the file's x_0. */
typedef struct { golden sample, xstart, noise, output; bool has_noise, has_output; const double *bar; const fixture *f; int step; double worst, worst_x0, peak; } walk;

static ddpm_status denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    walk *w = ctx;
    const size_t len = w->sample.len / w->sample.shape[0], at = (size_t)w->step * len;
    const double bar = w->bar[w->f->how.steps.timestep_map[w->f->how.steps.T - 1 - w->step]];
    const bool x0 = w->f->how.p.mean == MEAN_START_X;
    (void)n; (void)t; (void)y;
    for (size_t i = 0; i < len; i++) {
        const double want = golden_at(&w->xstart, at + i);
        out[i] = w->has_output ? (float)golden_at(&w->output, at + i) : x0 ? (float)want : (float)(((double)x[i] - sqrt(bar) * want) / sqrt(1 - bar));
    }
    return DDPM_OK;
}

static void give_noise(void *ctx, int step, int n, float *z)
{
    const walk *w = ctx;
    const size_t len = w->sample.len / w->sample.shape[0];
    (void)n;
    assert_true(w->has_noise && (size_t)step < w->noise.shape[0]);
    for (size_t i = 0; i < len; i++) z[i] = (float)golden_at(&w->noise, (size_t)step * len + i);
}

static void observe(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    walk *w = ctx;
    const size_t len = w->sample.len / w->sample.shape[0], at = (size_t)step * len;
    (void)t;
    for (size_t i = 0; i < len; i++) {
        w->worst = fmax(w->worst, fabs((double)x[i] - golden_at(&w->sample, at + i)));
        w->worst_x0 = fmax(w->worst_x0, fabs((double)pred_xstart[i] - golden_at(&w->xstart, at + i)));
        w->peak = fmax(w->peak, fabs(golden_at(&w->sample, at + i)));
    }
    w->step++;
}

/* alpha-bar of the linear schedule of T = 1000, as OpenAI or (single) ermongroup hold it. */
static void linear_bars(bool single, double bar[1000])
{
    double product = 1;
    for (int i = 0; i < 1000; i++) {
        const double beta = 1e-4 + i * ((0.02 - 1e-4) / 999), kept = single ? (double)(1 - (float)beta) : 1 - beta;
        product *= kept;
        bar[i] = single ? (double)(float)product : product;
    }
}

/* model: how it was trained; profile: a profile and what diffusers' scheduler says beside it; request: the rest. */
typedef struct { const char *file, *name, *list, *model, *profile, *request; } trajectory;
static const trajectory trajectories[] = {
    { "iddpm_ddpm", "a_small_clip", "timestep_map", "variance=small rescale_timesteps=false", "compat=openai", "steps=10" },
    { "iddpm_ddpm", "a_large_clip", "timestep_map", "variance=large rescale_timesteps=false", "compat=openai", "sampler=ddpm steps=10" },
    { "iddpm_ddpm", "a_large_noclip", "timestep_map", "variance=large rescale_timesteps=false", "compat=openai", "clip=none steps=10" },
    { "iddpm_ddpm", "a_large_noclip", "timestep_map", "variance=large", "compat=openai", "clip_denoised=false timestep_respacing=10" },
    { "iddpm_ddpm", "a_xstart_small_clip", "timestep_map", "variance=small prediction=x0", "compat=openai", "spacing=openai:2,3,5" },
    { "iddpm_ddim", "a_eta0_clip", "timestep_map", "", "compat=openai", "sampler=ddim steps=10" },
    { "iddpm_ddim", "a_eta0_clip", "timestep_map", "", "compat=openai", "use_ddim=true timestep_respacing=ddim10" },
    { "iddpm_ddim", "a_eta0_noclip", "timestep_map", "", "compat=openai", "sampler=ddim steps=10 clip=none" },
    { "iddpm_ddim", "a_eta0.5_clip", "timestep_map", "", "compat=openai", "sampler=ddim steps=10 eta=0.5" },
    { "iddpm_ddim", "a_eta1_clip", "timestep_map", "", "compat=openai", "sampler=ddim steps=10 eta=1" },
    { "ermongroup", "gen_uniform_eta0", "seq", "", "compat=ermongroup", "steps=10" },
    { "ermongroup", "gen_uniform_eta1", "seq", "", "compat=ermongroup", "steps=10 eta=1" },
    { "ermongroup", "gen_quad_eta0", "seq", "", "compat=ermongroup", "steps=10 spacing=quad" },
    { "ermongroup", "gen_quad_eta0.5", "seq", "", "compat=ermongroup", "steps=8 spacing=quad eta=0.5" },
    { "ermongroup", "ddpm_noisy_uniform", "seq", "", "compat=ermongroup", "steps=10 eta=1 sigma_hat=true" },
    { "ermongroup", "ddpm_noisy_uniform", "seq", "variance=small", "compat=ermongroup", "steps=10 sampler=ddpm" },
    { "diffusers", "ddpm_small_leading", "timesteps", "variance=small", "compat=diffusers", "steps=10" },
    { "diffusers", "ddpm_large_leading", "timesteps", "variance=large", "compat=diffusers", "steps=10 sampler=ddpm" },
    { "diffusers", "ddpm_large_noclip_trailing", "timesteps", "variance=large", "compat=diffusers sampler=ddpm clip=none spacing=trailing", "steps=8" },
    { "diffusers", "ddim_eta0_leading", "timesteps", "", "compat=diffusers sampler=ddim", "steps=10" },
    { "diffusers", "ddim_eta0_leading_clippedeps", "timesteps", "", "compat=diffusers sampler=ddim", "steps=10 clip=rederive" },
    { "diffusers", "ddim_eta1_linspace", "timesteps", "", "compat=diffusers sampler=ddim spacing=linspace", "steps=10 eta=1 sampler=ddim" },
    { "diffusers", "ddim_eta0.5_trailing_alpha0", "timesteps", "", "compat=diffusers sampler=ddim spacing=trailing set_alpha_to_one=false clip=none", "steps=10 eta=0.5" },
    { "diffusers", "ddim_eta0_offset1", "timesteps", "", "compat=diffusers sampler=ddim steps_offset=1 set_alpha_to_one=false clip=none", "steps=10" },
};

static void compare_list(const fixture *f, const golden *list)
{
    const schedule *s = &f->how.steps;
    const bool down = list->len > 1 && golden_at(list, 0) > golden_at(list, 1);
    assert_int_equal(s->T, list->len);
    for (int i = 0; i < s->T; i++) assert_int_equal(s->timestep_map[i], (int)golden_at(list, (size_t)(down ? s->T - 1 - i : i)));
}

static void run_trajectory(const trajectory *t, fixture *f)
{
    char path[128];
    double bar[1000];
    snprintf(path, sizeof path, "tests/golden/07_samplers/%s.safetensors", t->file);
    golden_file g = golden_open(path);
    const golden list = golden_tensor(&g, "%s/%s", t->name, t->list), start = golden_tensor(&g, "%s/xT", t->name);
    walk w = { .sample = golden_tensor(&g, "%s/sample", t->name), .xstart = golden_tensor(&g, "%s/pred_xstart", t->name), .bar = bar, .f = f };
    char name[128];
    snprintf(name, sizeof name, "%s/noise", t->name);
    w.has_noise = golden_find(&g, name, &w.noise);
    snprintf(name, sizeof name, "%s/model_output", t->name);
    w.has_output = golden_find(&g, name, &w.output);
    linear_bars(!strcmp(t->file, "ermongroup"), bar);
    compare_list(f, &list);
    sampler_env e = { .denoise = denoise, .noise = give_noise, .observe = observe, .ctx = &w, .n = 1, .dims = { (int)start.len, 1 },
                      .eta = f->how.eta, .sigma_hat = f->how.sigma_hat };
    float *x = malloc(start.len * sizeof *x);
    for (size_t i = 0; i < start.len; i++) x[i] = (float)golden_at(&start, i);
    check(sampler_reserve(&f->how.p, &e));
    check(f->how.method->run(&f->how.p, &e, x));
    assert_int_equal(w.step, list.len);
    /* x_0 is 1 / sqrt(alpha-bar), up to 157, times as wrong as what it is made of is by rounding. */
    if (!(w.worst <= 1e-5 * w.peak && w.worst_x0 <= 1e-4 + 1e-5 * w.peak))
        fail_msg("%s/%s: x is off by %.3g, x_0 by %.3g (largest value %.3g)", t->file, t->name, w.worst, w.worst_x0, w.peak);
    sampler_release(&e);
    free(x);
    golden_close(&g);
}

/* The profile stored with the model, and then asked for of a model that knows of none. */
static void test_trajectories(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof trajectories / sizeof *trajectories; k++) {
        const trajectory *t = &trajectories[k];
        char both[512];
        snprintf(both, sizeof both, "%s %s", t->model, t->profile);
        fixture *f = make(both, t->request);
        run_trajectory(t, f);
        unmake(f);
        snprintf(both, sizeof both, "%s %s", t->profile, t->request);
        f = make(t->model, both);
        run_trajectory(t, f);
        unmake(f);
    }
}

/* --- lists ------------------------------------------------------------------------------ */

static void test_lists(void **state)
{
    (void)state;
    static const struct { const char *model, *request; int n, list[50]; } rows[] = {
        { "compat=openai", "sampler=ddpm steps=10", 10, { 0, 111, 222, 333, 444, 555, 666, 777, 888, 999 } },
        { "compat=openai", "steps=25", 25, { 0, 42, 83, 125, 166, 208, 250, 291, 333, 375, 416, 458, 500, 541, 583, 624, 666, 708, 749, 791, 832, 874, 916, 957, 999 } },
        { "compat=openai diffusion_steps=4000 noise_schedule=cosine", "steps=25", 0, { 0, 167, 333, 500, 666, 833 } },
        { "compat=openai", "sampler=ddim steps=50", 0, { 0, 20, 40, 60 } },
        { "compat=openai diffusion_steps=4000 noise_schedule=cosine", "use_ddim=true steps=50", 0, { 0, 80, 160, 240 } },
        { "compat=ermongroup", "steps=10 spacing=quad", 10, { 0, 9, 39, 88, 158, 246, 355, 483, 632, 800 } },
        { "compat=ermongroup", "steps=20 spacing=quad", 20, { 0, 2, 8, 19, 35, 55, 79, 108, 141, 179, 221, 268, 319, 374, 434, 498, 567, 640, 718, 800 } },
        { "compat=ermongroup", "steps=50 spacing=quad", 0, { 0, 0, 1, 2, 5, 8, 11, 16 } },
        { "compat=ermongroup", "steps=10", 10, { 0, 100, 200, 300, 400, 500, 600, 700, 800, 900 } },
        { "compat=diffusers", "steps=10", 10, { 0, 100, 200, 300, 400, 500, 600, 700, 800, 900 } },
        { "compat=diffusers", "steps=10 spacing=linspace", 0, { 0, 111, 222 } },
        { "compat=diffusers sampler=ddim", "steps=10 spacing=trailing", 0, { 99, 199, 299 } },
        { "compat=diffusers steps_offset=1", "steps=10", 0, { 1, 101, 201 } },
        { "compat=diffusers steps_offset=1", "steps=10 steps_offset=0", 0, { 0, 100, 200 } },
        { "compat=ho", "steps=10 spacing=trailing", 0, { 99, 199, 299 } },
        { "compat=diffusers spacing=linspace", "steps=10 compat=none", 0, { 99, 199, 299 } },      /* a stranger's details do not count */
        { "compat=diffusers spacing=linspace", "steps=10 compat=openai", 0, { 0, 111, 222 } },
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        fixture *f = make(rows[k].model, rows[k].request);
        if (rows[k].n) assert_int_equal(f->how.steps.T, rows[k].n);
        for (int i = 0; i < rows[k].n || rows[k].list[i]; i++)
            if (f->how.steps.timestep_map[i] != rows[k].list[i]) fail_msg("%s %s: step %d is %d", rows[k].model, rows[k].request, i, f->how.steps.timestep_map[i]);
        unmake(f);
    }
}

static void test_how_many(void **state)
{
    (void)state;
    static const struct { const char *model, *request; int n; const char *note; } rows[] = {
        { "compat=ermongroup", "steps=30", 31, "31" },   { "compat=ermongroup", "steps=300", 334, "334" },
        { "compat=ermongroup", "steps=400", 500, "500" }, { "compat=ermongroup", "steps=600", 1000, "1000" },
        { "compat=ermongroup", "steps=50 spacing=quad", 50, "" },
        { "compat=none", "steps=30", 30, "" },            { "compat=none", "", 50, "" },
        { "compat=none", "sampler=ddpm", 1000, "" },      { "compat=ho", "", 1000, "" },
        { "compat=openai", "", 1000, "" },                { "compat=openai", "use_ddim=true", 1000, "" },
        { "compat=ermongroup", "", 50, "" },              { "compat=diffusers", "", 1000, "" },
        { "compat=diffusers sampler=ddim", "", 50, "" },  { "compat=ho", "steps=20", 20, "whole chain" },
        { "compat=openai", "sampler=unipc steps=20", 20, "no sampler unipc" }, { "compat=ho", "sampler=ddim steps=20", 20, "no sampler ddim" },
        { "compat=ermongroup", "steps=20 spacing=logsnr", 20, "no spacing logsnr" },
        { "compat=ermongroup", "steps=20 clip=rederive", 20, "clipping is rederive" }, { "compat=ermongroup", "steps=20 clip=none", 20, "" },
        { "compat=openai", "steps=20 quantize=round", 20, "rounding is round" },
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        fixture *f = make(rows[k].model, rows[k].request);
        assert_int_equal(f->how.steps.T, rows[k].n);
        if (rows[k].note[0] ? !strstr(f->how.note, rows[k].note) : f->how.note[0])
            fail_msg("%s %s: it says \"%s\", not \"%s\"", rows[k].model, rows[k].request, f->how.note, rows[k].note);
        unmake(f);
    }
}

/* --- what else a profile is --------------------------------------------------------------- */

static void test_parts(void **state)
{
    (void)state;
    static const struct { const char *model, *request, *method; clip_mode clip; int quantize; bool final_noise; } rows[] = {
        { "", "", "ddim", CLIP_REDERIVE, QUANTIZE_ROUND, false },
        { "compat=ho", "", "ddpm", CLIP_REDERIVE, QUANTIZE_TRUNCATE, false },
        { "compat=openai", "", "ddpm", CLIP_REDERIVE, QUANTIZE_TRUNCATE, false },
        { "compat=ermongroup", "", "ddim", CLIP_NONE, QUANTIZE_ROUND, false },
        { "compat=ermongroup", "sampler=ddpm", "ddpm", CLIP_REDERIVE, QUANTIZE_ROUND, false },
        { "compat=diffusers", "", "ddpm", CLIP_X0, QUANTIZE_EVEN, true },
        { "compat=diffusers sampler=ddim", "", "ddim", CLIP_X0, QUANTIZE_EVEN, false },
        { "compat=diffusers clip=none", "", "ddpm", CLIP_NONE, QUANTIZE_EVEN, true },
        { "compat=diffusers clip=none", "clip=x0 quantize=truncate", "ddpm", CLIP_X0, QUANTIZE_TRUNCATE, true },
        { "compat=diffusers clip=none", "compat=none", "ddim", CLIP_REDERIVE, QUANTIZE_ROUND, false },
        { "compat=diffusers", "compat=ermongroup", "ddim", CLIP_NONE, QUANTIZE_ROUND, false },
        { "", "compat=ho sampler=ddim", "ddim", CLIP_REDERIVE, QUANTIZE_TRUNCATE, false },
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        fixture *f = make(rows[k].model, rows[k].request);
        assert_string_equal(f->how.method->name, rows[k].method);
        assert_int_equal(f->how.p.clip, rows[k].clip);
        assert_int_equal(f->how.quantize, rows[k].quantize);
        assert_int_equal(f->how.p.final_noise, rows[k].final_noise);
        unmake(f);
    }
}

/* alpha-bar of timestep 999, as each code base holds it. */
static void test_widths(void **state)
{
    (void)state;
    static const struct { const char *compat; double bar; schedule_logvar logvar; } rows[] = {
        { "compat=ho", 4.0358297654e-5, LOGVAR_BORROW },         { "compat=openai", 4.0358297654e-5, LOGVAR_BORROW },
        { "compat=ermongroup", 4.0358299884e-5, LOGVAR_FLOOR }, { "compat=diffusers", 4.0358307160e-5, LOGVAR_FLOOR },
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        for (int asked = 0; asked < 2; asked++) {
            fixture *f = make(asked ? "" : rows[k].compat, asked ? rows[k].compat : "");
            if (fabs(f->how.full.alphas_cumprod[999] / rows[k].bar - 1) > 1e-10) fail_msg("%s: %.12g", rows[k].compat, f->how.full.alphas_cumprod[999]);
            assert_int_equal(f->how.full.logvar, rows[k].logvar);
            unmake(f);
        }
    fixture *f = make("compat=openai diffusion_steps=500", "");      /* only theirs scales beta by 1000 / T */
    assert_true(fabs(f->how.full.betas[499] - 0.04) < 1e-15);
    unmake(f);
    f = make("compat=openai diffusion_steps=500", "compat=ho");      /* which is the model's, whoever samples it */
    assert_true(fabs(f->how.full.betas[499] - 0.04) < 1e-15);
    unmake(f);
    f = make("compat=ho diffusion_steps=500", "");
    assert_true(fabs(f->how.full.betas[499] - 0.02) < 1e-15);
    assert_false(f->how.p.rescale_timesteps);
    unmake(f);
    f = make("compat=ho posterior_floor=floor schedule_width=f32", "");   /* what is given wins */
    assert_int_equal(f->how.full.logvar, LOGVAR_FLOOR);
    assert_int_equal(f->how.full.width, SCHEDULE_F32);
    unmake(f);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct { const char *model, *request, *says; } rows[] = {
        { "compat=openai", "use_ddim=true steps=60", "ddim60" },        { "compat=openai", "use_ddim=true steps=75", "ddim75" },
        { "compat=openai", "use_ddim=true steps=80", "ddim80" },        { "compat=openai", "use_ddim=true steps=300", "ddim300" },
        { "compat=openai", "steps=1", "one step" },                     { "compat=openai", "steps=1001", "T = 1000" },
        { "compat=diffusers steps_offset=1", "steps=1000", "steps_offset 1" },
        { "compat=ermongroup learn_sigma=true", "steps=50 spacing=quad", "visited twice" },
        { "", "sigma_hat=true", "--eta 1" },                            { "", "sigma_hat=true eta=0.5", "--eta 1" },
        { "", "sigma_hat=true sampler=ddpm", "--sigma_hat" },           { "compat=openai", "eta=0.5", "no eta" },
    };
    fixture *f = malloc(sizeof *f);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        assert_int_equal(try_make(f, rows[k].model, rows[k].request), DDPM_EINVAL);
        if (!strstr(ddpm_last_error(), rows[k].says)) fail_msg("%s %s: %s", rows[k].model, rows[k].request, ddpm_last_error());
    }
    check(try_make(f, "compat=openai", "use_ddim=true steps=30"));
    sampling_free(&f->how);
    free(f);
}

/* --- training ------------------------------------------------------------------------------- */

static void test_training(void **state)
{
    (void)state;
    static const struct { const char *words, *says; } rows[] = {
        { "loss=mse_sum learn_sigma=true", "mse_sum" },             { "noise_schedule=jsd", "alpha-bar is 0" },
        { "noise_schedule=jsd prediction=v", NULL },                { "min_snr_gamma=5", NULL },
        { "min_snr_gamma=5 use_kl=true learn_sigma=true", "--min_snr_gamma" }, { "min_snr_gamma=5 loss=kl", "--min_snr_gamma" },
        { "min_snr_gamma=5 prediction=previous", "min-SNR" },       { "min_snr_gamma=5 prediction=v learn_sigma=true", NULL },
        { "rescale_betas_zero_snr=true prediction=v", NULL },       { "rescale_betas_zero_snr=true prediction=x0", NULL },
        { "rescale_betas_zero_snr=true noise_schedule=jsd prediction=v", "without signal" },
    };
    settings *s = malloc(sizeof *s);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        settings_defaults(s);
        check(settings_set_pairs(s, "image_size=8", ORIGIN_COMMAND_LINE));
        check(settings_set_pairs(s, rows[k].words, ORIGIN_COMMAND_LINE));
        check(settings_resolve(s));
        const ddpm_status status = sampling_check_training(s);
        if (!rows[k].says) check(status);
        else if (status != DDPM_EINVAL || !strstr(ddpm_last_error(), rows[k].says)) fail_msg("%s: %s", rows[k].words, status ? ddpm_last_error() : "accepted");
    }
    settings_defaults(s);
    check(settings_set_pairs(s, "image_size=8 rescale_betas_zero_snr=true", ORIGIN_COMMAND_LINE));
    assert_int_equal(settings_resolve(s), DDPM_EINVAL);
    free(s);
    fixture *f = make("rescale_betas_zero_snr=true prediction=v compat=diffusers", "");
    assert_true(f->how.full.alphas_cumprod[999] <= 0);
    unmake(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trajectories), cmocka_unit_test(test_lists),    cmocka_unit_test(test_how_many), cmocka_unit_test(test_parts),
        cmocka_unit_test(test_widths),       cmocka_unit_test(test_refusals), cmocka_unit_test(test_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
