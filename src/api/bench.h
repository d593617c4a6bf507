/* bench.h - time by operator, for bench.c; not for other files. */
#ifndef DDPM_API_BENCH_H
#define DDPM_API_BENCH_H

#include "api/engine.h"
#include "model/denoiser.h"

#include <stdio.h>

/* Thread-seconds and operations of one pass over `images` images. */
typedef struct { double seconds[2], flops[2]; } bench_time;         /* forward, backward */
typedef struct { const char *name; char *label; bench_time time; } bench_node;

typedef struct {
    int         images, count;
    bench_time  kind[NN_OP_COUNT];
    bench_node *nodes;               /* [count], slowest first; labels owned */
} bench_ops;

/* Forward and backward of one chunk on every thread at once. */
ddpm_status bench_ops_measure(const engine *e, const unet_config *net, int chunk, bench_ops *ops);
void        bench_ops_free(bench_ops *ops);
void        bench_ops_print(const bench_ops *ops, FILE *f);
ddpm_status bench_ops_document(const bench_ops *ops, json *o);

#endif
