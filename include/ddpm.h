/* ddpm.h - diffusion models on images: draw from them, train them, measure them.
 *
 * The library behind the program `ddpm`. What the program does with files, these
 * functions do for a caller's memory, with the same bits: an image depends on the
 * model, its seed and number, the settings, the precision and the instruction set,
 * never on threads, on the batch or on the images drawn beside it.
 *
 *     ddpm_ctx *ctx = NULL;
 *     ddpm_model *model = NULL;
 *     ddpm_sample_config c;
 *     ddpm_sample_config_defaults(&c);
 *     c.n = 4;
 *     if (ddpm_ctx_new(NULL, &ctx) || ddpm_model_open(ctx, "fashion", NULL, &model) || ddpm_sample(model, &c, pixels, sizeof pixels))
 *         fprintf(stderr, "%s\n", ddpm_last_error());
 *     ddpm_model_close(model);
 *     ddpm_ctx_free(ctx);
 *
 * Images are bytes [n,height,width,channels], first the top left pixel; the number of
 * channels is 1 (grey), 2 (grey, alpha), 3 (red, green, blue) or 4 (and alpha). Where
 * functions take or give floats, those are the same array in [-1,1], the value v of a
 * byte being v / 127.5 - 1. Measurements are doubles.
 *
 * Settings. Every setting of the program has one name, one range and one default, and
 * is set by them here too: `ddpm help sample` prints those of a command.
 *
 * Errors. Every function that can fail returns a ddpm_status, DDPM_OK being 0, and
 * leaves one sentence for people: what is wrong, where, what to do. Outputs are the
 * last parameters. Handles are set to NULL when there is nothing in them, and the
 * functions that free take NULL. Other outputs are unspecified after an error. NULL
 * for an argument that is not said to be optional is DDPM_EINVAL, or nothing where a
 * function returns no status. The library never prints, exits, aborts on what a
 * caller or a file got wrong, installs signal handlers, or reads environment variables.
 * Numbers in settings and files have a decimal point: the calling thread's LC_NUMERIC must write them
 * so, as "C" does; a program that sets another calls uselocale first.
 *
 * Ownership. The caller owns what a *_new or *_open returned and gives it back to the
 * function of that name; a context lives longer than its models and data sets. What is passed in is borrowed for
 * the call. Strings inside structs and those returned as const live as long as the
 * object they came from.
 *
 * Threads. A context, with everything opened from it, is used by one thread at a time.
 * Different contexts may be used at once and do not see each other. Several threads
 * may read one ddpm_options as long as none sets it. Callbacks are called in the
 * thread that made the call, except the log's; they must not use the context that
 * calls them.
 *
 * Versions. Programs linked with libddpm.so.0 run with every later libddpm.so.0:
 * functions are added, none is changed or removed; numbers of enumerators stay; structs
 * keep their size and take new members out of `reserved`, whose zeros mean what was
 * before. So a struct that goes in is filled by its *_defaults before members are set.
 * Which bits a seed gives may change between versions, as may sentences; a release says so. */
#ifndef DDPM_H
#define DDPM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DDPM_VERSION_MAJOR 0
#define DDPM_VERSION_MINOR 1
#define DDPM_VERSION_PATCH 0

#define DDPM_API __attribute__((visibility("default")))

/* --- errors -------------------------------------------------------------------- */

typedef enum {
    DDPM_OK       = 0,
    DDPM_EFAIL    = 1,     /* anything else                                        */
    DDPM_EINVAL   = 2,     /* an argument or a setting                             */
    DDPM_ENOMEM   = 3,
    DDPM_ESHAPE   = 4,     /* a network whose parts do not fit                     */
    DDPM_ENOSUP   = 5,     /* not on this machine, or not in this build            */
    DDPM_EFORMAT  = 6,     /* a file is damaged or something else                  */
    DDPM_EIO      = 7,     /* reading or writing failed                            */
    DDPM_EBUSY    = 8,     /* another process uses the folder                      */
    DDPM_ESTOPPED = 9,     /* a callback asked for it; a run's state is saved      */
    DDPM_ENUMERIC = 10     /* values that are not finite                           */
} ddpm_status;

/* General sentence of a status, static. */
DDPM_API const char *ddpm_strerror(ddpm_status s);

/* What went wrong in this thread's last call that failed, until its next call; "" before
 * the first. Successful calls may change it. */
DDPM_API const char *ddpm_last_error(void);

/* "0.1.0", of the library that runs; the macros above are of the one compiled against. */
DDPM_API const char *ddpm_version(void);

/* Frees a string that a function gave to the caller; NULL is fine. */
DDPM_API void ddpm_free(void *memory);

/* --- what is told on the way ------------------------------------------------------ */

typedef enum { DDPM_LOG_ERROR, DDPM_LOG_WARN, DDPM_LOG_INFO, DDPM_LOG_DEBUG } ddpm_log_level;

/* Warnings of the whole process, such as images that could not be read and were left out:
 * sentences without a final newline, control bytes from file names included. Called from any thread. */
typedef void (*ddpm_log_fn)(void *user, ddpm_log_level level, const char *sentence);

/* From now on sentences up to `level` go to fn; NULL, as at the start: nowhere. The one
 * thing that all contexts share: set it while no other thread is in the library. */
DDPM_API void ddpm_set_log(ddpm_log_fn fn, void *user, ddpm_log_level level);

/* Work that takes time, while it goes on. */
typedef struct {
    const char *what;          /* "sampling", "training", ...                             */
    const char *unit;          /* of done and total: "steps", "images", "terms"           */
    const char *detail;        /* "loss 0.0301, 212.1 images/s"; may be ""                */
    int64_t     done, total;   /* total 0: no end                                         */
    double      per_second, eta_seconds;      /* 0 while not known                        */
    const char *quantity;      /* what `value` is: "loss", "bits_per_dim"; NULL: nothing  */
    double      value;
    void       *reserved[4];
} ddpm_progress;

/* Not 0: stop. Asked between network calls and after every training step; the call
 * then ends with DDPM_ESTOPPED. */
typedef int (*ddpm_progress_fn)(void *user, const ddpm_progress *p);

/* --- contexts ------------------------------------------------------------------------ */

typedef struct ddpm_ctx ddpm_ctx;

/* The settings `threads`, `device`, `precision` and `max_isa`, for everything done in a
 * context. NULL or 0: the program's default. */
typedef struct {
    int32_t     threads;                  /* 0: one for each processor           */
    const char *device;                   /* "cpu"                               */
    const char *precision;                /* "auto", "f32", "bf16", ...          */
    const char *max_isa;                  /* "generic", "avx2", ...: the highest */
    void      (*message)(void *user, const char *sentence);   /* what the program would tell its user: NULL: nothing */
    void       *user;                     /* of message                          */
    void       *reserved[8];
} ddpm_ctx_config;

DDPM_API void ddpm_ctx_config_defaults(ddpm_ctx_config *c);

/* Starts the threads. c may be NULL. EINVAL, ENOSUP: a device or an instruction set that
 * is not there. */
DDPM_API ddpm_status ddpm_ctx_new(const ddpm_ctx_config *c, ddpm_ctx **ctx);
DDPM_API void        ddpm_ctx_free(ddpm_ctx *ctx);

/* What was chosen. The bits of a result depend on precision and isa. */
typedef struct {
    int32_t     threads;
    const char *device, *isa, *precision;
    void       *reserved[8];
} ddpm_ctx_info;

DDPM_API void ddpm_ctx_get_info(const ddpm_ctx *ctx, ddpm_ctx_info *info);

/* --- settings -------------------------------------------------------------------------- */

typedef struct ddpm_options ddpm_options;

/* The settings of a command: "train", "sample", "nll", "eval", "convert" or "info", at their
 * defaults. Models and data sets are opened with those of "sample" and "train". */
DDPM_API ddpm_status ddpm_options_new(const char *command, ddpm_options **o);
DDPM_API void        ddpm_options_free(ddpm_options *o);

/* A setting by its name without dashes ("lr") and the text that would follow it on the
 * command line ("1e-4"; flags "true" or "false"). EINVAL: unknown, out of range, a
 * setting of the context, or one that is only for the program's own output. */
DDPM_API ddpm_status ddpm_options_set(ddpm_options *o, const char *name, const char *value);

/* Its value as text that ddpm_options_set understands, ended by a zero. EINVAL: unknown, or longer
 * than size - 1. */
DDPM_API ddpm_status ddpm_options_get(const ddpm_options *o, const char *name, char *text, size_t size);

/* --- models ---------------------------------------------------------------------------- */

typedef struct ddpm_model ddpm_model;

/* What `ddpm sample` opens: a run, checkpoint or pipeline folder, a file of weights, the
 * name of a bundled model. Of the options (NULL: defaults) count `weights`, and what a file
 * that does not describe itself is to be taken for (`preset`, `image_size`, ...). The weights are read by
 * the first call that needs them. EINVAL: no such model; EFORMAT: damaged or not a model. */
DDPM_API ddpm_status ddpm_model_open(ddpm_ctx *ctx, const char *spec, const ddpm_options *options, ddpm_model **model);
DDPM_API void        ddpm_model_close(ddpm_model *model);

typedef struct {
    int32_t     height, width, channels;         /* of an image                                      */
    int32_t     in_channels, out_channels;       /* of the network; in: twice the image's for an up-sampler, out: where
                                                    the variance is learned, which comes second       */
    int32_t     small_size;                      /* height and width of what an up-sampler enlarges; 0: it is none */
    int32_t     classes;                         /* 0: unconditional; else labels are 0 .. classes-1 */
    int32_t     null_class;                      /* the label that means no class; -1: there is none */
    int32_t     timesteps;                       /* T                                                */
    int64_t     parameters;
    int64_t     step;                            /* of training; -1: unknown                         */
    const char *prediction;                      /* "epsilon", "start_x", "previous_x", "v"          */
    const char *variance;                        /* "fixed_small", "fixed_large", "learned", "learned_range" */
    const char *weights;                         /* which of a file's: "ema 0.9999", "raw", "unknown" */
    const char *kind;                            /* "run", "pipeline", ...                           */
    const char *path;
    const char *fingerprint;                     /* of the weights: 8 hexadecimal digits             */
    void       *reserved[8];
} ddpm_model_info;

DDPM_API void ddpm_model_get_info(const ddpm_model *model, ddpm_model_info *info);

/* Name of a class; NULL: it has none. */
DDPM_API const char *ddpm_model_class_name(const ddpm_model *model, int32_t label);

/* The label of a class by name or number, or of "none". EINVAL: the model has no such class. */
DDPM_API ddpm_status ddpm_model_class(const ddpm_model *model, const char *word, int32_t *label);

/* alpha-bar of the trained chain: alpha_bar[t] for t from 0, the least noise, to
 * timesteps-1. EINVAL unless count is timesteps. */
DDPM_API ddpm_status ddpm_model_alpha_bar(const ddpm_model *model, double *alpha_bar, int32_t count);

/* One call of the network, for samplers of one's own. x [n,height,width,in_channels], t [n] in
 * 0 .. timesteps-1, y [n] labels, NULL exactly where the model is unconditional; out
 * [n,height,width,out_channels] gets what `prediction` says, unclipped; `len` is the number of floats in out.
 * EINVAL: n < 1, another len, a t or y that is none. */
DDPM_API ddpm_status ddpm_model_denoise(ddpm_model *model, int32_t n, const float *x, const int32_t *t, const int32_t *y, float *out, size_t len);

/* --- drawing ------------------------------------------------------------------------------- */

typedef struct {
    int32_t             n;             /* images, 1 when nobody says                                    */
    uint64_t            first;         /* number of the first one; image k of a seed does not depend on n */
    const uint64_t     *seeds;         /* [n] as --seeds, each image being number 0 of its own seed; NULL: the setting
                                          `seed`, images first .. first+n-1                             */
    const int32_t      *labels;        /* [n], null_class for none; NULL: the setting `class`           */
    const float        *latents;       /* [n,height,width,channels] x_T; NULL: drawn                    */
    const ddpm_options *options;       /* of "sample"; NULL: defaults                                   */
    ddpm_progress_fn    progress;      /* NULL: none                                                    */
    void               *user;          /* of progress                                                   */
    void               *reserved[8];
} ddpm_sample_config;

DDPM_API void ddpm_sample_config_defaults(ddpm_sample_config *c);

/* n images into pixels[n,height,width,channels], `size` bytes. The images of `ddpm sample` with the same
 * settings. EINVAL: settings that contradict each other or the model, labels that are
 * none, another size; ENUMERIC: the weights give values that are not finite. */
DDPM_API ddpm_status ddpm_sample(ddpm_model *model, const ddpm_sample_config *c, uint8_t *pixels, size_t size);

/* The same before it is rounded to bytes, sometimes a little outside [-1,1]; `len` floats. */
DDPM_API ddpm_status ddpm_sample_float(ddpm_model *model, const ddpm_sample_config *c, float *images, size_t len);

/* --- longer work ----------------------------------------------------------------------------- */

typedef struct {
    const ddpm_options *options;       /* of the command; NULL: defaults */
    ddpm_progress_fn    progress;      /* NULL: none                     */
    void               *user;          /* of progress                    */
    void               *reserved[8];
} ddpm_call;

DDPM_API void ddpm_call_defaults(ddpm_call *call);

typedef struct {
    double  bits_per_dim, standard_error;        /* mean over the images; NaN for one image */
    double  prior, diffusion, decoder;           /* L_T, L_1 .. L_T-1, L_0; their sum is bits_per_dim */
    double  rmse;                                /* of x_0 after the last step, of 255      */
    int64_t images, bad_images;                  /* measured, left out                      */
    int64_t terms, timesteps;                    /* of the bound: computed, there are       */
    void   *reserved[8];
} ddpm_nll_result;

/* Bits per dimension of images (`ddpm nll`). data: what `ddpm train` takes. In f32 unless the context has a
 * precision. call may be NULL, as in the functions below. */
DDPM_API ddpm_status ddpm_nll(ddpm_model *model, const char *data, const ddpm_call *call, ddpm_nll_result *result);

typedef struct {
    double  distance, low, high;                 /* with its 95 % interval; NaN when none was asked for */
    double  bias;                                /* how much of it is owed to the number of samples; NaN likewise */
    double  of_means;                            /* the part that is the distance of the means          */
    int64_t samples, reference, bad_images;      /* how many; 0 of statistics that do not say           */
    void   *reserved[8];
} ddpm_eval_result;

/* The Frechet distance of two sets (`ddpm eval`): images, as data sets or .npz files; features of one network in .npz files (`features`);
 * statistics in .npz files (`mu`, `sigma`). The reference may also be statistics where the samples are features, or images in the
 * same space, which the setting `features` names. EINVAL: other pairs, features of different spaces, a setting `metrics` without fd;
 * EFORMAT: a damaged file, a matrix that is no covariance. */
DDPM_API ddpm_status ddpm_eval(ddpm_ctx *ctx, const char *samples, const char *reference, const ddpm_call *call, ddpm_eval_result *result);

typedef struct {
    int64_t step, dropped;                       /* done so far; updates that were not finite and left out */
    int64_t parameters, bad_images;
    void   *reserved[8];
} ddpm_train_result;

/* Trains a model in the run folder that the setting `output` names, or goes on with the run that is there
 * (`ddpm train`). ESTOPPED, with a result: the state is saved, and the same call goes on. EBUSY: another process trains there. */
DDPM_API ddpm_status ddpm_train(ddpm_ctx *ctx, const char *data, const ddpm_call *call, ddpm_train_result *result);

/* Writes a model as files that other programs open (`ddpm convert`). EINVAL: out is there already. */
DDPM_API ddpm_status ddpm_convert(ddpm_ctx *ctx, const char *model, const char *out, const ddpm_call *call);

/* What a model, run, data set or file of samples is, as the JSON document of `ddpm info --json`; ddpm_free frees it. */
DDPM_API ddpm_status ddpm_describe(ddpm_ctx *ctx, const char *path, const ddpm_call *call, char **document);

/* --- data sets -------------------------------------------------------------------------------- */

typedef struct ddpm_dataset ddpm_dataset;

/* data: what `ddpm train` takes. Of the options (NULL: defaults) count `image_size`, `crop`,
 * `channels`, `labels` and `strict`. */
DDPM_API ddpm_status ddpm_dataset_open(ddpm_ctx *ctx, const char *data, const ddpm_options *options, ddpm_dataset **d);
DDPM_API void        ddpm_dataset_close(ddpm_dataset *d);

typedef struct {
    int64_t     count;
    int32_t     height, width, channels;
    int32_t     classes;                         /* 0: no labels          */
    const char *format;                          /* "folder", "idx", ...  */
    void       *reserved[8];
} ddpm_dataset_info;

DDPM_API void ddpm_dataset_get_info(const ddpm_dataset *d, ddpm_dataset_info *info);

/* Name of a class; NULL: there is no such class. */
DDPM_API const char *ddpm_dataset_class_name(const ddpm_dataset *d, int32_t label);

/* Image `index` into pixels[height,width,channels], `size` bytes; label (may be NULL): -1 without labels. EINVAL: another size, no such
 * index; EFORMAT: this image is bad, others may be read. */
DDPM_API ddpm_status ddpm_dataset_read(ddpm_dataset *d, int64_t index, uint8_t *pixels, size_t size, int32_t *label);

#ifdef __cplusplus
}
#endif

#endif
