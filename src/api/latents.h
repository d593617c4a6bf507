/* latents.h - files of latents: what `ddpm encode` leaves for `ddpm decode` and `ddpm sample --xT`.
 *
 * A .safetensors file of "xT" [N,c,h,w] F32, "index" [N] I64 (the data's numbers of the images) and, for a
 * class-conditional model, "y" [N] I64 (the classes they were encoded with). Its metadata names the model (fingerprint)
 * and the chain that was walked (compat, steps, spacing, steps_offset, set_alpha_to_one, clip, guidance), which has to
 * be walked back. Only xT is needed to
 * draw from a file; files of other programs have nothing else. */
#ifndef DDPM_API_LATENTS_H
#define DDPM_API_LATENTS_H

#include "api/generator.h"

/* Makes the request deterministic DDIM, without clipping, which is no part of the equation that is solved; --clip may ask for
 * it, and that is said. up: images will be encoded, over uniform steps when nobody chose others: rows that start at timestep 0,
 * where an image hardly differs from x_0, and end before the last timesteps, where a cosine schedule leaves so little
 * of the image that an unclipped prediction of it is wrong by thousands. */
ddpm_status latents_chain(settings *request, bool up, const tool_events *ev);

/* Lets the encoder of an open generator end at the level that decoding starts from. sampler_encode by itself goes on to
 * alpha-bar 0, as OpenAI's code does; read at the last row's level, such latents lose much in few steps. */
void        latents_meet(generator *g);

/* x [n,h,w,c], y [n] or NULL, index [n]; all borrowed. */
typedef struct { int n; const float *x; const int *y; const int64_t *index; const char *data; } latents;

/* Writes them with what `g` walked. */
ddpm_status latents_write(const generator *g, const char *path, const latents *l);

/* Values of the file's metadata, its chain, for options that nobody gave; says which ones were given and are others.
 * EFORMAT: not the values of such options, naming the file. */
ddpm_status latents_settings(const char *path, settings *request, const tool_events *ev);

/* Classes first .. first + n - 1 of the file. *found: has it any? EFORMAT: another shape, not classes of this model. */
ddpm_status latents_classes(const generator *g, const char *path, int64_t first, int n, int64_t *label, bool *found);

/* Says when the file was made with other weights. EFORMAT: it does not fit the model. *count: how many it has. */
ddpm_status latents_check(const generator *g, const char *path, int64_t *count);

#endif
