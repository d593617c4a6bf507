/* unet.h - the U-Net of DDPM, Improved DDPM, guided-diffusion and UNet2DModel.
 *
 * One builder: the families differ only in the configuration below. Structure
 * and parameter names follow improved-diffusion's UNetModel, so its state_dict
 * loads without a name map. Ho et al. 2020, appendix B; Nichol & Dhariwal 2021,
 * section 3; Dhariwal & Nichol 2021, section 3.
 *
 * With classes_out it is the classifier of noisy images of the latter, section 4:
 * the way down and the middle, then norm, SiLU, the mean over all pixels and a
 * layer to the logits; guided-diffusion's EncoderUNetModel with pool "adaptive",
 * and its names. It has no way up, takes no class and has no out_channels. */
#ifndef DDPM_MODEL_UNET_H
#define DDPM_MODEL_UNET_H

#include "nn/graph.h"

enum { UNET_MAX_LEVELS = 8, UNET_MAX_BLOCKS = 96 };

typedef enum {
    UNET_INIT_OPENAI,     /* PyTorch's defaults, zeros before each residual sum: improved-diffusion */
    UNET_INIT_HO,         /* Xavier uniform, 1e-10 before each residual sum, zero biases            */
    UNET_INIT_TORCH       /* PyTorch's defaults everywhere: ermongroup, diffusers                   */
} unet_init;

typedef struct {
    int  height, width;                      /* pixels; each level after the first halves them      */
    int  in_channels, out_channels;          /* out: twice the image's when the variance is learned */
    int  model_channels;                     /* width of the timestep embedding; its MLP is 4 times as wide */
    int  stem;                               /* channels after the first convolution                */
    int  levels, channels[UNET_MAX_LEVELS];  /* channels of each level                              */
    int  num_res_blocks;                     /* per level on the way down; one more on the way up   */
    bool attention[UNET_MAX_LEVELS];
    int  num_heads, num_heads_upsample;      /* _upsample: heads of the way up, 0: num_heads        */
    int  num_head_channels;                  /* > 0: heads = channels / this                        */
    bool new_attention_order;                /* all q, all k, all v (guided-diffusion)              */
    int  num_classes;                        /* 0: unconditional                                    */
    bool null_class;                         /* one more row of the table: "no class", for guidance */
    int  classes_out;                        /* > 0: a classifier of so many classes, see below     */
    bool scale_shift_norm;                   /* the embedding scales and shifts the second norm     */
    bool resblock_updown, conv_resample;     /* how levels change resolution                        */
    bool asymmetric_down;                    /* pad (0,1) before the stride: Ho, ermongroup         */
    int  groups;
    double eps;                              /* of group norm: 1e-5 OpenAI, 1e-6 Ho                 */
    bool cos_first;                          /* timestep embedding [cos sin]: OpenAI; else [sin cos] */
    double freq_shift;                       /* exponent i / (half - freq_shift): OpenAI 0, Ho 1    */
    double dropout;
    unet_init init;
    nn_recompute recompute;                  /* of training plans; blocks are the residual and the attention blocks */
} unet_config;

typedef struct {
    nn_tensor *x;      /* in  [n,h,w,in_channels] f32, in [-1,1] scale                             */
    nn_tensor *t;      /* in  [n,1,1,1] f32, the timestep as the network was trained with          */
    nn_tensor *y;      /* in  [n,1,1,1] i32 label; NULL when unconditional                         */
    nn_tensor *key;    /* in  [n,1,1,4] i32 dropout address; NULL without dropout                  */
    nn_tensor *out;    /* out [n,h,w,out_channels] f32; of a classifier the logits [n,1,1,classes_out] */
    nn_tensor *features;                       /* [n,1,1,c] f32 of a classifier: what the logits are made of; readable after any forward pass. Else NULL */
    nn_tensor *time_embed;                     /* before the class is added                        */
    nn_tensor *down[UNET_MAX_BLOCKS], *middle, *up[UNET_MAX_BLOCKS];  /* outputs of the blocks     */
    int        n_down, n_up;
} unet;

/* Every reason why this network cannot be built, or DDPM_OK. */
ddpm_status unet_check(const unet_config *c);

/* Reasons not to train a new network of this shape: with one channel per group and additive
 * conditioning, group norm cancels the time embedding, and the network cannot see t. */
ddpm_status unet_check_trainable(const unet_config *c);

/* Record the network for batches of up to n. train: with dropout, when configured.
 * input_grad: gradients reach x. Errors are in g->status. */
unet unet_build(nn_graph *g, const unet_config *c, int n, bool train, bool input_grad);

/* Parameters without building anything that runs; 0 when the configuration is invalid. */
size_t unet_parameters(const unet_config *c);

#endif
