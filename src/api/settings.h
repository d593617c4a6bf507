/* settings.h - every value a user can set, in one struct and one table.
 *
 * The command line, the environment, --config, presets, RUN/config.json and the
 * description inside a checkpoint all read and write this struct through the
 * option table, so a value has one name, one type and one place. */
#ifndef DDPM_API_SETTINGS_H
#define DDPM_API_SETTINGS_H

#include "base/options.h"
#include "data/dataset.h"
#include "diffusion/loss.h"
#include "diffusion/schedule.h"
#include "io/json.h"
#include "model/unet.h"
#include "nn/optim.h"

/* Bits of option.groups: commands, and what a value describes. */
enum {
    GROUP_TRAIN = 1 << 0, GROUP_SAMPLE = 1 << 1, GROUP_INFO = 1 << 2, GROUP_PLAN = 1 << 3, GROUP_BENCH = 1 << 4, GROUP_DOCTOR = 1 << 5, GROUP_NLL = 1 << 6,
    GROUP_CONVERT = 1 << 7, GROUP_PROGRESSIVE = 1 << 8, GROUP_INTERPOLATE = 1 << 9, GROUP_ENCODE = 1 << 10, GROUP_DECODE = 1 << 11,
    GROUP_NEIGHBOURS = 1 << 12, GROUP_EVAL = 1 << 13, GROUP_PLOT = 1 << 14, GROUP_DATA = 1 << 15,
    GROUP_MODEL = 1 << 16,       /* part of a model's description: goes into every checkpoint */
    GROUP_RUN = 1 << 17,         /* part of a run: a change of it is a different run          */
    GROUP_CALL = 1 << 18,        /* of one call of the program: no description keeps it       */
    GROUP_FEATURES = 1 << 19,
    GROUP_CLASSIFIER = 1 << 20,  /* guided-diffusion's words for the training of a classifier */
    GROUP_SWEEP = 1 << 21,       /* `ddpm eval` takes it with --sweep                         */
    GROUP_SWEPT = 1 << 22        /* says how images are drawn: a value of --sweep             */
};

typedef struct {
    /* the network */
    int_list image_size, attention_resolutions;
    int large_size, small_size, channels, num_channels, num_res_blocks, stem, num_heads, num_heads_upsample, num_head_channels;
    real_list channel_mult;
    bool use_scale_shift_norm, resblock_updown, conv_resample, use_new_attention_order, class_cond;
    int num_classes, classes_out, norm_groups, embedding, down_padding, init_scheme;
    double norm_eps, dropout, label_dropout;
    bool learn_sigma;

    /* the diffusion process */
    int diffusion_steps, noise_schedule, beta_scaling, schedule_width, posterior_floor, prediction, variance, loss;
    double beta_start, beta_end;
    bool predict_xstart, sigma_small, use_kl, rescale_timesteps, rescale_learned_sigmas, rescale_betas_zero_snr, set_alpha_to_one;
    int compat, steps_offset;
    char timestep_respacing[OPTION_STRING_SIZE];

    /* training */
    char data_dir[OPTION_STRING_SIZE], init[OPTION_STRING_SIZE], preset[OPTION_STRING_SIZE], config[OPTION_STRING_SIZE];
    int batch_size, microbatch, microbatch_reduce, leaves, optimiser, lr_schedule, schedule_sampler, labels, crop;
    double min_snr_gamma, lr, beta1, beta2, adam_eps, weight_decay, grad_clip, hours, val;
    real_list ema_rate;
    bool ema_warmup, flip, strict, fresh, use_checkpoint, use_fp16, noised;
    double fp16_scale_growth;
    int64_t lr_anneal_steps, lr_warmup, steps;
    int log_interval, save_interval, sample_interval, val_interval, keep, prefetch, checkpoint_activations;
    char resume_checkpoint[OPTION_STRING_SIZE];
    /* guided-diffusion's words, which settings_classifier turns into those above */
    int classifier_width, classifier_depth, classifier_pool, eval_interval;
    int_list classifier_attention_resolutions;
    bool classifier_use_scale_shift_norm, classifier_resblock_updown, classifier_use_fp16, anneal_lr;
    int64_t iterations;
    char val_data_dir[OPTION_STRING_SIZE];

    /* sampling */
    char model_path[OPTION_STRING_SIZE], class_label[OPTION_STRING_SIZE], seeds[OPTION_STRING_SIZE], spacing[OPTION_STRING_SIZE],
         xT[OPTION_STRING_SIZE], base_samples[OPTION_STRING_SIZE];
    char classifier[OPTION_STRING_SIZE];
    double classifier_scale;
    char start_image[OPTION_STRING_SIZE], inpaint[OPTION_STRING_SIZE], mask[OPTION_STRING_SIZE];
    int film, sheet, start_step, jump_length, jump_n_sample;
    int num_samples, sampler, clip, quantize, weights, dtype, format;
    int64_t index;
    double eta, guidance;
    bool use_ddim, clip_denoised, sigma_hat;

    /* between images */
    int count;
    int_list at;

    /* measuring */
    bool fit, merge;
    char inception_weights[OPTION_STRING_SIZE], cache_dir[OPTION_STRING_SIZE];
    char part[OPTION_STRING_SIZE], features[OPTION_STRING_SIZE], fit_data[OPTION_STRING_SIZE], control[OPTION_STRING_SIZE], save_stats[OPTION_STRING_SIZE];
    char outliers[OPTION_STRING_SIZE], metrics[OPTION_STRING_SIZE];
    int fit_count, bootstrap, kid_subsets, kid_subset_size, is_splits, rows, nearest, charts;
    char sweep[OPTION_STRING_SIZE], eval_reference[OPTION_STRING_SIZE];
    int eval_every, eval_samples, eval_steps;

    /* every command */
    char output[OPTION_STRING_SIZE], device[OPTION_STRING_SIZE], max_isa[OPTION_STRING_SIZE];
    int64_t seed;
    int threads, precision;
    bool json, quiet, verbose, help, ops;
    int repeats;
    char compare[OPTION_STRING_SIZE];
} settings_values;

enum { SETTINGS_MAX_OPTIONS = 200 };

typedef struct {
    settings_values v;
    option_origin   origins[SETTINGS_MAX_OPTIONS];
} settings;

extern const option settings_options[];         /* ends with a NULL name */

/* Places in the choices of the table. */
enum { EMBEDDING_OPENAI, EMBEDDING_HO };
enum { DOWN_SYMMETRIC, DOWN_ASYMMETRIC };
enum { PRECISION_AUTO, PRECISION_F32, PRECISION_BF16, PRECISION_F32X3 };
enum { SCALING_AUTO, SCALING_OPENAI, SCALING_NONE };
enum { VARIANCE_AUTO, VARIANCE_SMALL, VARIANCE_LARGE, VARIANCE_LEARNED, VARIANCE_RANGE };
enum { LOSS_AUTO };            /* the others: loss_type + 1 */
enum { CLASSES_OF_DATA = -1 };  /* of classes_out */
enum { POOL_ADAPTIVE };
enum { REDUCE_MEAN, REDUCE_SUM };
enum { ACTIVATIONS_NONE, ACTIVATIONS_CHEAP, ACTIVATIONS_BLOCKS };      /* an nn_recompute */
enum { LR_AUTO, LR_CONSTANT, LR_LINEAR, LR_COSINE };
enum { WEIGHTS_EMA, WEIGHTS_RAW };
enum { SAMPLER_DDIM };               /* the others: sampling.c finds them by name */
enum { DTYPE_F32, DTYPE_BF16 };
enum { FORMAT_AUTO, FORMAT_FOLDER, FORMAT_DIFFUSERS, FORMAT_OPENAI, FORMAT_ERMONGROUP, FORMAT_SAFETENSORS };
enum { QUANTIZE_ROUND, QUANTIZE_TRUNCATE, QUANTIZE_EVEN };     /* a draw_rounding */
enum { COMPAT_NONE };                 /* the others: schedule_profile + 1 */
enum { FILM_AUTO, FILM_X0, FILM_XT };
enum { CHARTS_SVG, CHARTS_PNG };
enum { SAMPLE_CLIP_AUTO, SAMPLE_CLIP_NONE, SAMPLE_CLIP_REDERIVE, SAMPLE_CLIP_X0 };

void        settings_defaults(settings *s);
ddpm_status settings_set(settings *s, const char *name, const char *text, option_origin origin);
option_origin settings_origin(const settings *s, const char *name);

/* Apply a preset by name; unknown: EINVAL with the nearest name. */
ddpm_status settings_preset(settings *s, const char *name);
typedef struct { const char *name, *summary, *values; } preset;   /* values: "key=value key=value" */
extern const preset presets[];                  /* ends with a NULL name */
extern const char preset_ermongroup[];          /* what Song et al.'s code has built in, in the same form */
ddpm_status settings_set_pairs(settings *s, const char *pairs, option_origin origin);

/* Keys of the options in `groups`, GROUP_CALL's left out, to and from a JSON object { key: value }. An unknown key or a value
 * of the wrong type is EINVAL; `where` names the file in sentences. */
ddpm_status settings_to_json(const settings *s, unsigned groups, json **object);
ddpm_status settings_from_json(settings *s, const json *object, const char *where, option_origin origin);

/* A value of such an object as text on a command line; lists may be arrays or text. EINVAL: neither a scalar nor a list. */
ddpm_status settings_json_text(const json *value, const char *where, const char *key, char *text, size_t size);

/* A file of settings by its ending: .json, or .yml and .yaml. The document of either, freed by json_free. */
bool        settings_is_file(const char *path);
ddpm_status settings_read_document(const char *path, json **document);

/* RUN/config.json or --config, in JSON or (.yml, .yaml) YAML: { "values": {...} }, a bare object of keys, or
 * a configuration of ermongroup/ddim. */
ddpm_status settings_read_file(settings *s, const char *path, option_origin origin);

/* The values of --config and --preset, where they are set, below what is set already. */
ddpm_status settings_sources(settings *s);
/* The same for commands that train nothing: what the file says of a training (steps, batch_size) must not reach them. */
ddpm_status settings_model_sources(settings *s);

/* Resolve what depends on other values: flags of improved-diffusion into ours (predict_xstart -> prediction,
 * learn_sigma and sigma_small -> variance), defaults by image size (channel_mult). Contradictions: EINVAL. */
ddpm_status settings_resolve(settings *s);

/* The settings of a training become those of a classifier's: guided-diffusion's words are turned into the table's own, and its
 * defaults hold where nothing is given. Before settings_resolve. EINVAL: both words with different values, what is not offered. */
ddpm_status settings_classifier(settings *s);

/* Classes that the model knows: those it is asked for, or tells apart; 0: none. */
int         settings_classes(const settings *s);

/* image_size and large_size, two names of one value, made the same: the one with the stronger origin counts, also while
 * the size is not known from the data yet. EINVAL: they differ and are as strong. */
ddpm_status settings_sizes(settings *s);

/* The parts of a resolved setting. */
unet_config     settings_unet(const settings *s);
dataset_options settings_dataset(const settings *s);     /* sizes and channels that are not given: the data's own */
schedule_config settings_schedule(const settings *s);
mean_type       settings_mean(const settings *s);
var_type        settings_variance(const settings *s);
loss_type       settings_loss(const settings *s);
adam_config     settings_adam(const settings *s);

#endif
