/* backend.h - the device door: everything a device must provide to run a plan.
 *
 * A backend is a constant table of functions plus one opaque state. The plan
 * never asks which backend it has. Outside a backend there is one logical
 * layout (NHWC, tensor.h); inside it the backend decides, and says how many
 * bytes a value needs; upload and download convert.
 *
 * Kernel contract: forward writes `out` and `aux`; backward reads only what the
 * operator declared (nn_op_info.saves) plus `aux` and `dout`; it overwrites
 * every activation din that is not NULL and writes or continues parameter
 * gradients (op.h). No kernel allocates, waits for the host, or keeps state
 * between calls except in what `prepare` returned.
 *
 * Parallel work is several plans (model/denoiser.h). Where there are fewer
 * images than threads, threads may also share a plan (nn_plan_help_forward): then
 * a forward call is made for each of `parts` in each of the kernel's phases, by any
 * threads at any times, and does a share of the work, such that a phase writes
 * every element once, no share reads what another of its phase writes, and the
 * bits of `out` and `aux` are those of one part. A share may be empty. A phase
 * begins when all shares of the one before are done. A kernel without phases is
 * called once. With one part every kernel does all its work in one call. */
#ifndef DDPM_NN_BACKEND_H
#define DDPM_NN_BACKEND_H

#include "nn/op.h"

typedef struct nn_backend nn_backend;

/* The addresses of one kernel call. A NULL din[i] means "not wanted". */
typedef struct {
    const nn_node *node;
    int            n;                 /* images in this call, <= the planned n   */
    bool           accumulate;        /* parameter gradients continue the slab   */
    void          *state;             /* what prepare() returned                 */
    const void    *packed;            /* what pack() wrote, or NULL              */
    const void    *in[NN_MAX_IN];     /* parameters: f32 slices of the value slab */
    void          *out;               /* forward writes it, backward may read    */
    float         *aux;               /* forward writes it, backward reads it    */
    const void    *dout;              /* backward only; dtype of node->out       */
    void          *din[NN_MAX_IN];    /* backward only; dtype of the operand; parameters: f32 slices of the gradient slab */
    void          *scratch;           /* the size prepare() asked for, 64-byte aligned */
    int            part, parts;       /* forward: which share of the call, of how many; 0 of 1: all of it */
    int            phase;             /* forward with several parts: 0 .. phases - 1 */
} nn_call;

typedef struct {
    /* Choose an algorithm; *scratch receives the bytes both directions may use. NULL: no state, no scratch. */
    ddpm_status (*prepare)(nn_backend *b, const nn_node *node, void **state, size_t *scratch);
    ddpm_status (*forward)(nn_backend *b, const nn_call *c);
    ddpm_status (*backward)(nn_backend *b, const nn_call *c);   /* NULL: no gradient */
    void        (*release)(nn_backend *b, void *state);         /* NULL: no state    */
    /* The backend's own form of a node's weights, made once per step and shared by
     * all plans (nn/weights.h). `backward`: what the backward pass needs too. NULL: none. */
    size_t      (*pack_bytes)(nn_backend *b, const nn_node *node, bool backward);
    void        (*pack)(nn_backend *b, const nn_node *node, bool backward, const float *weight, void *packed);
    int         phases;            /* forward divides its work among nn_call.parts, in so many steps; 0: it does not */
} nn_kernel;

struct adam_config;

struct nn_backend {
    const char *name;      /* "ref", "cpu", "cuda"                                        */
    const char *isa;       /* which kernels run: "generic", "avx2", ...; part of provenance */
    size_t    (*value_bytes)(nn_backend *b, const nn_tensor *t);
    ddpm_status (*alloc)(nn_backend *b, size_t size, void **p);       /* zeroed, 64-byte aligned */
    void      (*free)(nn_backend *b, void *p);
    /* n images of a value between host memory (f32 or i32, NHWC) and the device. */
    ddpm_status (*upload)(nn_backend *b, const nn_tensor *t, int n, const void *host, void *dst);
    ddpm_status (*download)(nn_backend *b, const nn_tensor *t, int n, const void *src, void *host);
    /* y += x over n images of a value of t's shape and dtype */
    void      (*accumulate)(nn_backend *b, const nn_tensor *t, int n, void *y, const void *x);
    nn_kernel   kernels[NN_OP_COUNT];                                 /* forward NULL: unsupported */
    void      (*release)(nn_backend *b);                              /* frees state and b */
    void       *state;
};

void nn_backend_free(nn_backend *b);       /* NULL ok */

#endif
