/* golden_run.h - shared parts of the golden runner (golden.c).
 *
 * A golden folder holds cases.json and files of reference tensors. The runner
 * takes every number from there; it knows which quantities exist and how they
 * are computed and compared, and no shape, length or name of a case.
 *
 * A gold_case is a part that fails as a whole: its function returns at the first
 * error, which becomes one "not ok" line. Everything it allocates or defers is
 * freed when it ends. Values are doubles and images NCHW, as in the files. */
#ifndef DDPM_TESTS_GOLDEN_RUN_H
#define DDPM_TESTS_GOLDEN_RUN_H

#include "base/arena.h"
#include "base/pool.h"
#include "base/status.h"
#include "diffusion/process.h"
#include "diffusion/respace.h"
#include "io/json.h"
#include "io/names.h"
#include "io/safetensors.h"
#include "model/denoiser.h"
#include "model/unet.h"
#include "nn/backend.h"
#include "nn/weights.h"

#include <stdbool.h>
#include <stddef.h>

enum { GOLD_NAME = 320 };

/* ---- the run and its report ---- */

typedef struct { int compared, wrong, skipped; double worst; char where[GOLD_NAME]; } gold_counts;

typedef struct {
    const char *dir;            /* the folder                                  */
    json       *cases;          /* its cases.json                              */
    nn_backend *backend;        /* for the networks                            */
    nn_dtype    precision;      /* of their products: NN_F32 or NN_F32X3       */
    double      wider;          /* tolerances of section 06, as multiples of those for f32 */
    pool       *pool;
    int         lines;          /* printed so far                              */
    gold_counts section, total;
} gold_run;

typedef struct { gold_run *run; arena *mem; struct gold_deferred *deferred; bool failed; } gold_case;

/* Runs fn in a new case; `label` names it when it fails. */
typedef ddpm_status (*gold_fn)(gold_case *c, const void *ctx);
void  gold_case_run(gold_run *run, const char *label, gold_fn fn, const void *ctx);
void  gold_skip(gold_run *run, const char *label, const char *reason);
void *gold_alloc(gold_case *c, size_t count, size_t size);          /* zeroed, never NULL */
const char *gold_printf(gold_case *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void  gold_defer(gold_case *c, void (*undo)(void *), void *what);   /* last in, first out */

/* One line: passes when error <= allowed. */
void gold_check(gold_case *c, const char *label, double error, double allowed, const char *detail);

/* ---- files ---- */

typedef struct {
    const char  *label;         /* "06_unet/iddpm_a/io"                        */
    safetensors *st;
    bool        *used;          /* by tensor; the rest is reported as skipped  */
} gold_file;

typedef struct {
    const char *name, *label;   /* in the file; with the file's label          */
    safetensors_dtype dtype;
    int         ndim;
    size_t      shape[SAFETENSORS_MAX_DIMS], len;
    const double *v;
} gold_tensor;

/* JSON in which whole numbers beyond 63 bits become strings (hash seeds have 64). */
ddpm_status gold_read_json(const char *path, json **tree);

bool        gold_exists(const gold_case *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
ddpm_status gold_json(gold_case *c, const json **tree, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
ddpm_status gold_open(gold_case *c, const char *label, gold_file **f);     /* label + ".safetensors" */

/* The tensor of that name. need: a missing one is an error, find: false. */
ddpm_status gold_need(gold_case *c, gold_file *f, gold_tensor *t, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool        gold_find(gold_case *c, gold_file *f, gold_tensor *t, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* DDPM_EFORMAT unless t has that many dimensions (0: any) and elements. */
ddpm_status gold_expect(const gold_tensor *t, int ndim, size_t len);
/* Name of tensor i when it begins with `prefix`, without it; else NULL. */
const char *gold_under(const gold_file *f, int i, const char *prefix);
int         gold_count_under(const gold_file *f, const char *prefix);
/* GROUP/NAME, or GROUP/NAME[::s]: every s-th element. */
bool        gold_find_strided(gold_case *c, gold_file *f, const char *group, const char *name, gold_tensor *t, size_t *stride);

/* Parts of a tensor by its first index, and conversions. */
gold_tensor gold_at(const gold_tensor *t, size_t first);
int        *gold_ints(gold_case *c, const gold_tensor *t);
float      *gold_floats(gold_case *c, const gold_tensor *t);
float      *gold_nhwc(gold_case *c, const gold_tensor *t);           /* the last three indices are C,H,W */
/* images [n, pixels, channels] into NCHW doubles. */
void        gold_from_nhwc(const float *x, size_t images, size_t channels, size_t pixels, double *out);
double     *gold_widen(gold_case *c, const float *x, size_t len);
double      gold_peak(const gold_tensor *t);                         /* max |v| */
double      gold_rms(const gold_tensor *t);

/* One line for one tensor: |got - want| <= allowed, element by element. */
void gold_compare(gold_case *c, const gold_tensor *want, const double *got, const double *allowed);
void gold_compare_near(gold_case *c, const gold_tensor *want, const double *got, double absolute, double relative);
/* ||got - want|| <= allowed ||want|| */
void gold_compare_l2(gold_case *c, const gold_tensor *want, const double *got, double allowed);

/* Values of cases.json that must be there. */
ddpm_status gold_need_int(const json *o, const char *key, int *v);
ddpm_status gold_need_real(const json *o, const char *key, double *v);
ddpm_status gold_need_bool(const json *o, const char *key, bool *v);
ddpm_status gold_need_string(const json *o, const char *key, const char **v);
ddpm_status gold_need_object(const json *o, const char *key, const json **v);

/* ---- processes ---- */

/* The schedule of `profile` that entry describes: T, schedule or beta_schedule, beta_start, beta_end. */
ddpm_status gold_schedule(gold_case *c, const json *entry, schedule_profile profile, schedule **s);
/* improved-diffusion's respaced process: T, schedule, respacing, and what entry has of mean, var, clip, rescale. */
ddpm_status gold_process(gold_case *c, const json *entry, process *p);

/* Lists of timesteps of the other code bases, and p's schedule from one of them (diffusion/respace.h). */
ddpm_status gold_list_ermongroup(gold_case *c, const char *skip, int T, int S, step_list **list);
ddpm_status gold_list_diffusers(gold_case *c, const char *spacing, int T, int S, int offset, step_list **list);
ddpm_status gold_steps(gold_case *c, const schedule *full, const step_list *list, const int *prev, double last, process *p);
ddpm_status gold_compare_ints(gold_case *c, const gold_tensor *want, const int *t, int n, bool descending);

/* ---- networks ---- */

typedef struct { const nn_param *param; const char *name; int part, parts; int ndim; int64_t shape[4]; size_t len; } gold_param;

typedef struct {
    const char  *name;
    const char  *io_label;      /* "06_unet/NAME/io" or "06_unet/NAME_io"      */
    const json  *info;
    const char  *unsupported;   /* reason, when this program has no such network */
    unet_config  config;
    names_style  style;
    nn_graph    *g;             /* holds the parameters' layout                */
    gold_param  *params;        /* under the file's names; a fused qkv is three */
    int          n_params;
    float       *values;        /* slab                                        */
} gold_net;

/* Network `name` of section 06 for h x w images, with its weights. */
ddpm_status gold_net_load(gold_case *c, const char *name, size_t h, size_t w, gold_net *n);
/* What is known without the weights: io_label, info, config, unsupported. */
ddpm_status gold_net_describe(gold_case *c, const char *name, gold_net *n);
bool        gold_net_zero_gradient(const gold_net *n, const gold_param *p);
/* The parameter between a slab and its own order in files. */
void        gold_param_to_file(gold_case *c, const gold_net *n, const gold_param *p, const float *slab, float *file);
void        gold_param_from_file(gold_case *c, const gold_net *n, const gold_param *p, const float *file, float *slab);

/* ---- sections; `section` is the value of their key in cases.json ---- */

void golden_schedules(gold_run *run, const json *section);
void golden_respacing(gold_run *run, const json *section);
void golden_gaussian(gold_run *run, const json *section);
void golden_losses(gold_run *run, const json *section);
/* The loops over whole chains of section 04. */
void golden_bits(gold_run *run, const json *list);
void golden_resampler(gold_run *run, const json *section);
void golden_unet(gold_run *run, const json *section);
/* The PyTorch files of section 06. */
void golden_torch(gold_run *run);
void golden_samplers(gold_run *run, const json *section);
void golden_training(gold_run *run, const json *section);
void golden_metrics(gold_run *run, const json *section);
/* Its networks. */
void golden_inception(gold_run *run, const json *section);

#endif
