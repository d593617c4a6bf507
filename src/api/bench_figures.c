#include "api/bench.h"

#include "api/measure.h"

#include <stdio.h>
#include <string.h>

/* From inside the second-level cache of any processor to beyond the last one. */
const size_t bench_copy_bytes[BENCH_COPIES] = { 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26 };

static double larger(double a, double b) { return a > b ? a : b; }

double bench_products(const bench_ceilings *c, nn_dtype compute)
{
    if (compute == NN_BF16 && c->bf16 > 0) return c->bf16;
    return compute == NN_F32X3 ? larger(c->f32, c->bf16 / 3) : c->f32;
}

ddpm_status bench_ceilings_measure(const engine *e, bench_ceilings *c)
{
    c->f32 = measure_products(e->threads, e->backend->isa, false);
    c->bf16 = measure_products(e->threads, e->backend->isa, true);
    for (int k = 0; k < BENCH_COPIES; k++) DDPM_TRY(measure_copy(e->threads, bench_copy_bytes[k], &c->copy[k]));
    return DDPM_OK;
}

static void keep_larger(bench_ceilings *best, const bench_ceilings *c)
{
    best->f32 = larger(best->f32, c->f32);
    best->bf16 = larger(best->bf16, c->bf16);
    for (int k = 0; k < BENCH_COPIES; k++) best->copy[k] = larger(best->copy[k], c->copy[k]);
}

bench_ceilings bench_ceilings_of(const bench_run *run, int repeat)
{
    bench_ceilings c = run->around[repeat];
    keep_larger(&c, &run->around[repeat + 1]);
    return c;
}

void bench_ceilings_raise(bench_ceilings *best, const bench_run *run)
{
    for (int r = 0; r <= run->count; r++) keep_larger(best, &run->around[r]);
}

bench_range bench_range_of(const double *values, int count)
{
    double sorted[BENCH_MAX_REPEATS];
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    const double median = measure_median(sorted, count);
    return (bench_range){ median, sorted[0], sorted[count - 1] };
}

ddpm_status bench_range_put(json *o, const char *key, bench_range r, double factor)
{
    char name[64];
    json_put_real(o, key, factor * r.median);
    snprintf(name, sizeof name, "%s_min", key);
    json_put_real(o, name, factor * r.min);
    snprintf(name, sizeof name, "%s_max", key);
    return json_put_real(o, name, factor * r.max);
}
