/* sample_session.h - everything one `ddpm sample` holds; shared by sample.c (what is drawn), sample_start.c (where a
 * chain starts), sample_film.c (what is kept of its steps), sample_sheet.c (rows of classes), sample_output.c (what is written) and the library, which
 * draws into memory. */
#ifndef DDPM_API_SAMPLE_SESSION_H
#define DDPM_API_SAMPLE_SESSION_H

#include "api/base_images.h"
#include "api/generator.h"
#include "api/model_data.h"

typedef enum { SAMPLE_GRID, SAMPLE_FOLDER, SAMPLE_NPZ, SAMPLE_GIF, SAMPLE_STRIP, SAMPLE_SHEET, SAMPLE_MEMORY } sample_out;

/* What a caller gives instead of options, and where images go instead of a file; everything is borrowed. */
typedef struct {
    int             n;               /* images                                       */
    uint64_t        first;           /* number of the first one                      */
    const uint64_t *seed;            /* [n] a seed for each; NULL: numbers first, ... of --seed */
    const int      *label;           /* [n] or NULL: --class                         */
    const float    *latents;         /* [n,h,w,c] or NULL: --xT, or drawn            */
    uint8_t        *pixels;          /* [n,h,w,c] or NULL                            */
    float          *images;          /* [n,h,w,c] in [-1,1], or NULL                 */
    ddpm_status   (*take)(void *ctx, const uint8_t *pixels, int n);   /* or NULL: sees the images batch by batch, in order */
    void           *take_ctx;
    int            *calls;           /* or NULL: network calls that an image took    */
} sample_memory;

/* Images that chains start from (--start_image) or fill in (--inpaint). */
typedef struct {
    bool       given, fill;          /* either of them; the second                   */
    bool       own_labels;           /* classes are the data's                       */
    model_data data;
    int        skip, step;           /* rows left out at the noisy end; timesteps of noise where the walk begins, 1 .. T */
    inpainting way;                  /* jumps of a filling; its arrays are the batch's */
    uint8_t   *mask;                 /* [pixels] 1 = known; a filling's              */
} sample_start;

/* Some steps of every image; frame f of image k is pixels[(k * frames + f) * image_len]. */
typedef struct {
    bool     xt;                     /* shows x_t, else the prediction of x_0        */
    int      steps;                  /* that a run tells of                          */
    int      frames;                 /* kept of them, the last is the result; 0: no film */
    int      seen, filled;           /* of the batch being drawn: steps, frames      */
    uint8_t *pixels;
} sample_film;

/* Rows of --sheet images. */
typedef struct {
    int      rows;
    int64_t *label;                  /* [rows] classes; NULL: the model has none     */
} sample_sheet;

/* What a batch is drawn from: made once for the largest, filled for each. */
typedef struct {
    int       first, n;
    uint64_t *seed, *index;          /* [batch]                                      */
    int      *y;                     /* [batch] classes                              */
    float    *x;                     /* [batch,h,w,c] latents, then images           */
    float    *image;                 /* [batch,h,w,c] of --start_image or --inpaint  */
    uint8_t  *mask;                  /* [batch,h,w] of --inpaint                     */
    float    *condition;             /* [batch,h,w,c] enlarged, of an up-sampler     */
} sample_batch;

typedef struct {
    const settings   *request;
    const tool_events *ev;
    generator         g;
    sample_start      start;
    const sample_memory *memory;     /* or NULL                                      */
    base_images      *base;          /* what an up-sampler enlarges, else NULL       */
    sample_film       film;
    sample_sheet      sheet;
    sample_batch      b;
    sample_out        kind;
    int               count, batch, columns;
    int               calls;         /* network calls of a batch                     */
    int               made;          /* folders, for the output                      */
    uint64_t          first_seed, first_index;
    bool              by_seed;       /* image k has seed first_seed + k and index 0  */
    uint8_t          *pixels;        /* all images [count,h,w,c]; folders and memory: one batch */
    int64_t          *labels;        /* [count]                                      */
} sample_session;

/* `ddpm sample` into memory, of a model that is loaded. The request's own output, film, num_samples, seeds and index are
 * not for this. */
ddpm_status sample_into(model_file *file, const engine *e, const network *n, const settings *request, const tool_events *ev, const sample_memory *memory);

uint64_t    sample_seed(const sample_session *s, int k);      /* of image k */
uint64_t    sample_index(const sample_session *s, int k);

/* --class, or what it is when nobody gave it: random where a classifier leads, else all in turn. */
const char *sample_class_word(const sample_session *s);

/* The number that images are told apart by: the seed of a range of seeds, else the index. */
uint64_t    sample_number(const sample_session *s, int k);

/* --- where a chain starts ------------------------------------------------------------ */

/* EINVAL: options of which one makes the other meaningless. Needs no model. */
ddpm_status sample_start_check(const settings *request);

/* Steps that a run of these options tells of, and its network calls. EINVAL as the next one. */
ddpm_status sample_start_count(const settings *request, const sampling *how, int *steps, int *calls);

/* Opens the images, reads the mask, finds the first row. Close also after an error. */
ddpm_status sample_start_open(sample_session *s);
void        sample_start_close(sample_start *start);
void        sample_start_tell(const sample_session *s);

/* The class of the data's image for image k; own_labels only. */
int64_t     sample_start_class(const sample_session *s, int k);

/* b.image and b.mask of images b.first .. b.first + b.n - 1, b.x where chains start from them. */
ddpm_status sample_start_fill(sample_session *s, const draw_batch *draw);

/* Known pixels are the image's to the bit, however the others are rounded. pixels [b.n,h,w,c]. */
void        sample_start_restore(const sample_session *s, uint8_t *pixels);

/* --- films ---------------------------------------------------------------------------- */

/* Frames that a film of so many steps has; 0: the output is none. */
int         sample_film_frames(const settings *request, int steps);

/* How many frames of how many steps. EINVAL: more pixels than a picture may have. */
ddpm_status sample_film_plan(sample_session *s, int steps);

/* An observe_fn whose ctx is the session; a batch begins with seen = filled = 0. */
void        sample_film_observe(void *ctx, int step, int t, const float *x, const float *pred_xstart);

/* The results of the batch as its last frames. */
void        sample_film_end(sample_session *s, const uint8_t *pixels);
ddpm_status sample_film_write(const sample_session *s, const png_pair *own, int own_count);

/* --- sheets (sample_sheet.c) ------------------------------------------------------------ */

/* Of an open generator: the rows of --sheet, how many images, batches and columns that makes; nothing without --sheet.
 * EINVAL: classes that there are not, options that contradict a sheet. */
ddpm_status sample_sheet_plan(sample_session *s);

/* The images that a request asks for, for an estimate: --sheet's or --num_samples. */
int         sample_sheet_images(const settings *request, const settings *model);

/* The class of each image, its row's. */
void        sample_sheet_labels(const sample_session *s);
ddpm_status sample_sheet_check(const sample_session *s);
ddpm_status sample_sheet_write(const sample_session *s, const png_pair *own, int own_count);

/* --- results ---------------------------------------------------------------------------- */

sample_out  sample_output_kind(const settings *request);

/* What kind of file -o names; EINVAL: none. */
ddpm_status sample_output_choose(sample_session *s);

/* What would fail after all the work must fail before it. */
ddpm_status sample_output_check(sample_session *s);

/* Images first .. first + n - 1, just drawn; folders only. */
ddpm_status sample_output_folder(const sample_session *s, int first, int n, const uint8_t *pixels);
ddpm_status sample_output_write(const sample_session *s);

#endif
