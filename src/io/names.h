/* names.h - what the code bases call the tensors of one and the same U-Net.
 *
 * Inside the program a tensor has improved-diffusion's name. The three naming
 * schemes are bijections with equal execution order; only the fused query-key-
 * value projection is one tensor here and three elsewhere. */
#ifndef DDPM_IO_NAMES_H
#define DDPM_IO_NAMES_H

#include "base/status.h"

typedef enum {
    NAMES_OPENAI,            /* improved-diffusion, guided-diffusion                   */
    NAMES_ERMONGROUP,        /* ermongroup/ddim, pesser                                */
    NAMES_DIFFUSERS,         /* UNet2DModel                                            */
    NAMES_DIFFUSERS_OLD,     /* UNet2DModel of 2022: query, key, value, proj_attn      */
    NAMES_COUNT
} names_style;

typedef struct { int levels, num_res_blocks; } names_net;

enum { NAMES_SIZE = 160 };

/* The name or, for a fused qkv, the three names in order q, k, v. EINVAL: no tensor of such a network. */
ddpm_status names_of(const names_net *net, names_style style, const char *openai, char names[3][NAMES_SIZE], int *count);

#endif
