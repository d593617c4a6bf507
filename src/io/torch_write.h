/* torch_write.h - a state dict as a file that torch.load opens, also with weights_only=True.
 *
 * PyTorch's zip: ROOT/data.pkl, a pickle of protocol 2 that makes one dictionary from names to tensors and
 * names no global but torch._utils._rebuild_tensor_v2, the storage classes and collections.OrderedDict;
 * ROOT/data/0 and so on, the tensors row-major, at multiples of 64 bytes; ROOT/byteorder; ROOT/version.
 * ROOT is "archive", as torch.save calls it. Below 4 GiB (io/zip_write.h). */
#ifndef DDPM_IO_TORCH_WRITE_H
#define DDPM_IO_TORCH_WRITE_H

#include "io/safetensors.h"

/* The tensors of the list in its order; real numbers only. `data` is not read: produce makes it. EINVAL: a name
 * used twice, another type, too large. */
ddpm_status torch_write(const char *path, const safetensors_tensor *tensors, int count, safetensors_produce produce, void *ctx);

#endif
