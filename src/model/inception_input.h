/* inception_input.h - images of any size as Inception-v3 wants them: [299,299,3], f32.
 *
 * A distance between features depends on these few lines more than on anything else, so both ways follow their
 * originals operation by operation: PyTorch's F.interpolate(mode="bilinear", align_corners=False, antialias=False),
 * and the resizing of TensorFlow 1 as torch-fidelity computes it, where output pixel i lies at i * in / out, without
 * half a pixel. Neither filters when an image shrinks, neither rounds to bytes. (On several threads PyTorch 2 rounds in
 * another order than on one, so the last bit of its values is not always ours.) */
#ifndef DDPM_MODEL_INCEPTION_INPUT_H
#define DDPM_MODEL_INCEPTION_INPUT_H

#include <stdbool.h>
#include <stdint.h>

/* image [h][w][c], c 3, or 1: each value serves for red, green and blue -> out [299][299][3].
 * pytorch: 2 resize(v / 255) - 1; else (resize(v) - 128) / 128. */
void inception_input_make(const uint8_t *image, int h, int w, int c, bool pytorch, float *out);

#endif
