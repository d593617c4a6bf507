#include "backend/cpu/table.h"

#include "backend/cpu/amx.h"

extern const nn_kernel ISA(cpu_conv2d), ISA(cpu_group_norm), ISA(cpu_silu), ISA(cpu_add), ISA(cpu_concat), ISA(cpu_upsample),
                       ISA(cpu_pool), ISA(cpu_attention), ISA(cpu_timestep_embed), ISA(cpu_embed);
ddpm_status ISA(cpu_upload)(nn_backend *b, const nn_tensor *t, int n, const void *host, void *dst);
ddpm_status ISA(cpu_download)(nn_backend *b, const nn_tensor *t, int n, const void *src, void *host);
void ISA(cpu_accumulate)(nn_backend *b, const nn_tensor *t, int n, void *y, const void *x);
double ISA(cpu_loop_f32)(int rounds);
double ISA(cpu_loop_bf16)(int rounds);
double ISA(cpu_loop_tiles)(bool wide, int rounds);
extern const cpu_table ISA(cpu_table);

const cpu_table ISA(cpu_table) = {
    .kernels = {
        [NN_CONV2D] = &ISA(cpu_conv2d),
        [NN_GROUP_NORM] = &ISA(cpu_group_norm),
        [NN_SILU] = &ISA(cpu_silu),
        [NN_ADD] = &ISA(cpu_add),
        [NN_CONCAT] = &ISA(cpu_concat),
        [NN_UPSAMPLE] = &ISA(cpu_upsample),
        [NN_POOL] = &ISA(cpu_pool),
        [NN_ATTENTION] = &ISA(cpu_attention),
        [NN_TIMESTEP_EMBED] = &ISA(cpu_timestep_embed),
        [NN_EMBED] = &ISA(cpu_embed),
    },
    .upload = ISA(cpu_upload),
    .download = ISA(cpu_download),
    .accumulate = ISA(cpu_accumulate),
    .loop_f32 = ISA(cpu_loop_f32),
    .loop_bf16 = ISA(cpu_loop_bf16),
    .loop_tiles = AMX_TILES ? ISA(cpu_loop_tiles) : NULL,
};
