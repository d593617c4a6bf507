/* What kernels see of a plan that threads share, and what becomes of a failure: a backend that only keeps count. */
#include "base/pool.h"
#include "nn/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

enum { NODES = 3, PHASES = 2, PARTS = 5, THREADS = 4, SCRATCH = 64 };

/* nn_backend.state. calls: by node, phase and part; whole: those of all the work. */
typedef struct {
    atomic_int calls[NODES][PHASES][PARTS], whole[NODES], wrong;
    int        fail_node, fail_part;
} record;

static size_t value_bytes(nn_backend *b, const nn_tensor *t) { (void)b; return nn_len(t->shape) * sizeof(float); }
static void   give_back(nn_backend *b, void *p)              { (void)b; free(p); }

static ddpm_status take(nn_backend *b, size_t size, void **p)
{
    (void)b;
    *p = aligned_alloc(64, (size + 63) / 64 * 64);
    return *p ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory");
}

static ddpm_status upload(nn_backend *b, const nn_tensor *t, int n, const void *host, void *dst)
{
    (void)b, (void)t, (void)n, (void)host, (void)dst;
    return DDPM_OK;
}

static ddpm_status prepare(nn_backend *b, const nn_node *node, void **state, size_t *scratch)
{
    (void)b, (void)node, (void)state;
    *scratch = SCRATCH;
    return DDPM_OK;
}

/* Steps follow each other: when this one begins, all calls of the one before are done. */
static void check_order(record *r, int node, int phase)
{
    const int before = phase > 0 ? node : node - 1, last = phase > 0 ? phase - 1 : PHASES - 1;
    if (before < 0 || atomic_load(&r->whole[before]) == 1) return;
    for (int part = 0; part < PARTS; part++)
        if (atomic_load(&r->calls[before][last][part]) != 1) atomic_fetch_add(&r->wrong, 1);
}

static ddpm_status forward(nn_backend *b, const nn_call *c)
{
    record *r = b->state;
    const int node = c->node->index;
    check_order(r, node, c->phase);
    memset(c->scratch, node, SCRATCH);                   /* the thread sanitizer sees scratch that two threads have */
    if (c->parts == 1) atomic_fetch_add(&r->whole[node], 1);
    else if (c->parts != PARTS || c->part < 0 || c->part >= PARTS || c->phase < 0 || c->phase >= PHASES) atomic_fetch_add(&r->wrong, 1);
    else atomic_fetch_add(&r->calls[node][c->phase][c->part], 1);
    return node == r->fail_node && c->part == r->fail_part ? ddpm_fail(DDPM_EFAIL, "this share fails") : DDPM_OK;
}

typedef struct { nn_plan *plan, *lender[THREADS]; atomic_int failures; } shared_run;

static void help(void *ctx, int task, int worker)
{
    (void)task;
    shared_run *s = ctx;
    const ddpm_status status = nn_plan_help_forward(s->plan, worker, s->lender[worker]);
    if (status == DDPM_EFAIL && !strcmp(ddpm_last_error(), "this share fails")) atomic_fetch_add(&s->failures, 1);
    else if (status != DDPM_OK) atomic_fetch_add(&s->failures, 100);
}

static void run(shared_run *s, record *r, const nn_tensor *x, pool *threads)
{
    memset(r->calls, 0, sizeof r->calls);
    memset(r->whole, 0, sizeof r->whole);
    atomic_store(&s->failures, 0);
    MUST(nn_plan_set(s->plan, x, 1, ""));
    nn_plan_begin_forward(s->plan, 1, PARTS);
    pool_run(threads, THREADS, help, s);
}

/* SiLU has phases, addition does not: silu, add, silu. */
static void check_calls(record *r)
{
    assert_int_equal(atomic_load(&r->wrong), 0);
    for (int node = 0; node < NODES; node++) {
        assert_int_equal(atomic_load(&r->whole[node]), node == 1);
        for (int k = 0; k < PHASES * PARTS; k++) assert_int_equal(atomic_load(&r->calls[node][k / PARTS][k % PARTS]), node != 1);
    }
}

static void every_share_is_done_once_also_beside_failures(void **state)
{
    (void)state;
    enum { ROUNDS = 200 };
    record r = { .fail_node = -1 };
    nn_backend b = { .name = "count", .value_bytes = value_bytes, .alloc = take, .free = give_back, .upload = upload, .state = &r };
    b.kernels[NN_SILU] = (nn_kernel){ .prepare = prepare, .forward = forward, .phases = PHASES };
    b.kernels[NN_ADD] = (nn_kernel){ .prepare = prepare, .forward = forward };
    nn_graph *g = nn_graph_new(NN_F32);
    nn_tensor *x = nn_input(g, "x", (nn_shape){ 1, 4, 4, 2 }, NN_F32, false), *h = nn_silu(g, x);
    h = nn_silu(g, nn_add(g, h, h));
    nn_weights *w;
    const float none = 0;
    shared_run s = { .plan = NULL };
    pool *threads;
    MUST(pool_new(THREADS, &threads));
    MUST(nn_weights_new(g, &b, &none, false, &w));
    MUST(nn_plan_new(g, &b, NN_INFER, h, &s.plan));
    nn_plan_bind(s.plan, w, NULL);
    for (int i = 0; i < THREADS; i++) MUST(nn_plan_new(g, &b, NN_INFER, h, &s.lender[i]));
    for (int round = 0; round < ROUNDS; round++) {
        const bool fails = round % 2;
        r.fail_node = fails ? round / 2 % NODES : -1;
        r.fail_part = r.fail_node == 1 ? 0 : round % PARTS;
        run(&s, &r, x, threads);
        check_calls(&r);
        /* Both phases of a part fail, on one thread or on two. */
        const int told = atomic_load(&s.failures);
        assert_true(fails ? told == 1 || (told == 2 && r.fail_node != 1) : told == 0);
    }
    for (int i = 0; i < THREADS; i++) nn_plan_free(s.lender[i]);
    nn_plan_free(s.plan);
    nn_weights_free(w);
    nn_graph_free(g);
    pool_free(threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_share_is_done_once_also_beside_failures) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
