/* params.h - the parameter store: named, shaped slices of one flat slab.
 *
 * Values, gradients, Adam moments and EMA are separate f32 slabs with the same
 * layout, so optimiser, EMA, reduction, clipping and checkpoints are loops over
 * one array, whatever the architecture is. Slices start at multiples of 16
 * elements; the gaps stay zero in every slab.
 *
 * In a slab a convolution is [kh][kw][in][out] (out fastest), a linear layer
 * [in][out], a table [rows][c]. Files hold PyTorch's order; nn_param_to_file
 * and nn_param_from_file convert. */
#ifndef DDPM_NN_PARAMS_H
#define DDPM_NN_PARAMS_H

#include "base/status.h"
#include "nn/tensor.h"

#include <stdint.h>

typedef enum {
    NN_PARAM_CONV,      /* file [out,in,kh,kw]  */
    NN_PARAM_CONV1D,    /* file [out,in,1]      */
    NN_PARAM_LINEAR,    /* file [out,in]        */
    NN_PARAM_VECTOR,    /* file [c]             */
    NN_PARAM_TABLE      /* file [rows,c]        */
} nn_param_kind;

typedef enum { NN_INIT_CONSTANT, NN_INIT_UNIFORM, NN_INIT_NORMAL } nn_init_kind;
typedef struct { nn_init_kind kind; float scale; } nn_init;   /* the constant, the bound, the deviation */

typedef struct {
    const char   *name;      /* improved-diffusion's state_dict name            */
    nn_shape      shape;     /* conv {kh,kw,in,out}; others {1,1,rows or in or 1,c or out} */
    nn_param_kind kind;
    nn_init       init;
    size_t        offset;    /* first element in every slab                     */
} nn_param;

typedef struct {
    nn_param *list;
    int       count, cap;
    size_t    len;           /* elements of one slab, gaps included             */
} nn_params;

/* Append `name`, which must be new and must outlive the store. NULL when out of memory. */
const nn_param *nn_params_add(nn_params *ps, const char *name, nn_shape shape, nn_param_kind kind, nn_init init);
const nn_param *nn_params_find(const nn_params *ps, const char *name);      /* NULL: none */
size_t          nn_params_total(const nn_params *ps);                       /* parameters, without gaps */
void            nn_params_init(const nn_params *ps, uint64_t seed, float *slab);  /* gaps become zero */
void            nn_params_free(nn_params *ps);

/* File shape of a parameter; returns the rank, at most 4. */
int  nn_param_file_shape(const nn_param *p, int64_t shape[4]);
/* Between a slab and the file's order; `file` has nn_len(p->shape) elements. */
void nn_param_to_file(const nn_param *p, const float *slab, float *file);
void nn_param_from_file(const nn_param *p, const float *file, float *slab);

#endif
