/* Every operator, by one table of cases (op_cases.h), used four ways:
 *
 *   gradients      the reference backend's backward against finite differences of its forward
 *   equal          another backend against the reference, within a bound of rounding errors
 *   bf16_is_worse  products of bf16 operands break the bound of f32x3, so it is no loose one
 *   split          where f32x3 is exact f32 and where it is not
 *   independence   the bits of an image, and of a parameter's gradient, do not depend on the batch
 *   threads        two plans that run at the same time get the bits of one that runs alone
 *   parts          a plan that threads share gets the bits of one that runs alone
 *   blocks         blocks of 16 and of 32 columns in matrix tiles get the same bits
 *
 * Without an argument the reference backend is tested; `ops cpu` tests the host backend at
 * every instruction-set level that this machine runs, none above $DDPM_MAX_ISA. */
#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "base/pool.h"
#include "base/rng.h"
#include "nn/plan.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden_file.h"
#include "isa.h"
#include "op_problem.h"

/* ---- gradients against finite differences ---- */

/* sum over the output of out * dout, whose gradient backward computes. */
static double loss(const problem *p, nn_plan *plan, float *out)
{
    const size_t len = nn_len(p->node->out->shape);
    set_inputs(p, plan, 0, p->k->n);
    MUST(nn_plan_forward(plan, p->k->n));
    MUST(nn_plan_get(plan, p->node->out, p->k->n, out));
    double sum = 0;
    for (size_t i = 0; i < len; i++) sum += (double)out[i] * (double)p->dout[i];
    return sum;
}

/* Error of gradient `grad` of `x` along one random direction of signs, relative to the
 * gradient's norm (the expected size of the derivative). Truncation, O(step^4), and rounding,
 * O(1/step), trade off, so the best of three steps counts. */
static double direction_error(const problem *p, nn_plan *plan, float *x, const float *grad, size_t len, uint64_t seed, float *out)
{
    static const double at[4] = { -2, -1, 1, 2 }, weight[4] = { 1, -8, 8, -1 };
    float *sign = normals(len, seed), *keep = malloc(len * sizeof *keep);
    assert_non_null(keep);
    memcpy(keep, x, len * sizeof *x);
    double want = 0, norm = 0, best = 1e30;
    for (size_t i = 0; i < len; i++) {
        sign[i] = sign[i] < 0 ? -1.0f : 1.0f;
        want += (double)grad[i] * (double)sign[i];
        norm += (double)grad[i] * (double)grad[i];
    }
    for (double step = 0x1p-8; step < 0.05; step *= 4) {
        double got = 0;
        for (int s = 0; s < 4; s++) {
            for (size_t i = 0; i < len; i++) x[i] = keep[i] + (float)(at[s] * step) * sign[i];
            got += weight[s] * loss(p, plan, out);
        }
        best = fmin(best, fabs(got / (12 * step) - want) / (sqrt(norm) + 1e-2));
    }
    memcpy(x, keep, len * sizeof *x);
    free(sign);
    free(keep);
    return best;
}

static void check_directions(const problem *p, nn_plan *plan, const char *what, float *x, const float *grad, size_t len, float *out)
{
    enum { SEEDS = 2 };
    const double limit = 1e-4;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        const double error = direction_error(p, plan, x, grad, len, 60 + seed, out);
        if (!(error < limit)) fail_msg("%s: gradient of %s is off by %.1e of its norm", p->name, what, error);
    }
}

static void gradients_of(const problem *p, nn_backend *b)
{
    if (p->precision != NN_F32 || !has_gradient(p) || work(p->k) > 1e6) return;
    result r = run(p, b, p->k->n);
    float *out = malloc(nn_len(p->node->out->shape) * sizeof *out);
    assert_non_null(out);
    nn_weights *w;
    nn_plan *plan;
    MUST(nn_weights_new(p->g, b, p->values, false, &w));
    MUST(nn_plan_new(p->g, b, NN_INFER, p->node->out, &plan));
    nn_plan_bind(plan, w, NULL);
    for (int i = 0; i < NN_MAX_IN; i++) {
        const nn_tensor *t = p->node->in[i];
        if (!t) continue;
        if (t->role == NN_PARAM) {
            const size_t at = p->g->params.list[t->param].offset;
            check_directions(p, plan, t->name, p->values + at, r.grads + at, nn_len(t->shape), out);
        } else if (r.din[i]) {
            check_directions(p, plan, t->name, p->in[i], r.din[i], nn_len(t->shape), out);
        }
    }
    nn_plan_free(plan);
    nn_weights_free(w);
    free(out);
    result_free(&r);
}

/* ---- another backend against the reference ---- */

/* How many products or values are summed for one element of operand i's gradient; i < 0: of the output. */
static double terms(const problem *p, int i)
{
    const op_case *k = p->k;
    const nn_shape y = p->node->out->shape;
    const double pixels = (double)y.h * y.w, taps = op_taps(k);
    if (k->op == NN_CONV2D) {
        if (i < 0) return taps * (k->c + k->c2) + 3;
        if (i == CONV_X || i == CONV_X2) return taps * k->out * (k->upsample ? 4 : 1);
        return i == CONV_RESIDUAL ? 1 : pixels * k->n;
    }
    if (k->op == NN_GROUP_NORM) {
        if (i == NORM_GAMMA || i == NORM_BETA || i == NORM_FILM) return pixels * k->n;
        return pixels * (k->c + k->c2) / k->groups;
    }
    if (k->op == NN_ATTENTION) return pixels + k->c;
    if (k->op == NN_POOL && (i < 0 || k->kernel)) return k->kernel ? taps : (double)k->h * k->w;
    return k->op == NN_EMBED ? k->n : 4;
}

static double largest(const float *x, size_t len)
{
    double m = 0;
    for (size_t i = 0; i < len; i++) m = fmax(m, fabs((double)x[i]));
    return m;
}

/* Largest 1/deviation of a group: small groups amplify rounding errors of x and of the mean. */
static double amplification(const problem *p)
{
    if (p->k->op != NN_GROUP_NORM) return 1;
    const int c1 = p->k->c, c = c1 + p->k->c2, per = c / p->k->groups, pixels = p->k->h * p->k->w;
    double worst = 1;
    for (int n = 0; n < p->k->n; n++)
        for (int g = 0; g < p->k->groups; g++) {
            double sum = 0, squares = 0;
            for (int at = n * pixels; at < (n + 1) * pixels; at++)
                for (int ch = g * per; ch < (g + 1) * per; ch++) {
                    const float *x = p->in[ch < c1 ? NORM_X : NORM_X2];
                    const double v = (double)(ch < c1 ? x[at * c1 + ch] : x[at * (c - c1) + ch - c1]);
                    sum += v;
                    squares += v * v;
                }
            const double mean = sum / (per * pixels);
            worst = fmax(worst, 1 / sqrt(fabs(squares / (per * pixels) - mean * mean) + 1e-5));
        }
    return worst;
}

/* The bound. A sum of T terms in f32 makes T rounding errors, each at most u = 2^-24 of a partial
 * sum. Partial sums of random terms stay below about the largest result M, and the errors have
 * random signs, so their sum has a deviation below sqrt(T/3) u M; 2 sqrt(T) u M leaves room for the
 * largest of many elements, and 8 u M for what follows the sum (exponentials, products, stores). Group
 * norm multiplies errors of x by 1/deviation once on the way to the output and twice more on the
 * way to dx. A value stored in bf16 is rounded by each backend, to neighbours at worst: 2^-7 of
 * itself. Attention at bf16 may also round probabilities and their gradients before it multiplies:
 * errors of 2^-9 per term with random signs, together below twice 2^-9 M.
 *
 * f32x3 multiplies x = h + l + r, h = bf16(x), l = bf16(x - h), by w = H + L + R as h H + h L + l H.
 * bf16 keeps 8 bits: |x - h| <= 2^-8 |x|, half a unit of h. x - h is exact in f32 and
 * keeps 8 bits in its turn, so that |r| <= 2^-17 |x| (a sign is worth a bit). What one product lacks is
 *     x w - (h H + h L + l H) = l L + r w + (x - r) R,
 * at most (2^-16 + 2 * 2^-17 + 2^-34) |x w| < 2^-15 (1 + 2^-18) |x w|, and bf16 * bf16 is exact in f32. The
 * errors of many products have random signs, so that together they stay below 2^-15 M as one does;
 * a sum takes three times the additions. Remainders below 2^-126 count as zero: nothing beside M >= 1. */
static double bound_of(const problem *p, int operand, double m)
{
    const double a = amplification(p);
    const double power = p->k->op != NN_GROUP_NORM ? 1 : operand == NORM_X || operand == NORM_X2 ? a * a * a : a;
    const bool split = p->k->op == NN_CONV2D && p->precision == NN_F32X3;
    const double sum = 2 * (sqrt((split ? 3 : 1) * terms(p, operand)) + 4) * 0x1p-24 * m * power;
    const double operands = p->k->op == NN_ATTENTION && p->node->compute == NN_BF16 ? 2 * 0x1p-9 * m : 0;
    return sum + operands + (split ? 0x1p-15 * m : 0);
}

static void compare(const problem *p, int operand, const char *what, nn_dtype stored, const float *want, const float *got, size_t len)
{
    const double most = bound_of(p, operand, fmax(1, largest(want, len)));
    const double store = stored == NN_BF16 ? 0x1p-7 : 0;
    for (size_t i = 0; i < len; i++) {
        const double error = fabs((double)got[i] - (double)want[i]);
        const double bound = most + store * fabs((double)want[i]);
        if (!(error <= bound))
            fail_msg("%s: %s[%zu] is %.9g, reference %.9g, error %.2e, bound %.2e",
                     p->name, what, i, (double)got[i], (double)want[i], error, bound);
    }
}

static void equal_to_ref(const problem *p, nn_backend *b)
{
    nn_backend *ref;
    MUST(backend_ref_new(&ref));
    result want = run(p, ref, p->k->n), got = run(p, b, p->k->n);
    const nn_tensor *out = p->node->out;
    compare(p, -1, "output", out->dtype, want.out, got.out, nn_len(out->shape));
    for (int i = 0; i < NN_MAX_IN && has_gradient(p); i++) {
        const nn_tensor *t = p->node->in[i];
        if (!t) continue;
        if (t->role == NN_PARAM) {
            const size_t at = p->g->params.list[t->param].offset;
            compare(p, i, t->name, NN_F32, want.grads + at, got.grads + at, nn_len(t->shape));
        } else if (want.din[i]) {
            compare(p, i, t->name, t->dtype, want.din[i], got.din[i], nn_len(t->shape));
        }
    }
    result_free(&want);
    result_free(&got);
    nn_backend_free(ref);
}

/* ---- the same bits ---- */

static void assert_same_bits(const problem *p, const char *how, const result *a, const result *b)
{
    if (memcmp(a->out, b->out, nn_len(p->node->out->shape) * 4)) fail_msg("%s: output differs %s", p->name, how);
    for (int i = 0; i < NN_MAX_IN; i++)
        if (a->din[i] && memcmp(a->din[i], b->din[i], nn_len(p->node->in[i]->shape) * 4))
            fail_msg("%s: gradient of %s differs %s", p->name, p->node->in[i]->name, how);
    for (int i = 0; i < p->g->params.count && has_gradient(p); i++) {
        const nn_param *q = &p->g->params.list[i];
        if (memcmp(a->grads + q->offset, b->grads + q->offset, nn_len(q->shape) * 4))
            fail_msg("%s: gradient of %s differs %s", p->name, q->name, how);
    }
}

static void images_are_independent(const problem *p, nn_backend *b)
{
    result together = run(p, b, p->k->n), alone = run(p, b, 1), pairs = run(p, b, 2);
    assert_same_bits(p, "when images run alone", &together, &alone);
    assert_same_bits(p, "when images run in pairs", &together, &pairs);
    result_free(&together);
    result_free(&alone);
    result_free(&pairs);
}

/* Whether gradients of inputs are wanted must not matter to those of parameters. */
static void parameters_do_not_need_inputs(const problem *p, nn_backend *b)
{
    if (!p->g->params.count) return;
    op_case alone = *p->k;
    alone.fixed_inputs = true;
    problem q = problem_new(&alone, p->precision);
    result with = run(p, b, p->k->n), without = run(&q, b, q.k->n);
    assert_same_bits(&q, "when inputs need no gradient", &without, &with);
    result_free(&with);
    result_free(&without);
    problem_free(&q);
}

typedef struct { const problem *p; nn_backend *b; result r; } thread_job;

static void *thread_run(void *arg)
{
    thread_job *j = arg;
    j->r = run(j->p, j->b, j->p->k->n);
    return NULL;
}

static void threads_agree(const problem *p, nn_backend *b)
{
    pthread_t thread;
    thread_job jobs[2] = { { .p = p, .b = b }, { .p = p, .b = b } };
    result alone = run(p, b, p->k->n);
    assert_int_equal(pthread_create(&thread, NULL, thread_run, &jobs[1]), 0);
    thread_run(&jobs[0]);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_same_bits(p, "beside another plan", &alone, &jobs[i].r);
        result_free(&jobs[i].r);
    }
    result_free(&alone);
}

/* ---- what f32x3 is ---- */

static double largest_error(const float *want, const float *got, size_t len)
{
    double m = 0;
    for (size_t i = 0; i < len; i++) m = fmax(m, fabs((double)got[i] - (double)want[i]));
    return m;
}

/* With enough products some are rounded far enough that bf16 operands show, in every pass. */
static void bf16_is_worse_in(const problem *p, nn_backend *ref)
{
    enum { ENOUGH = 64 };
    if (p->k->op != NN_CONV2D || p->precision != NN_F32X3 || !has_gradient(p)) return;
    const nn_tensor *out = p->node->out, *x = p->node->in[CONV_X], *w = p->node->in[CONV_W];
    nn_node *node = p->g->nodes[0];
    result want = run(p, ref, p->k->n);
    node->compute = NN_BF16;
    result got = run(p, ref, p->k->n);
    node->compute = NN_F32X3;
    const struct { int operand; size_t len; const float *want, *got; } passes[] = {
        { -1, nn_len(out->shape), want.out, got.out }, { CONV_X, nn_len(x->shape), want.din[CONV_X], got.din[CONV_X] },
        { CONV_W, nn_len(w->shape), want.grads, got.grads },
    };
    assert_int_equal(p->g->params.list[w->param].offset, 0);
    for (int i = 0; i < 3; i++) {
        const double bound = bound_of(p, passes[i].operand, fmax(1, largest(passes[i].want, passes[i].len)));
        if (passes[i].len >= ENOUGH && !(largest_error(passes[i].want, passes[i].got, passes[i].len) > 4 * bound))
            fail_msg("%s: bf16 products stay near the bound of f32x3, %.2e, in pass %d", p->name, bound, i);
    }
    result_free(&want);
    result_free(&got);
}

/* Only levels with tiles split operands; elsewhere the bits are those of f32. */
static void splits_with_tiles_only(const problem *p, nn_backend *b)
{
    enum { ENOUGH = 64 };
    const bool tiles = strstr(b->isa, "amx") && p->k->op == NN_CONV2D;
    if (p->precision != NN_F32X3 || (tiles && work(p->k) > 1e6)) return;
    problem q = problem_new(p->k, NN_F32);
    const size_t len = nn_len(p->node->out->shape);
    result split = run(p, b, p->k->n), exact = run(&q, b, p->k->n);
    if (!tiles) assert_same_bits(p, "from f32's", &split, &exact);
    else if (len >= ENOUGH && !memcmp(split.out, exact.out, len * 4)) fail_msg("%s: has the bits of f32", p->name);
    result_free(&split);
    result_free(&exact);
    problem_free(&q);
}


/* Together and one image at a time: the work of one image is cut in other places than that of many.
 * Gradients are compared because backward reads what forward leaves in aux. */
static void parts_agree(const problem *p, nn_backend *b)
{
    static const int parts[] = { 2, 3, MOST_PARTS };
    result alone = run(p, b, p->k->n);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        for (int per_call = 1; per_call <= p->k->n; per_call += p->k->n > 1 ? p->k->n - 1 : 1) {
            char how[64];
            snprintf(how, sizeof how, "with %d parts, %d images a call", parts[i], per_call);
            result shared = run_by(p, b, per_call, parts[i]);
            assert_same_bits(p, how, &alone, &shared);
            result_free(&shared);
        }
    result_free(&alone);
}

static void blocks_agree(const problem *p, nn_backend *b)
{
    const int chosen = cpu_tile_columns(b);
    if (!chosen || p->k->op != NN_CONV2D) return;
    cpu_set_tile_columns(b, 16);
    result narrow = run(p, b, p->k->n);
    cpu_set_tile_columns(b, 32);
    result wide = run(p, b, p->k->n), shared = run_by(p, b, p->k->n, MOST_PARTS);
    cpu_set_tile_columns(b, chosen);
    assert_same_bits(p, "with blocks of 32 columns", &narrow, &wide);
    assert_same_bits(p, "with blocks of 32 columns that threads share", &narrow, &shared);
    result_free(&narrow);
    result_free(&wide);
    result_free(&shared);
}

/* ---- what is not a number ---- */

/* A maximum does not lose it, wherever in the window it stands, and windows without it are untouched. */
static void check_nan_in_maxima(nn_backend *b)
{
    enum { SIDE = 5, CHANNELS = 40, LEN = SIDE * SIDE * CHANNELS };
    static const op_case k = { NN_POOL, 1, SIDE, SIDE, CHANNELS, .kernel = 3, .stride = 1, .pad = 1, .max = true, .fixed_inputs = true };
    problem p = problem_new(&k, NN_F32);
    result before = run(&p, b, 1);
    ((float *)p.in[POOL_X])[(2 * SIDE + 2) * CHANNELS + 7] = NAN;
    result after = run(&p, b, 1);
    for (int i = 0; i < LEN; i++) {
        const int y = i / CHANNELS / SIDE, x = i / CHANNELS % SIDE;
        const bool inside = y >= 1 && y <= 3 && x >= 1 && x <= 3 && i % CHANNELS == 7;
        assert_int_equal(isnan(after.out[i]), inside);
        if (!inside) assert_memory_equal(&after.out[i], &before.out[i], sizeof *after.out);
    }
    result_free(&before);
    result_free(&after);
    problem_free(&p);
}

/* ---- the published timestep embeddings ---- */

static void check_embedding(nn_backend *b, const golden_file *f, const char *name, int dim, bool cos_first, double shift)
{
    const golden t = golden_tensor(f, "t"), want = golden_tensor(f, "%s", name);
    const int n = (int)t.len;
    nn_graph *g = nn_graph_new(NN_F32);
    nn_tensor *in = nn_input(g, "t", (nn_shape){ n, 1, 1, 1 }, NN_F32, false);
    nn_tensor *out = nn_timestep_embed(g, in, dim, cos_first, shift, 10000);
    MUST(nn_graph_status(g));
    float got[16 * 128], none[1] = { 0 };
    assert_true(n * dim <= 16 * 128);
    nn_weights *w;
    nn_plan *plan;
    MUST(nn_weights_new(g, b, none, false, &w));
    MUST(nn_plan_new(g, b, NN_INFER, out, &plan));
    nn_plan_bind(plan, w, NULL);
    MUST(nn_plan_set(plan, in, n, t.data));
    MUST(nn_plan_forward(plan, n));
    MUST(nn_plan_get(plan, out, n, got));
    for (int i = 0; i < n * dim; i++) {
        const double time = golden_at(&t, (size_t)(i / dim)), value = golden_at(&want, (size_t)i);
        if (!(fabs((double)got[i] - value) <= 1e-6 + 1.2e-7 * time))
            fail_msg("%s: t %g, element %d is %.9g, expected %.9g", name, time, i % dim, (double)got[i], value);
    }
    nn_plan_free(plan);
    nn_weights_free(w);
    nn_graph_free(g);
}

static void check_embeddings(nn_backend *b)
{
    static const int dims[] = { 32, 33, 128 };
    golden_file f = golden_open("tests/golden/06_unet/timestep_embedding.safetensors");
    for (int d = 0; d < 3; d++) {
        char name[64];
        snprintf(name, sizeof name, "iddpm/%d", dims[d]);
        check_embedding(b, &f, name, dims[d], true, 0);
        snprintf(name, sizeof name, "ddim/%d", dims[d]);
        check_embedding(b, &f, name, dims[d], false, 1);
        for (int kind = 0; kind < 4; kind++) {
            snprintf(name, sizeof name, "diffusers/%d/flip%d_shift%d", dims[d], kind / 2, kind % 2);
            check_embedding(b, &f, name, dims[d], kind / 2 == 1, kind % 2);
        }
    }
    golden_close(&f);
}

/* ---- what runs ---- */

static void gradients(void **state)     { each_case(*state, gradients_of); }
static void equal(void **state)         { each_case(*state, equal_to_ref); }
static void independence(void **state)  { each_case(*state, images_are_independent); }
static void parameters(void **state)    { each_case(*state, parameters_do_not_need_inputs); }
static void bf16_is_worse(void **state) { each_case(*state, bf16_is_worse_in); }
static void split(void **state)         { each_case(*state, splits_with_tiles_only); }
static void threads(void **state)       { each_case(*state, threads_agree); }
static void parts(void **state)         { each_case(*state, parts_agree); }
static void blocks(void **state)        { each_case(*state, blocks_agree); }
static void embeddings(void **state)    { check_embeddings(*state); }
static void nan_in_maxima(void **state) { check_nan_in_maxima(*state); }

static int test_ref(void)
{
    nn_backend *b;
    if (backend_ref_new(&b) != DDPM_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(gradients, b), cmocka_unit_test_prestate(bf16_is_worse, b), cmocka_unit_test_prestate(independence, b),
        cmocka_unit_test_prestate(parameters, b), cmocka_unit_test_prestate(threads, b),
        cmocka_unit_test_prestate(parts, b), cmocka_unit_test_prestate(embeddings, b), cmocka_unit_test_prestate(nan_in_maxima, b),
    };
    const int failures = cmocka_run_group_tests_name("ref", tests, NULL, NULL);
    nn_backend_free(b);
    return failures;
}

static int test_level(const char *isa)
{
    nn_backend *b;
    if (backend_cpu_new(isa, &b) != DDPM_OK) {
        printf("cpu %s: %s\n", isa, ddpm_last_error());
        return 1;
    }
    if (strcmp(b->isa, isa) != 0) {
        printf("cpu %s: got %s\n", isa, b->isa);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(equal, b), cmocka_unit_test_prestate(split, b), cmocka_unit_test_prestate(independence, b),
        cmocka_unit_test_prestate(parameters, b), cmocka_unit_test_prestate(threads, b),
        cmocka_unit_test_prestate(parts, b), cmocka_unit_test_prestate(blocks, b), cmocka_unit_test_prestate(embeddings, b), cmocka_unit_test_prestate(nan_in_maxima, b),
    };
    const int failures = cmocka_run_group_tests_name(isa, tests, NULL, NULL);
    nn_backend_free(b);
    return failures;
}

/* Does the kernel say that this processor has matrix tiles for bf16? */
static bool kernel_reports_amx(void)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char word[64];
    bool found = false;
    while (f && !found && fscanf(f, "%63s", word) == 1) found = !strcmp(word, "amx_bf16");
    if (f) fclose(f);
    return found;
}

static int test_cpu(void)
{
    const char *max = max_isa();
    int failures = 0;
    for (const char *const *isa = cpu_isa_names(); *isa; isa++) {
        const bool here = cpu_isa_available(*isa);
        printf("cpu %s: %s\n", *isa, here ? "tested" : "not on this machine");
        if (here) failures += test_level(*isa);
        else if (!strcmp(*isa, "amx") && kernel_reports_amx()) {
            printf("the processor has amx_bf16, but the level is not available: its tests must not be skipped\n");
            failures++;
        }
        if (max && !strcmp(*isa, max)) break;
    }
    return failures;
}

int main(int argc, char **argv)
{
    if (argc < 2) return test_ref();
    if (!strcmp(argv[1], "cpu")) return test_cpu();
    fprintf(stderr, "no backend %s in this build\n", argv[1]);
    return 2;
}
