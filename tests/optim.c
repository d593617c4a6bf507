/* The optimiser against its formulas in double, and its reductions against plain loops. */
#include "nn/optim.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LEN = 50001 };               /* several blocks and an odd rest */

typedef struct { float grad[LEN], value[LEN], m[LEN], v[LEN], ema[2][LEN]; } slabs;

static slabs *slabs_new(void)
{
    slabs *s = calloc(1, sizeof *s);
    assert_non_null(s);
    rng_normals((rng_address){ .seed = 1, .stream = RNG_NOISE, .sample = 1 }, 0, LEN, s->value);
    memcpy(s->ema[0], s->value, sizeof s->value);
    memcpy(s->ema[1], s->value, sizeof s->value);
    return s;
}

static void new_gradient(slabs *s, long step)
{
    rng_normals((rng_address){ .seed = 2, .stream = RNG_NOISE, .sample = (uint64_t)step }, 0, LEN, s->grad);
    for (int i = 0; i < LEN; i++) s->grad[i] *= 0.01f * (float)(1 + i % 7);
}

static const double rates[2] = { 0.9999, 0.5 };

static void take_step(slabs *s, const adam_config *c, long step, double grad_scale, pool *p)
{
    const optim_slabs o = { .len = LEN, .grad = s->grad, .value = s->value, .m = s->m, .v = s->v, .n_ema = 2,
                            .ema = { s->ema[0], s->ema[1] }, .ema_rate = { rates[0], rates[1] }, .grad_scale = grad_scale };
    optim_step(c, step, &o, p);
}

/* One parameter by the papers' formulas, in double. */
typedef struct { double value, m, v, ema[2]; } exact;

static void exact_step(exact *e, const adam_config *c, long step, double grad)
{
    const double fix1 = 1 - pow(c->beta1, (double)step), fix2 = 1 - pow(c->beta2, (double)step);
    if (c->kind == ADAM_W) e->value *= 1 - c->lr * c->weight_decay;
    else grad += c->weight_decay * e->value;
    e->m = c->beta1 * e->m + (1 - c->beta1) * grad;
    e->v = c->beta2 * e->v + (1 - c->beta2) * grad * grad;
    if (c->kind == ADAM_TF) e->value -= c->lr * sqrt(fix2) / fix1 * e->m / (sqrt(e->v) + c->eps);
    else e->value -= c->lr * (e->m / fix1) / (sqrt(e->v / fix2) + c->eps);
    for (int k = 0; k < 2; k++) e->ema[k] = rates[k] * e->ema[k] + (1 - rates[k]) * e->value;
}

static void close_to(const char *what, double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound)) fail_msg("%s is %.9g, should be %.9g within %.1e", what, got, want, bound);
}

static void adam_follows_its_formula(void **state)
{
    (void)state;
    enum { STEPS = 20 };
    const double grad_scale = 0.25;
    for (int kind = ADAM_W; kind <= ADAM_TF; kind++) {
        /* the large epsilon makes its place in the formula matter */
        const adam_config c = { (adam_kind)kind, .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-3, .weight_decay = 0.1 };
        slabs *s = slabs_new();
        exact *e = calloc(LEN, sizeof *e);
        assert_non_null(e);
        for (int i = 0; i < LEN; i++) e[i] = (exact){ .value = s->value[i], .ema = { s->value[i], s->value[i] } };
        for (long step = 1; step <= STEPS; step++) {
            new_gradient(s, step);
            for (int i = 0; i < LEN; i++) exact_step(&e[i], &c, step, (double)s->grad[i] * grad_scale);
            take_step(s, &c, step, grad_scale, NULL);
        }
        /* each step rounds the value once or twice, by 2^-24 of at most about 5; the update's own
         * rounding, a few 2^-24 of lr, is much smaller */
        for (int i = 0; i < LEN; i++) {
            close_to("value", (double)s->value[i], e[i].value, STEPS * 2 * 5 * 0x1p-24);
            close_to("m", (double)s->m[i], e[i].m, STEPS * 2 * 0x1p-24);
            close_to("v", (double)s->v[i], e[i].v, STEPS * 2 * 0x1p-24);
            for (int k = 0; k < 2; k++) close_to("ema", (double)s->ema[k][i], e[i].ema[k], STEPS * 3 * 5 * 0x1p-24);
        }
        free(e);
        free(s);
    }
}

/* By hand: with m = v = 0 the first step of every variant without decay moves by lr g / (|g| + eps'). */
static void first_step_by_hand(void **state)
{
    (void)state;
    const adam_config c[3] = { { ADAM_W, 0.5, 0.9, 0.75, 1.0, 0.2 }, { ADAM_TORCH, 0.5, 0.9, 0.75, 1.0, 0 },
                               { ADAM_TF, 0.5, 0.9, 0.75, 1.0, 0 } };
    /* g = 3: W: 2 (1 - 0.1) - 0.5 * 3 / (3 + 1); torch: 2 - 0.375; TF: sqrt(v) = 1.5, 2 - 0.5 * 0.5 / 0.1 * 0.3 / 2.5 */
    const double want[3] = { 1.425, 1.625, 1.7 };
    for (int i = 0; i < 3; i++) {
        float grad = 3, value = 2, m = 0, v = 0;
        const optim_slabs s = { .len = 1, .grad = &grad, .value = &value, .m = &m, .v = &v, .grad_scale = 1 };
        optim_step(&c[i], 1, &s, NULL);
        close_to("value", (double)value, want[i], 1e-6);
    }
}

static void threads_do_not_change_bits(void **state)
{
    (void)state;
    const adam_config c = { ADAM_W, 1e-3, 0.9, 0.999, 1e-8, 0.01 };
    slabs *one = slabs_new(), *two = slabs_new();
    pool *p;
    assert_int_equal(pool_new(2, &p), DDPM_OK);
    for (long step = 1; step <= 3; step++) {
        new_gradient(one, step);
        new_gradient(two, step);
        take_step(one, &c, step, 1, NULL);
        take_step(two, &c, step, 1, p);
    }
    assert_memory_equal(one, two, sizeof *one);
    const double alone = optim_norm(one->grad, LEN, NULL), shared = optim_norm(one->grad, LEN, p);
    assert_memory_equal(&alone, &shared, sizeof alone);
    optim_add(one->m, one->grad, LEN, NULL);
    optim_add(two->m, two->grad, LEN, p);
    assert_memory_equal(one, two, sizeof *one);
    pool_free(p);
    free(one);
    free(two);
}

static void norms_and_sums(void **state)
{
    (void)state;
    static const size_t lengths[] = { 0, 1, 7, 8, 9, 4095, 4096, 4097, LEN };
    slabs *s = slabs_new();
    new_gradient(s, 9);
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        double sum = 0;
        for (size_t i = 0; i < lengths[k]; i++) sum += (double)s->grad[i] * (double)s->grad[i];
        close_to("norm", optim_norm(s->grad, lengths[k], NULL), sqrt(sum), 1e-12 * sqrt(sum));
    }
    for (int i = 0; i < LEN; i++) s->v[i] = s->value[i];
    optim_add(s->v, s->grad, LEN, NULL);
    for (int i = 0; i < LEN; i++) assert_true(s->v[i] == s->value[i] + s->grad[i]);
    free(s);
}

static void what_is_not_finite_shows(void **state)
{
    (void)state;
    static const int places[] = { 0, 4095, 4096, LEN - 1 };
    slabs *s = slabs_new();
    assert_true(optim_finite(s->value, LEN, NULL));
    for (int k = 0; k < 4; k++) {
        const float bad[3] = { NAN, INFINITY, -INFINITY };
        for (int j = 0; j < 3; j++) {
            const float keep = s->value[places[k]];
            s->value[places[k]] = bad[j];
            assert_false(optim_finite(s->value, LEN, NULL));
            assert_true(!isfinite(optim_norm(s->value, LEN, NULL)));
            s->value[places[k]] = keep;
        }
    }
    s->value[3] = 3e38f;
    assert_true(optim_finite(s->value, LEN, NULL));
    assert_true(isfinite(optim_norm(s->value, LEN, NULL)));
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adam_follows_its_formula),  cmocka_unit_test(first_step_by_hand),
        cmocka_unit_test(threads_do_not_change_bits), cmocka_unit_test(norms_and_sums),
        cmocka_unit_test(what_is_not_finite_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
