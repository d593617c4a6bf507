/* The bound in bits: the authors' loop through their networks, a Gaussian denoiser in
 * closed form, the estimate from a few terms, and what the bits of an image depend on. */
#include "backend/ref/ref.h"
#include "base/rng.h"
#include "diffusion/nll.h"
#include "diffusion/respace.h"
#include "golden_file.h"
#include "model/denoiser.h"

#include <math.h>

enum { MAX_IMAGES = 4 };

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

static nll_result result_new(int n, int calls)
{
    const size_t all = (size_t)n * (size_t)calls;
    const nll_result r = { calloc(all, sizeof *r.row), calloc(all, sizeof *r.factor), calloc(all, sizeof *r.term), calloc(all, sizeof *r.other),
                           calloc((size_t)n, sizeof *r.bound) };
    assert_true(r.row && r.factor && r.term && r.other && r.bound);
    return r;
}

static void result_free(nll_result *r)
{
    free(r->row);
    free(r->factor);
    free(r->term);
    free(r->other);
    free(r->bound);
}

static void near(const char *what, size_t i, double got, double want, double allowed)
{
    if (!(fabs(got - want) <= allowed)) fail_msg("%s[%zu]: %.9g, not %.9g +- %.2g", what, i, got, want, allowed);
}

/* --- the authors' loop ------------------------------------------------------------- */

typedef struct {
    nn_backend *b;
    pool       *p;
    denoiser   *d;
    nn_weights *w;
    float      *values;
    golden_file g;
    golden      noise;
    size_t      pixels, channels;
} gold_net;

static void open_net(gold_net *n, const char *name, const unet_config *c, int threads, int chunk)
{
    char path[200];
    *n = (gold_net){ 0 };
    check(backend_ref_new(&n->b));
    check(pool_new(threads, &n->p));
    check(denoiser_new(c, n->b, n->p, NN_F32, NN_INFER, chunk, &n->d));
    const nn_graph *g = denoiser_graph(n->d);
    n->values = calloc(g->params.len, sizeof *n->values);
    assert_non_null(n->values);
    snprintf(path, sizeof path, "tests/golden/06_unet/%s/model.safetensors", name);
    golden_file weights = golden_open(path);
    for (int i = 0; i < g->params.count; i++) {
        const nn_param *p = &g->params.list[i];
        const golden t = golden_tensor(&weights, "%s", p->name);
        assert_int_equal(t.len, nn_len(p->shape));
        float *file = malloc(t.len * sizeof *file);
        assert_non_null(file);
        for (size_t k = 0; k < t.len; k++) file[k] = (float)golden_at(&t, k);
        nn_param_from_file(p, file, n->values + p->offset);
        free(file);
    }
    golden_close(&weights);
    check(nn_weights_new(g, n->b, n->values, false, &n->w));
    nn_weights_pack(n->w, n->p);
}

static void close_net(gold_net *n)
{
    nn_weights_free(n->w);
    free(n->values);
    denoiser_free(n->d);
    pool_free(n->p);
    nn_backend_free(n->b);
}

static ddpm_status run_net(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    gold_net *net = ctx;
    return denoiser_run(net->d, net->w, n, t, y, x, out);
}

/* noise[k] [T,N,C,H,W] was used at t = T-1-k. */
static void recorded_noise(void *ctx, int k, int row, float *z)
{
    const gold_net *n = ctx;
    const size_t T = n->noise.shape[0], N = n->noise.shape[1];
    golden_to_nhwc(&n->noise, (T - 1 - (size_t)row) * N + (size_t)k, n->channels, 0, z);
}

typedef struct { const char *name, *net, *respacing; int T; schedule_kind kind; var_type var; clip_mode clip; bool rescale; } gold_chain;

static const gold_chain chains[] = {
    { "a_fixedlarge", "iddpm_a", "8", 1000, SCHEDULE_LINEAR, VAR_FIXED_LARGE, CLIP_REDERIVE, false },
    { "a_fixedsmall", "iddpm_a", "8", 1000, SCHEDULE_LINEAR, VAR_FIXED_SMALL, CLIP_NONE, false },
    { "b_range", "iddpm_b", "10", 4000, SCHEDULE_COSINE, VAR_LEARNED_RANGE, CLIP_REDERIVE, true },
};

static unet_config config_of(const char *net)
{
    unet_config c = { .height = 8, .width = 8, .in_channels = 3, .out_channels = 3, .model_channels = 32, .stem = 32, .levels = 2, .channels = { 32, 64 },
                      .attention = { false, true }, .num_heads = 4, .conv_resample = true, .groups = 32, .eps = 1e-5, .cos_first = true };
    if (!strcmp(net, "iddpm_a")) return c;
    c.out_channels = 6;
    c.levels = 1;
    c.num_res_blocks = 1;
    c.attention[0] = true;
    c.num_classes = 10;
    c.scale_shift_norm = true;
    return c;
}

static void compare_terms(const golden_file *g, const nll_result *r, size_t N, size_t T)
{
    const golden vb = golden_tensor(g, "vb"), xs = golden_tensor(g, "xstart_mse"), mse = golden_tensor(g, "mse");
    const golden total = golden_tensor(g, "total_bpd"), prior = golden_tensor(g, "prior_bpd");
    for (size_t i = 0; i < N * T; i++) {
        const double relative = i % T == T - 1 ? 1e-3 : 1e-4;
        near("vb", i, r->term[i].vb, golden_at(&vb, i), relative * fabs(golden_at(&vb, i)) + 1e-6);
        near("xstart_mse", i, r->term[i].xstart_mse, golden_at(&xs, i), relative * golden_at(&xs, i) + 1e-6);
        near("mse", i, r->term[i].mse, golden_at(&mse, i), relative * golden_at(&mse, i) + 1e-6);
        assert_int_equal(r->row[i], T - 1 - i % T);
        assert_true(r->factor[i] == 1);
    }
    for (size_t n = 0; n < N; n++) {
        const double want = golden_at(&total, n);
        near("total", n, r->bound[n].total, want, 1e-4 * want + 1e-6);
        near("prior", n, r->bound[n].prior, golden_at(&prior, n), 1e-6);
        near("parts", n, r->bound[n].prior + r->bound[n].diffusion + r->bound[n].decoder, want, 1e-4 * want + 1e-6);
        near("decoder", n, r->bound[n].decoder, golden_at(&vb, n * T + T - 1), 1e-3 * golden_at(&vb, n * T + T - 1));
        assert_true(r->bound[n].variance == 0);
    }
}

/* A run under the other fixed variance knows this one's bound too. */
static void compare_other(const process *p, const nll_plan *plan, const nll_images *in, const nll_result *r, const golden_file *g)
{
    const golden total = golden_tensor(g, "total_bpd");
    process other = *p;
    other.var = p->var == VAR_FIXED_SMALL ? VAR_FIXED_LARGE : VAR_FIXED_SMALL;
    for (int n = 0; n < in->n; n++) assert_true(isnan(r->bound[n].other) == (p->var >= VAR_LEARNED));
    if (p->var >= VAR_LEARNED) return;
    check(nll_run(&other, plan, in, r));
    for (int n = 0; n < in->n; n++) {
        const double want = golden_at(&total, (size_t)n);
        near("other", (size_t)n, r->bound[n].other, want, 1e-4 * want + 1e-6);
        assert_true(fabs(r->bound[n].total - want) > 1e-2 * want);      /* the variance matters to these */
    }
}

static void one_chain(const gold_chain *c, int threads, int chunk, int together)
{
    char path[200];
    schedule full, steps;
    gold_net net;
    nll_plan plan;
    int y[MAX_IMAGES] = { 0 };
    const unet_config u = config_of(c->net);
    const schedule_config sc = schedule_config_of(PROFILE_OPENAI, c->kind, c->T);
    check(schedule_new(&sc, &full));
    check(schedule_respace_openai(&full, c->respacing, &steps));
    const process p = { .s = &steps, .mean = MEAN_EPSILON, .var = c->var, .clip = c->clip, .rescale_timesteps = c->rescale };
    open_net(&net, c->net, &u, threads, chunk);
    snprintf(path, sizeof path, "tests/golden/04_losses/bpd_%s.safetensors", c->name);
    net.g = golden_open(path);
    const golden x = golden_tensor(&net.g, "x");
    net.noise = golden_tensor(&net.g, "noise");
    net.channels = x.shape[1];
    net.pixels = x.shape[2] * x.shape[3];
    const size_t N = x.shape[0], len = net.pixels * net.channels;
    float *x0 = malloc(N * len * sizeof *x0);
    assert_non_null(x0);
    for (size_t n = 0; n < N; n++) golden_to_nhwc(&x, n, net.channels, 0, x0 + n * len);
    if (u.num_classes)
        for (size_t n = 0; n < N; n++) {
            const golden labels = golden_tensor(&net.g, "y");
            y[n] = (int)golden_at(&labels, n);
        }
    check(nll_plan_new(steps.T, steps.T, &plan));
    nll_result r = result_new((int)N, steps.T);
    const uint64_t image[MAX_IMAGES] = { 0, 1, 2, 3 };
    const nll_images in = { .denoise = run_net, .noise = recorded_noise, .ctx = &net, .n = (int)N, .dims = { (int)net.pixels, (int)net.channels },
                            .x0 = x0, .y = u.num_classes ? y : NULL, .image = image, .together = together };
    check(nll_run(&p, &plan, &in, &r));
    compare_terms(&net.g, &r, N, (size_t)steps.T);
    compare_other(&p, &plan, &in, &r, &net.g);
    result_free(&r);
    nll_plan_free(&plan);
    free(x0);
    golden_close(&net.g);
    close_net(&net);
    schedule_free(&full);
    schedule_free(&steps);
}

static void test_authors_loop(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof chains / sizeof *chains; k++) one_chain(&chains[k], 1, 2, 5);
}

/* --- what the bits depend on ------------------------------------------------------------ */

/* Four images with drawn noise, by the batch, the threads and in which company. */
static void bounds(const process *p, int steps, int threads, int chunk, int together, const uint64_t *image, int n, const float *x0, nll_bound *b)
{
    gold_net net;
    nll_plan plan;
    const unet_config u = config_of("iddpm_a");
    open_net(&net, "iddpm_a", &u, threads, chunk);
    check(nll_plan_new(p->s->T, steps, &plan));
    nll_result r = result_new(n, steps);
    const nll_images in = { .denoise = run_net, .ctx = &net, .n = n, .dims = { 64, 3 }, .x0 = x0, .seed = 5, .image = image, .together = together };
    check(nll_run(p, &plan, &in, &r));
    memcpy(b, r.bound, (size_t)n * sizeof *b);
    result_free(&r);
    nll_plan_free(&plan);
    close_net(&net);
}

static void test_bits_of_an_image(void **state)
{
    (void)state;
    enum { LEN = 64 * 3 };
    static const struct { int threads, chunk, together; } ways[] = { { 1, 1, 1 }, { 2, 3, 7 }, { 3, 2, 100 } };
    static float x0[MAX_IMAGES * LEN];
    schedule s;
    const schedule_config sc = schedule_config_of(PROFILE_OPENAI, SCHEDULE_COSINE, 12);
    check(schedule_new(&sc, &s));
    const process p = { .s = &s, .clip = CLIP_REDERIVE };
    const uint64_t image[MAX_IMAGES] = { 3, 11, 0, 70000 };
    for (size_t i = 0; i < MAX_IMAGES * LEN; i++) x0[i] = (float)(i * 37 % 256) / 127.5f - 1;
    for (int steps = 5; steps <= 12; steps += 7) {
        nll_bound whole[MAX_IMAGES], other[MAX_IMAGES];
        bounds(&p, steps, 1, 4, 4, image, MAX_IMAGES, x0, whole);
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
            bounds(&p, steps, ways[k].threads, ways[k].chunk, ways[k].together, image, MAX_IMAGES, x0, other);
            assert_memory_equal(other, whole, sizeof whole);
        }
        bounds(&p, steps, 1, 2, 3, image + 2, 2, x0 + 2 * LEN, other);
        assert_memory_equal(other, whole + 2, 2 * sizeof *other);
        bounds(&p, steps, 1, 2, 3, image, 1, x0 + 2 * LEN, other);       /* another number: other noise */
        assert_memory_not_equal(other, whole + 2, sizeof *other);
    }
    schedule_free(&s);
}

/* --- a Gaussian world ---------------------------------------------------------------------- */

/* Data N(m, v): the mean of x_0 given x_t is linear in x_t, so every KL is known. */
typedef struct { const process *p; double m, v; size_t len; } gaussian;

static const double LN2 = 0.693147180559945309417;

/* alpha-bar of row i from the betas of the paper alone. */
static double alpha_bar(int T, int i)
{
    double bar = 1;
    for (int k = 0; k <= i; k++) bar *= 1 - (1e-4 + (0.02 - 1e-4) * k / (T - 1)) * 1000 / T;
    return bar;
}

static double gaussian_x0(const gaussian *g, double bar, double xt)
{
    return g->m + g->v * sqrt(bar) * (xt - sqrt(bar) * g->m) / (bar * g->v + 1 - bar);
}

static ddpm_status gaussian_denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    const gaussian *g = ctx;
    (void)y;
    for (size_t k = 0; k < (size_t)n; k++) {
        const double bar = alpha_bar(g->p->s->T, (int)t[k]);
        for (size_t i = k * g->len; i < (k + 1) * g->len; i++) out[i] = (float)(((double)x[i] - sqrt(bar) * gaussian_x0(g, bar, (double)x[i])) / sqrt(1 - bar));
    }
    return DDPM_OK;
}

/* Both sides have variance beta-tilde, so a KL is the squared distance of the means over twice it; the means
 * differ by the factor of x_0 only. */
static double gaussian_kl(const gaussian *g, int i, const float *x0, const float *z)
{
    const int T = g->p->s->T;
    const double bar = alpha_bar(T, i), before = alpha_bar(T, i - 1), beta = 1 - bar / before;
    const double tilde = beta * (1 - before) / (1 - bar), factor = sqrt(before) * beta / (1 - bar);
    double sum = 0;
    for (size_t k = 0; k < g->len; k++) {
        const double xt = sqrt(bar) * (double)x0[k] + sqrt(1 - bar) * (double)z[k], gap = factor * ((double)x0[k] - gaussian_x0(g, bar, xt));
        sum += gap * gap / (2 * tilde);
    }
    return sum / (LN2 * (double)g->len);
}

static double phi(double x) { return 0.5 * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x))); }

/* Row 0: the bins of the bytes under N(x_0 given x_1, beta-tilde of the row above). */
static double gaussian_decoder(const gaussian *g, const float *x0, const float *z)
{
    const int T = g->p->s->T;
    const double bar = alpha_bar(T, 0), next = alpha_bar(T, 1), sigma = sqrt((1 - next / bar) * (1 - bar) / (1 - next));
    double sum = 0;
    for (size_t k = 0; k < g->len; k++) {
        const double x = (double)x0[k], mean = gaussian_x0(g, bar, sqrt(bar) * x + sqrt(1 - bar) * (double)z[k]);
        const double below = x < -0.999 ? 0 : phi((x - mean - 1 / 255.0) / sigma), above = x > 0.999 ? 1 : phi((x - mean + 1 / 255.0) / sigma);
        sum -= log(fmax(above - below, 1e-12));
    }
    return sum / (LN2 * (double)g->len);
}

static double gaussian_prior(const gaussian *g, const float *x0)
{
    const double bar = alpha_bar(g->p->s->T, g->p->s->T - 1);
    double sum = 0;
    for (size_t k = 0; k < g->len; k++) sum += 0.5 * (-1 - log(1 - bar) + 1 - bar + bar * (double)x0[k] * (double)x0[k]);
    return sum / (LN2 * (double)g->len);
}

static void gaussian_image(const gaussian *g, uint64_t number, float *x0)
{
    rng_normals((rng_address){ 77, RNG_VAL, 0, number }, 0, g->len, x0);
    for (size_t k = 0; k < g->len; k++) {      /* bytes of N(m, v) */
        const double byte = round((g->m + sqrt(g->v) * (double)x0[k] + 1) * 127.5);
        x0[k] = (float)(byte < 0 ? 0 : byte > 255 ? 255 : byte) / 127.5f - 1;
    }
}

enum { GAUSS_T = 100, GAUSS_PIXELS = 64, GAUSS_IMAGES = 3, GAUSS_LEN = 3 * GAUSS_PIXELS };

static void open_gaussian(gaussian *g, schedule *s, process *p)
{
    const schedule_config sc = schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, GAUSS_T);
    check(schedule_new(&sc, s));
    *p = (process){ .s = s, .mean = MEAN_EPSILON, .var = VAR_FIXED_SMALL };
    *g = (gaussian){ p, 0.2, 0.09, GAUSS_LEN };
}

static void run_gaussian(const gaussian *g, int n, const uint64_t *image, const float *x0, int steps, nll_result *r)
{
    nll_plan plan;
    check(nll_plan_new(GAUSS_T, steps, &plan));
    const nll_images in = { .denoise = gaussian_denoise, .ctx = (void *)(uintptr_t)g, .n = n, .dims = { GAUSS_PIXELS, 3 }, .x0 = x0, .seed = 9,
                            .image = image, .together = 16 };
    check(nll_run(g->p, &plan, &in, r));
    nll_plan_free(&plan);
}

static void test_gaussian_chain(void **state)
{
    (void)state;
    static float x0[GAUSS_IMAGES * GAUSS_LEN], z[GAUSS_LEN];
    static const uint64_t image[GAUSS_IMAGES] = { 4, 5, 600 };
    schedule s;
    process p;
    gaussian g;
    open_gaussian(&g, &s, &p);
    for (int n = 0; n < GAUSS_IMAGES; n++) gaussian_image(&g, image[n], x0 + n * GAUSS_LEN);
    nll_result r = result_new(GAUSS_IMAGES, GAUSS_T);
    run_gaussian(&g, GAUSS_IMAGES, image, x0, GAUSS_T, &r);
    for (size_t n = 0; n < GAUSS_IMAGES; n++) {
        double total = gaussian_prior(&g, x0 + n * GAUSS_LEN);
        near("prior", n, r.bound[n].prior, total, 1e-9);
        for (int i = GAUSS_T - 1; i >= 0; i--) {
            rng_normals((rng_address){ 9, RNG_NLL, (uint64_t)i, image[n] }, 0, GAUSS_LEN, z);      /* each row its own */
            const float *x = x0 + n * GAUSS_LEN;
            const double want = i ? gaussian_kl(&g, i, x, z) : gaussian_decoder(&g, x, z);
            near("term", (size_t)i, r.term[n * GAUSS_T + GAUSS_T - 1 - (size_t)i].vb, want, 1e-3 * want);
            total += want;
        }
        near("total", n, r.bound[n].total, total, 1e-4 * total);
    }
    result_free(&r);
    schedule_free(&s);
}

/* --- a few terms for all ----------------------------------------------------------------------- */

/* The mean over every equally likely choice is the sum of all terms, and so for the variance: T and calls by
 * enumeration of the pairs of each stratum, which are drawn independently. */
static void enumerate(const nll_plan *plan, const double *term, double *mean, double *variance, double *estimate)
{
    *mean = *variance = *estimate = 0;
    for (int j = 0; j < plan->strata; j++) {
        const int first = plan->first[j], m = plan->first[j + 1] - first;
        double sum = 0, square = 0, gaps = 0;
        if (m == 1) {
            *mean += term[first];
            continue;
        }
        for (int a = 0; a < m; a++)
            for (int b = 0; b < a; b++) {
                const double one = 0.5 * m * (term[first + a] + term[first + b]), gap = term[first + a] - term[first + b];
                sum += one;
                square += one * one;
                gaps += 0.25 * m * (m - 2) * gap * gap;
            }
        const double pairs = 0.5 * m * (m - 1);
        *mean += sum / pairs;
        *variance += square / pairs - sum / pairs * (sum / pairs);
        *estimate += gaps / pairs;
    }
}

static void test_every_choice_together_is_all(void **state)
{
    (void)state;
    for (int T = 2; T <= 40; T++)
        for (int calls = NLL_MIN_CALLS < T ? NLL_MIN_CALLS : T; calls <= T; calls++) {
            nll_plan plan;
            double term[40], all = 0, mean, variance, estimate;
            int used = 0;
            for (int i = 0; i < T; i++) all += term[i] = 3.0 / (1 + i) + 0.1 * ((i * 7) % 5);
            check(nll_plan_new(T, calls, &plan));
            assert_int_equal(plan.first[0], 0);
            assert_int_equal(plan.first[1], 1);                      /* the decoder is always looked at */
            assert_int_equal(plan.first[plan.strata], T);
            for (int j = 0; j < plan.strata; j++) {
                assert_true(plan.first[j + 1] > plan.first[j]);
                used += plan.first[j + 1] - plan.first[j] > 1 ? 2 : 1;
            }
            assert_int_equal(used, calls);
            enumerate(&plan, term, &mean, &variance, &estimate);
            near("mean", (size_t)calls, mean, all, 1e-12 * all);
            near("variance", (size_t)calls, estimate, variance, 1e-10 * (1 + variance));
            nll_plan_free(&plan);
        }
}

/* Every pair of a stratum comes up as often as any other. */
static void test_draws_are_even(void **state)
{
    (void)state;
    enum { T = 9, CALLS = 3, DRAWS = 28 * 400 };       /* rows 0 and a pair of 1 .. 8 */
    nll_plan plan;
    int count[T][T] = { { 0 } }, row[CALLS];
    double factor[CALLS], chi2 = 0;
    check(nll_plan_new(T, CALLS, &plan));
    assert_int_equal(plan.strata, 2);
    for (uint64_t k = 0; k < DRAWS; k++) {
        nll_plan_draw(&plan, 1, k, row, factor);
        assert_true(row[0] > row[1] && row[1] > row[2] && row[2] == 0 && row[0] < T);
        assert_true(factor[0] == 4 && factor[1] == 4 && factor[2] == 1);
        count[row[0]][row[1]]++;
    }
    for (int a = 2; a < T; a++)
        for (int b = 1; b < a; b++) chi2 += (count[a][b] - 400.0) * (count[a][b] - 400.0) / 400;
    assert_true(chi2 > 8 && chi2 < 60);                /* 27 degrees of freedom: one in ten thousand lies outside */
    nll_plan_free(&plan);
}

/* Against all terms of the same images with the same noise: the difference has the stated variance. */
static void test_estimate_and_its_error(void **state)
{
    (void)state;
    enum { N = 200, STEPS = 20 };
    static float x0[N * GAUSS_LEN];
    static uint64_t image[N];
    schedule s;
    process p;
    gaussian g;
    open_gaussian(&g, &s, &p);
    for (size_t n = 0; n < N; n++) gaussian_image(&g, image[n] = n, x0 + n * GAUSS_LEN);
    nll_result all = result_new(N, GAUSS_T), some = result_new(N, STEPS);
    run_gaussian(&g, N, image, x0, GAUSS_T, &all);
    run_gaussian(&g, N, image, x0, STEPS, &some);
    double sum = 0, squares = 0, stated = 0;
    for (size_t n = 0; n < N; n++) {
        const double off = some.bound[n].total - all.bound[n].total;
        sum += off;
        squares += off * off;
        stated += some.bound[n].variance;
        for (size_t k = 0; k < STEPS; k++) {           /* the same terms, less of them */
            const size_t at = n * GAUSS_T + GAUSS_T - 1 - (size_t)some.row[n * STEPS + k];
            assert_memory_equal(&some.term[n * STEPS + k], &all.term[at], sizeof(bpd_terms));
        }
    }
    print_message("mean difference %.5f, standard error %.5f; variance %.3g, stated %.3g\n", sum / N, sqrt(stated) / N, squares / N, stated / N);
    assert_true(stated > 0);
    assert_true(fabs(sum) < 4 * sqrt(stated));
    assert_true(squares > 0.6 * stated && squares < 1.6 * stated);
    result_free(&all);
    result_free(&some);
    schedule_free(&s);
}

static void test_bad_plans(void **state)
{
    (void)state;
    static const struct { int T, calls; } bad[] = { { 10, 2 }, { 10, 0 }, { 10, 11 }, { 10, -1 }, { 2, 3 } };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        nll_plan plan;
        assert_int_equal(nll_plan_new(bad[k].T, bad[k].calls, &plan), DDPM_EINVAL);
        assert_null(plan.first);
    }
}

static ddpm_status broken_network(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    (void)ctx, (void)n, (void)t, (void)y, (void)x, (void)out;
    return ddpm_fail(DDPM_ESTOPPED, "enough");
}

static void test_failures_come_back(void **state)
{
    (void)state;
    static float x0[GAUSS_LEN];
    const uint64_t image = 0;
    schedule s;
    process p;
    gaussian g;
    nll_plan plan;
    open_gaussian(&g, &s, &p);
    check(nll_plan_new(GAUSS_T, 10, &plan));
    nll_result r = result_new(1, 10);
    const nll_images in = { .denoise = broken_network, .n = 1, .dims = { GAUSS_PIXELS, 3 }, .x0 = x0, .image = &image, .together = 4 };
    assert_int_equal(nll_run(&p, &plan, &in, &r), DDPM_ESTOPPED);
    assert_string_equal(ddpm_last_error(), "enough");
    result_free(&r);
    nll_plan_free(&plan);
    schedule_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_authors_loop),    cmocka_unit_test(test_bits_of_an_image),       cmocka_unit_test(test_gaussian_chain),
        cmocka_unit_test(test_draws_are_even),  cmocka_unit_test(test_every_choice_together_is_all),
        cmocka_unit_test(test_bad_plans),       cmocka_unit_test(test_estimate_and_its_error), cmocka_unit_test(test_failures_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
