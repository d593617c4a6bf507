/* generator.h - a model that is ready to draw: its file, chain, engine and network.
 *
 * What every command that makes images begins with. Opened from a MODEL argument and
 * the request's options; how images are then made is a drawing (train/draw.h). */
#ifndef DDPM_API_GENERATOR_H
#define DDPM_API_GENERATOR_H

#include "api/checkpoint.h"
#include "api/classifier.h"
#include "api/network.h"
#include "api/sampling.h"
#include "api/tool.h"
#include "io/image.h"
#include "train/draw.h"

typedef struct {
    const settings          *request;      /* borrowed, as the next one */
    const tool_events       *ev;
    model_file              *file;
    const model_description *model;
    char       fingerprint[9];             /* of the weights            */
    classifier *guide;                     /* --classifier, or NULL     */
    sampling   how;
    engine     e;
    network    n;
    int        height, width;
    image_dims dims;                       /* of one image              */
    size_t     image_len;                  /* values of one image       */
    int64_t    calls;                      /* network calls so far, a guide's not among them */
    bool       borrowed;                   /* file, e, n are another's  */

    /* What is reported while it draws; nothing when images is 0. The command fills it in. */
    struct { int done, images; int64_t calls; double begin; } work;
} generator;

/* Opens the file and chooses the chain: what can be wrong with the options is found here. After an error *g is
 * empty. The object must not move. */
ddpm_status generator_open(const char *model, const settings *request, const tool_events *ev, generator *g);

/* Engine and weights: the part that takes time. */
ddpm_status generator_load(generator *g);

/* Both at once over a file, an engine and a network that the caller has and keeps. Without the fingerprint, which
 * takes time and is for files. */
ddpm_status generator_borrow(model_file *file, const engine *e, const network *n, const settings *request, const tool_events *ev, generator *g);
void        generator_close(generator *g);

/* Says which model is used and how, and which options it does not listen to. */
void        generator_tell(const generator *g);

/* The request's way of drawing, from x_T to x_0. Reports g->work and stops when the user asks for it. */
drawing     generator_drawing(const generator *g);

/* draw_images; counts the calls. ENUMERIC: an image that is not a number everywhere. */
ddpm_status generator_draw(generator *g, const drawing *d, draw_batch b);

/* Classes that images are drawn of: the model's, or else its guide's; 0: none. */
int         generator_classes(const generator *g);

/* One of them by number or name, or the model's null class, to which no classifier leads. EINVAL names what there is. */
ddpm_status generator_class(const generator *g, const char *word, int64_t *label);

/* Latents first .. first + n - 1 of a .safetensors file, its tensor "xT" [N,c,h,w] or its only one, into
 * x [n,h,w,c]. EFORMAT: another shape, fewer than asked for, a value that is not finite. */
ddpm_status generator_read_latents(const generator *g, const char *path, int64_t first, int n, float *x);
ddpm_status generator_count_latents(const generator *g, const char *path, int64_t *count);

/* How images were made, in words: sampler, steps, eta, clipping, variance, rounding. */
void        generator_describe(const generator *g, char *text, size_t size);

/* [-1,1] to 8 bits as the request rounds. */
void        generator_quantize(const generator *g, const float *x, size_t len, uint8_t *pixels);

/* What pixels depend on, as texts: software, model, guide, sampler, spacing, precision, instruction set, and the caller's
 * own pairs (borrowed). The object must not move. */
enum { GENERATOR_MAX_TEXTS = 16 };
typedef struct { char how[160], guide[64]; png_pair pair[GENERATOR_MAX_TEXTS]; int count; } generator_texts;
void        generator_provenance(const generator *g, const png_pair *own, int own_count, generator_texts *t);

/* A PNG that says so in its text. */
ddpm_status generator_write_png(const generator *g, const char *path, const image *im, const png_pair *own, int own_count);

/* n images [h,w,c] as a grid of `columns`, one image without a frame. */
ddpm_status generator_write_grid(const generator *g, const char *path, const uint8_t *pixels, int n, int columns, const png_pair *own, int own_count);

/* ESTOPPED once the user asked for it; between batches. */
ddpm_status generator_interrupted(const generator *g, const char *what);

#endif
