/* bench.h - what the files of `ddpm bench` share; not for other files. */
#ifndef DDPM_API_BENCH_H
#define DDPM_API_BENCH_H

#include "api/engine.h"
#include "train/trainer.h"

#include <stdio.h>

enum { BENCH_COPIES = 5, BENCH_MAX_REPEATS = 100 };

/* --- figures of repeated work: bench_figures.c -------------------------------------------- */

/* What the threads reach together: GFLOP/s, GFLOP/s (0: no such products), GB/s of copies of bench_copy_bytes[k]. */
typedef struct { double f32, bf16, copy[BENCH_COPIES]; } bench_ceilings;

extern const size_t bench_copy_bytes[BENCH_COPIES];       /* read and written by one thread; rising */

/* Of a node's products, or of the network's. */
double bench_products(const bench_ceilings *c, nn_dtype compute);

/* The same work done `count` times. The ceilings are those of before and after each time: a machine that others use, or that is
 * warm, changes its speed from minute to minute. */
typedef struct {
    int            count;
    double         seconds[BENCH_MAX_REPEATS];
    bench_ceilings around[BENCH_MAX_REPEATS + 1];
} bench_run;

ddpm_status    bench_ceilings_measure(const engine *e, bench_ceilings *c);
bench_ceilings bench_ceilings_of(const bench_run *run, int repeat);      /* the larger of both, each */
void           bench_ceilings_raise(bench_ceilings *best, const bench_run *run);

typedef struct { double median, min, max; } bench_range;
bench_range bench_range_of(const double *values, int count);

/* KEY, KEY_min and KEY_max of an object. */
ddpm_status bench_range_put(json *o, const char *key, bench_range r, double factor);

/* --- time by operator: bench_ops.c --------------------------------------------------------- */

/* A piece of a training step: a node of the network, or what is between and around the nodes. */
typedef struct { char *name; int op; nn_dtype compute; double flops[2], bytes[2], call_bytes[2]; } bench_piece;   /* forward, backward */

/* op of a piece that is no operator. */
enum { BENCH_BETWEEN = NN_OP_COUNT, BENCH_PART, BENCH_OTHER = BENCH_PART + TRAIN_PARTS, BENCH_KINDS };

typedef struct {
    int          images, threads, count, nodes;      /* images of a step; pieces, the first of them nodes */
    bench_piece *pieces;
    double      *seconds;                            /* [BENCH_MAX_REPEATS][count][2], thread-seconds */
} bench_ops;

ddpm_status bench_ops_new(trainer *tr, const engine *e, int batch, int leaves, bench_ops *ops);
void        bench_ops_free(bench_ops *ops);

/* After step number `repeat` of a trainer with trainer_profile on, which is started anew. */
void        bench_ops_take(bench_ops *ops, trainer *tr, int repeat);

void        bench_ops_print(const bench_ops *ops, const bench_run *run, FILE *f);
ddpm_status bench_ops_document(const bench_ops *ops, const bench_run *run, json *o);

/* --- against an earlier document: bench_compare.c --------------------------------------------- */

/* Take the work that `file`, read from `where`, was measured with: whatever the command does not say itself. EINVAL when it
 * says something else, EFORMAT naming the key that is missing or wrong. */
ddpm_status bench_compare_adopt(settings *s, const json *file, const char *where);

/* EFORMAT unless `file` measured a network of so many parameters. */
ddpm_status bench_compare_network(const json *file, const char *where, size_t parameters);

/* The ratios of two documents of tool_bench of the same work, as text and as key "comparison" of `now`. *slower: figures that
 * became worse by more than the noise. */
ddpm_status bench_compare(const json *then, const char *where, json *now, FILE *f, int *slower);

#endif
