#include "api/settings.h"

#include "api/compat.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PRESETS = 64 };

#define AT(field) offsetof(settings_values, field)
#define NET (GROUP_TRAIN | GROUP_SAMPLE | GROUP_INFO | GROUP_PLAN | GROUP_BENCH | GROUP_NLL | GROUP_CONVERT | GROUP_MODEL)
#define PROCESS NET
#define TRAIN (GROUP_TRAIN | GROUP_PLAN | GROUP_RUN)
#define LOOP (GROUP_TRAIN)
#define CLASSIFIER (GROUP_CLASSIFIER | GROUP_CALL)
#define DRAW (GROUP_SAMPLE)
#define MEASURE (GROUP_EVAL | GROUP_FEATURES | GROUP_NEIGHBOURS)
#define GENERATE (GROUP_SAMPLE | GROUP_PROGRESSIVE | GROUP_INTERPOLATE | GROUP_ENCODE | GROUP_DECODE | GROUP_SWEEP)   /* commands that run a chain */
#define ALL (GROUP_TRAIN | GROUP_INFO | GROUP_PLAN | GROUP_BENCH | GROUP_DOCTOR | GROUP_NLL | GROUP_CONVERT | GENERATE | \
             GROUP_NEIGHBOURS | GROUP_EVAL | GROUP_FEATURES | GROUP_PLOT | GROUP_DATA)
#define CALL (ALL | GROUP_CALL)
#define WORK (GROUP_TRAIN | GROUP_PLAN | GROUP_BENCH | GROUP_DOCTOR | GROUP_NLL | GROUP_FEATURES | GENERATE)
#define BOOL(f, d, g, h)          { #f, NULL, 0, OPT_BOOL, AT(f), d, 0, 0, NULL, g, NULL, h }
#define INT(f, d, lo, hi, g, h)   { #f, NULL, 0, OPT_INT, AT(f), d, lo, hi, NULL, g, "N", h }
#define I64(f, d, lo, hi, g, h)   { #f, NULL, 0, OPT_I64, AT(f), d, lo, hi, NULL, g, "N", h }
#define REAL(f, d, lo, hi, g, h)  { #f, NULL, 0, OPT_REAL, AT(f), d, lo, hi, NULL, g, "X", h }
#define CHOICE(f, d, c, g, h)     { #f, NULL, 0, OPT_CHOICE, AT(f), d, 0, 0, c, g, NULL, h }
#define TEXT(f, g, m, h)          { #f, NULL, 0, OPT_STRING, AT(f), "", 0, 0, NULL, g, m, h }

const option settings_options[] = {
    /* the network */
    { "image_size", NULL, 0, OPT_INT_LIST, AT(image_size), "", 1, 4096, NULL, NET | GROUP_DATA | MEASURE, "N|H,W",
        "Image size in pixels; from the data when not given. To measure, images of another size are fitted to it first, as training fits them." },
    INT(large_size, "0", 0, 4096, NET, "improved-diffusion's name of the image size of an up-sampler."),
    INT(small_size, "0", 0, 4096, NET, "Makes an up-sampler: it enlarges images of this size; 0: an ordinary model."),
    INT(channels, "0", 0, 4, NET | GROUP_DATA | MEASURE, "Channels of an image, 1 to 4; 0: from the data."),
    INT(num_channels, "128", 1, 65536, NET, "Base width of the network."),
    INT(num_res_blocks, "2", 0, 32, NET, "Residual blocks of a level."),
    { "channel_mult", NULL, 0, OPT_REAL_LIST, AT(channel_mult), "", 0.01, 64, NULL, NET, "X,X,...",
        "Width of each level as a multiple of num_channels; from the image size when not given." },
    INT(stem, "0", 0, 65536, NET, "Channels after the first convolution; 0: num_channels."),
    { "attention_resolutions", NULL, 0, OPT_INT_LIST, AT(attention_resolutions), "16,8", 0, 4096, NULL, NET, "N,N,...", "Image heights at which there is attention." },
    INT(num_heads, "4", 1, 1024, NET, "Attention heads."),
    INT(num_heads_upsample, "-1", -1, 1024, NET, "Attention heads of the way up; -1: num_heads."),
    INT(num_head_channels, "-1", -1, 65536, NET, "Channels of an attention head; -1: by num_heads."),
    BOOL(use_scale_shift_norm, "true", NET, "The time embedding scales and shifts instead of adding."),
    BOOL(resblock_updown, "false", NET, "Residual blocks change the resolution (guided-diffusion)."),
    BOOL(conv_resample, "true", NET, "Convolutions change the resolution; false: average and repeat."),
    BOOL(use_new_attention_order, "false", NET, "Split query, key, value before heads (guided-diffusion)."),
    BOOL(class_cond, "false", NET, "Condition on the class of an image."),
    INT(num_classes, "0", 0, 1000000, NET, "Number of classes; 0: from the data."),
    INT(classes_out, "0", CLASSES_OF_DATA, 1000000, GROUP_TRAIN | GROUP_PLAN | GROUP_INFO | GROUP_MODEL,
        "Makes a classifier, which tells so many classes of noisy images apart; -1: as many as the data has, 0: a model that draws."),
    INT(norm_groups, "32", 1, 4096, NET, "Groups of the group norms."),
    REAL(norm_eps, "1e-5", 1e-12, 1, NET, "Epsilon of the group norms (OpenAI 1e-5, Ho 1e-6)."),
    CHOICE(embedding, "openai", "openai|ho", NET, "Timestep embedding: [cos sin] with exponent i/half, or [sin cos] with i/(half-1)."),
    CHOICE(down_padding, "symmetric", "symmetric|asymmetric", NET, "Padding of the down-sampling convolutions (Ho: asymmetric)."),
    CHOICE(init_scheme, "openai", "openai|ho|torch", NET, "How new parameters are drawn."),
    REAL(dropout, "0", 0, 0.999, NET, "Dropout in the residual blocks while training."),
    REAL(label_dropout, "0", 0, 1, NET, "Share of labels replaced by the null class while training (for guidance)."),

    /* the diffusion process */
    BOOL(learn_sigma, "false", PROCESS, "The network also learns the variance (learned range)."),
    INT(diffusion_steps, "1000", 2, SCHEDULE_MAX_T, PROCESS, "Timesteps T of the process."),
    CHOICE(noise_schedule, "linear", "linear|quad|cosine|sigmoid|const|jsd|warmup10|warmup50", PROCESS, "Noise schedule."),
    REAL(beta_start, "1e-4", 1e-12, 1, PROCESS, "First beta of the schedules that have one."),
    REAL(beta_end, "0.02", 1e-12, 1, PROCESS, "Last beta of the schedules that have one."),
    CHOICE(beta_scaling, "auto", "auto|openai|none", PROCESS, "Scale the betas of linear by 1000/T (openai) or not; auto: openai."),
    CHOICE(schedule_width, "f64", "f64|f32|f32_torch", PROCESS, "Floating point of the schedule: f64 Ho and OpenAI, f32 ermongroup, f32_torch diffusers."),
    CHOICE(posterior_floor, "borrow", "borrow|floor", PROCESS, "Posterior log variance at t=0: the next one's (OpenAI), or log 1e-20 (diffusers)."),
    CHOICE(prediction, "eps", "eps|x0|previous|v", PROCESS, "What the network predicts."),
    CHOICE(variance, "auto", "auto|small|large|learned|range", PROCESS | GROUP_PROGRESSIVE | GROUP_INTERPOLATE | GROUP_SWEEP | GROUP_SWEPT,
        "Variance of the reverse process; auto: from learn_sigma and sigma_small."),
    CHOICE(loss, "auto", "auto|mse|rescaled_mse|kl|rescaled_kl|mse_sum", PROCESS, "Training loss; auto: from use_kl and rescale_learned_sigmas."),
    BOOL(predict_xstart, "false", PROCESS, "The network predicts x_0: --prediction x0."),
    BOOL(sigma_small, "false", PROCESS, "Fixed variance beta-tilde instead of beta."),
    BOOL(use_kl, "false", PROCESS, "Train the variational bound."),
    BOOL(rescale_timesteps, "true", PROCESS, "The network sees timesteps scaled to 0..1000."),
    BOOL(rescale_learned_sigmas, "true", PROCESS, "Weight of the bound in the hybrid loss is 0.001 at any T."),
    BOOL(rescale_betas_zero_snr, "false", PROCESS, "Shift the noise schedule so that x_T is pure noise; needs v or x0 prediction."),
    CHOICE(compat, "none", "none|ho|openai|ermongroup|diffusers", GROUP_TRAIN | GROUP_PLAN | GENERATE | GROUP_SWEPT | GROUP_MODEL,
        "Whose code is followed where they differ: schedule's rounding, steps, clipping, last step, 8-bit rounding. What a model says of itself holds when "
        "nothing is given."),
    INT(steps_offset, "0", 0, SCHEDULE_MAX_T, GENERATE | GROUP_SWEPT | GROUP_MODEL, "Added to every leading timestep (diffusers)."),
    BOOL(set_alpha_to_one, "true", GENERATE | GROUP_SWEPT | GROUP_MODEL, "DDIM's last step leads to the image; false: to the level of timestep 0 (diffusers)."),

    /* training */
    { "data_dir", NULL, 0, OPT_STRING, AT(data_dir), "", 0, 0, NULL, GROUP_TRAIN | GROUP_PLAN | GROUP_NLL, "DATA", "Another spelling of the DATA argument." },
    { "preset", NULL, 0, OPT_STRING, AT(preset), "", 0, 0, NULL, GROUP_TRAIN | GROUP_SAMPLE | GROUP_INFO | GROUP_PLAN | GROUP_BENCH | GROUP_NLL | GROUP_CONVERT, "NAME",
        "A published configuration by name; `list` prints them." },
    { "config", NULL, 0, OPT_STRING, AT(config), "", 0, 0, NULL, GROUP_TRAIN | GROUP_SAMPLE | GROUP_INFO | GROUP_PLAN | GROUP_NLL | GROUP_CONVERT | GROUP_CALL, "FILE",
        "Read values from a file: JSON such as RUN/config.json, YAML (.yml, .yaml) with the same keys, or a configuration of ermongroup/ddim. Where "
        "nothing is trained only the model's values count." },
    { "batch_size", "batch", 0, OPT_INT, AT(batch_size), "0", 0, 1000000, NULL, TRAIN | GENERATE | GROUP_BENCH | GROUP_NLL, "N",
        "Images of a step (global), or computed at once; 0: 128 to train, 32 otherwise." },
    INT(microbatch, "-1", -1, 1000000, TRAIN, "Images computed at once, -1: chosen. Changes memory only, unless microbatch_reduce is sum."),
    CHOICE(microbatch_reduce, "mean", "mean|sum", TRAIN, "sum: add up the means of micro-batches, as improved-diffusion does."),
    INT(leaves, "4", 1, 4096, TRAIN, "Leaves K of the gradient sum; the result depends on K and never on threads."),
    REAL(lr, "1e-4", 0, 1000, TRAIN, "Learning rate."),
    { "lr_anneal_steps", NULL, 0, OPT_I64, AT(lr_anneal_steps), "0", 0, 1e12, NULL, TRAIN, "N", "Anneal the learning rate to zero over N steps and stop there." },
    I64(lr_warmup, "0", 0, 1e12, TRAIN, "Raise the learning rate over the first N steps."),
    CHOICE(lr_schedule, "auto", "auto|constant|linear|cosine", TRAIN, "How the rate is annealed; auto: linear when lr_anneal_steps is given."),
    CHOICE(optimiser, "adamw", "adamw|adam|adam_tf", TRAIN, "Adam as improved-diffusion, as PyTorch's Adam, or as TensorFlow's."),
    REAL(beta1, "0.9", 0, 1, TRAIN, "Adam's beta1."),
    REAL(beta2, "0.999", 0, 1, TRAIN, "Adam's beta2."),
    REAL(adam_eps, "1e-8", 0, 1, TRAIN, "Adam's epsilon."),
    REAL(weight_decay, "0", 0, 1000, TRAIN, "Weight decay."),
    REAL(grad_clip, "0", 0, 1e9, TRAIN, "Clip the global gradient norm; 0: do not."),
    { "ema_rate", NULL, 0, OPT_REAL_LIST, AT(ema_rate), "0.9999", 0, 1, NULL, TRAIN, "X,X,...", "Rates of the averaged weights; the first one is sampled from." },
    BOOL(ema_warmup, "true", TRAIN, "Lower the averages' rates at first: min(rate, (1+s)/(10+s))."),
    CHOICE(schedule_sampler, "uniform", "uniform|antithetic|loss-second-moment", TRAIN,
        "How training timesteps are drawn; the last, for use_kl, draws those with large losses more often."),
    REAL(min_snr_gamma, "0", 0, 1e9, TRAIN, "Min-SNR weighting of the gradients: the limit of the signal-to-noise ratio, usually 5; 0: none."),
    BOOL(flip, "false", TRAIN, "Mirror half of the training images."),
    CHOICE(labels, "auto", "auto|folder|prefix|json|none", TRAIN | DRAW | GROUP_ENCODE | GROUP_PROGRESSIVE | GROUP_NLL | GROUP_INFO | GROUP_DATA,
        "Where the classes of a folder of images come from."),
    CHOICE(crop, "none", "none|celeba", TRAIN | DRAW | GROUP_ENCODE | GROUP_PROGRESSIVE | GROUP_NLL | GROUP_INFO | GROUP_DATA | MEASURE,
        "Cut images before they are fitted; celeba: the face in CelebA's aligned pictures, as Song et al. do."),
    BOOL(strict, "false", LOOP | DRAW | GROUP_ENCODE | GROUP_PROGRESSIVE | GROUP_NLL | GROUP_EVAL | GROUP_FEATURES | GROUP_NEIGHBOURS | GROUP_DATA,
        "Stop at a bad image instead of skipping it."),
    REAL(val, "0", 0, 1e9, LOOP | GROUP_RUN, "Images held out for a validation loss: a share below 1, or a number."),
    INT(val_interval, "1000", 1, 1000000000, LOOP, "Steps between validation losses."),
    { "init", NULL, 0, OPT_STRING, AT(init), "", 0, 0, NULL, LOOP, "MODEL", "Start from another model's weights." },
    I64(steps, "0", 0, 1e12, LOOP | GENERATE | GROUP_SWEPT | GROUP_PLAN | GROUP_NLL,
        "Training steps (0: no end); steps of the sampler (not given: 50, for ddpm and most profiles the whole chain); terms of the bound that an image's "
        "estimate is made of (nll; 0: all)."),
    REAL(hours, "0", 0, 1e6, LOOP, "Stop after so many hours: saved, to go on, with exit status 75."),
    INT(log_interval, "10", 1, 1000000000, LOOP, "Steps between log lines."),
    INT(save_interval, "10000", 1, 1000000000, LOOP, "Steps between checkpoints."),
    INT(sample_interval, "1000", 0, 1000000000, LOOP, "Steps between sample grids; 0: none."),
    INT(eval_every, "0", 0, 1000000000, LOOP, "Steps between measurements of what the averaged weights draw, as `ddpm eval` measures it; 0: none."),
    INT(eval_samples, "1000", 2, 100000000, LOOP, "Images drawn for a measurement of eval_every."),
    INT(eval_steps, "50", 1, SCHEDULE_MAX_T, LOOP, "Steps of the sampler that draws the images of eval_every."),
    TEXT(eval_reference, LOOP, "DATA", "Images, features or statistics that eval_every measures against; the training data when not given."),
    INT(keep, "3", 1, 1000000, LOOP, "Checkpoints kept beside the best one."),
    BOOL(fresh, "false", LOOP | GROUP_CALL, "Start a new run in a new folder instead of going on with the old one."),
    TEXT(resume_checkpoint, LOOP, "MODEL", "Another spelling of --init."),
    CHOICE(checkpoint_activations, "none", "none|cheap|blocks", LOOP | GROUP_PLAN | GROUP_BENCH,
        "What the backward pass computes again to save memory: nothing, the outputs of the norms (little time), or all inside of the residual and "
        "attention blocks (a fifth more time). The results stay the same."),
    BOOL(use_checkpoint, "false", LOOP | GROUP_PLAN | GROUP_BENCH | DRAW | GROUP_NLL,
        "improved-diffusion's spelling of --checkpoint_activations blocks; without meaning where nothing is trained."),
    BOOL(use_fp16, "false", LOOP | DRAW | GROUP_NLL, "Accepted for improved-diffusion's command lines: --precision bf16."),
    REAL(fp16_scale_growth, "1e-3", 0, 1e9, LOOP, "Accepted for improved-diffusion's command lines; bf16 needs no scaling of the loss."),
    INT(prefetch, "4", 1, 64, LOOP, "Batches decoded ahead."),
    BOOL(noised, "true", GROUP_TRAIN | GROUP_INFO | GROUP_MODEL,
        "Train a classifier on images with noise of all timesteps, as guidance needs it; false: on the images themselves, with t = 0."),
    INT(classifier_width, "128", 1, 65536, CLASSIFIER, "guided-diffusion's spelling of --num_channels."),
    INT(classifier_depth, "2", 0, 32, CLASSIFIER, "guided-diffusion's spelling of --num_res_blocks."),
    { "classifier_attention_resolutions", NULL, 0, OPT_INT_LIST, AT(classifier_attention_resolutions), "32,16,8", 0, 4096, NULL, CLASSIFIER, "N,N,...",
        "guided-diffusion's spelling of --attention_resolutions." },
    BOOL(classifier_use_scale_shift_norm, "true", CLASSIFIER, "guided-diffusion's spelling of --use_scale_shift_norm."),
    BOOL(classifier_resblock_updown, "true", CLASSIFIER, "guided-diffusion's spelling of --resblock_updown."),
    BOOL(classifier_use_fp16, "false", CLASSIFIER, "guided-diffusion's spelling of --use_fp16."),
    CHOICE(classifier_pool, "adaptive", "adaptive|attention|spatial|spatial_v2", CLASSIFIER,
        "How a classifier's last features become one vector: only adaptive, their mean, is offered."),
    I64(iterations, "150000", 1, 1e12, CLASSIFIER, "guided-diffusion's spelling of --steps."),
    BOOL(anneal_lr, "false", CLASSIFIER, "Anneal the learning rate to zero over all steps."),
    INT(eval_interval, "1000", 1, 1000000000, CLASSIFIER, "guided-diffusion's spelling of --val_interval."),
    TEXT(val_data_dir, CLASSIFIER, "DATA", "Not offered: --val holds images of DATA out."),

    /* sampling */
    TEXT(model_path, DRAW | GROUP_NLL, "MODEL", "Another spelling of the MODEL argument."),
    { "num_samples", NULL, 'n', OPT_INT, AT(num_samples), "16", 1, 100000000, NULL,
      DRAW | GROUP_ENCODE | GROUP_PROGRESSIVE | GROUP_DECODE | GROUP_NLL | GROUP_EVAL | GROUP_FEATURES | GROUP_NEIGHBOURS, "N",
        "Images to draw, or to measure: a choice by the seed where there are more. When not given, all of them for eval and features, 1000 for nll, "
        "neighbours and --sweep, and else the default." },
    CHOICE(sampler, "ddim", "ddim|ddpm|dpm++2m|unipc|heun", DRAW | GROUP_SWEEP | GROUP_SWEPT | GROUP_MODEL, "Sampling method."),
    { "spacing", NULL, 0, OPT_STRING, AT(spacing), "auto", 0, 0, NULL, GENERATE | GROUP_SWEPT | GROUP_MODEL, "RULE",
        "Which timesteps; auto: the profile's, else trailing, and logsnr for dpm++2m, unipc, heun. Others: uniform, quad, leading, linspace, trailing, "
        "logsnr, or openai:SPEC." },
    TEXT(timestep_respacing, LOOP | DRAW | GROUP_PROGRESSIVE | GROUP_NLL, "SPEC",
        "improved-diffusion's spelling of --spacing openai:SPEC; the chain itself is shortened."),
    TEXT(base_samples, GROUP_SAMPLE, "DATA", "Small images that an up-sampler enlarges: an .npz of samples, or a data set."),
    REAL(eta, "0", 0, 100, DRAW | GROUP_SWEEP | GROUP_SWEPT, "Noise of DDIM: 0 none, 1 as much as DDPM."),
    BOOL(sigma_hat, "false", DRAW | GROUP_SWEEP | GROUP_SWEPT, "DDIM with the noise of DDPM's larger variance (needs --eta 1)."),
    REAL(guidance, "1", 0, 1000, GENERATE | GROUP_SWEPT, "Classifier-free guidance: 1 none, larger follows the class more closely."),
    TEXT(classifier, GROUP_SAMPLE | GROUP_SWEEP, "RUN",
        "Draw towards the class by a classifier of noisy images, from `ddpm classifier train`; the model itself need not know classes, and --class is "
        "random when not given."),
    REAL(classifier_scale, "1", -1e6, 1e6, GROUP_SAMPLE | GROUP_SWEEP | GROUP_SWEPT,
        "How strongly the classifier leads to the class: 0 not at all, 1 as its probabilities say, more for clearer and fewer kinds of images."),
    BOOL(use_ddim, "false", DRAW, "improved-diffusion's spelling of --sampler ddim."),
    CHOICE(clip, "auto", "auto|none|rederive|x0", GENERATE | GROUP_SWEPT | GROUP_MODEL, "Clipping of x_0; auto: the model's or the profile's, else rederive."),
    BOOL(clip_denoised, "true", DRAW | GROUP_NLL, "Clip x_0 to [-1,1]; improved-diffusion's spelling of --clip: false is none."),
    { "class", NULL, 0, OPT_STRING, AT(class_label), "all", 0, 0, NULL, GENERATE | GROUP_SWEPT | GROUP_NLL, "C",
        "Class by name or number, none where the model knows images without one, all (in turn), or random. For images that exist: their own when not given." },
    CHOICE(quantize, "round", "round|truncate|even", (GENERATE & ~GROUP_ENCODE) | GROUP_SWEPT,
        "How values become 8-bit pixels, when a profile is not to say it; even: halves to even (diffusers)."),
    CHOICE(weights, "ema", "ema|raw", GENERATE | GROUP_INFO | GROUP_NLL | GROUP_CONVERT, "Averaged or raw weights."),
    CHOICE(dtype, "f32", "f32|bf16", GROUP_CONVERT, "Number format of the weights written."),
    CHOICE(format, "auto", "auto|folder|diffusers|openai|ermongroup|safetensors", GROUP_CONVERT,
        "Form of what is written; auto: by the ending of OUT, .safetensors, .pt (openai) or .ckpt (ermongroup), else a folder. diffusers is a folder too, "
        "or the reason why diffusers cannot run the model."),
    I64(index, "-1", -1, 1e15, DRAW | GROUP_DECODE, "Draw only the image with this index."),
    TEXT(seeds, DRAW, "A-B", "One image for each seed of a range."),
    TEXT(xT, DRAW, "FILE", "Start from the latents of a .safetensors file: a tensor xT [n,channels,height,width]."),
    CHOICE(film, "auto", "auto|x0|xt", DRAW,
        "A film of the trajectory: what it shows of each step, the prediction of x_0 or x_t. FILE.gif moves (auto: x0); FILE.png has a row for each image "
        "and its steps as columns, FILE.svg their timesteps too."),
    INT(sheet, "0", 0, 1000, DRAW,
        "A sheet for a paper, FILE.png or FILE.svg: so many images of each class in a row, with the name of the class beside it; of a model without "
        "classes, a grid so wide. --class C,C,... chooses the rows. 0: no sheet."),
    TEXT(start_image, DRAW, "DATA", "Start from images with noise added instead of from noise: an image file or a data set, taken in turn. Samplers ddpm and ddim."),
    INT(start_step, "0", 0, SCHEDULE_MAX_T, DRAW,
        "Timesteps of noise, 1 to T of the trained chain, that start_image gets: sampling goes on from the first step at or below. 0: half of T."),
    TEXT(inpaint, DRAW, "DATA",
        "Draw the unknown part of images anew (RePaint, with the sampler ddpm, 250 steps when not given): an image file or a data set, taken in turn."),
    TEXT(mask, DRAW, "FILE",
        "What inpaint keeps: a picture of the images' size, white where pixels are known, black where they are drawn; grey counts as the nearer one, "
        "transparency not at all."),
    INT(jump_length, "0", 0, SCHEDULE_MAX_T, DRAW, "Steps that inpaint goes back at once; 0: 10, in chains of fewer than 250 steps a 25th of them."),
    INT(jump_n_sample, "10", 1, 1000000, DRAW, "How often inpaint walks the steps that it went back; 1: once, the fastest."),

    /* between images */
    INT(count, "11", 2, 10000, GROUP_INTERPOLATE,
        "Images drawn from A to B, both ends included (image files are shown beside them); with four corners, of a side of the grid."),
    { "at", NULL, 0, OPT_INT_LIST, AT(at), "", 0, SCHEDULE_MAX_T, NULL, GROUP_INTERPOLATE, "N,N,...",
        "Mix the images with N timesteps of noise, 0 to T of the trained chain, and draw from there with ddpm (DDPM, figure 8); several make a row each." },

    /* measuring */
    BOOL(fit, "false", DRAW | GROUP_ENCODE | GROUP_PROGRESSIVE | GROUP_INTERPOLATE | GROUP_NLL,
        "Fit images of another size or other channels to the model's, as training does."),
    { "features", NULL, 0, OPT_STRING, AT(features), "pca64", 0, 0, NULL, GROUP_EVAL | GROUP_FEATURES | LOOP | GROUP_NEIGHBOURS, "WORD|RUN",
        "What images are compared by: pcaK, the first K principal components of the pixels; raw, the pixels; inception-pytorch or inception-tensorflow, "
        "Inception's features after resizing as that program does; or the run folder of a classifier of your own (`ddpm classifier train`). For neighbours "
        "raw when not given." },
    TEXT(inception_weights, GROUP_EVAL | GROUP_FEATURES | LOOP | GROUP_NEIGHBOURS, "FILE",
        "Weights of the Inception network, for --features inception-...; when not given, pt_inception-2015-12-05-6726825d.pth is looked for in the working "
        "folder and in ddpm and torch/hub/checkpoints of --cache_dir."),
    TEXT(cache_dir, GROUP_EVAL | GROUP_FEATURES | LOOP | GROUP_NEIGHBOURS | GROUP_CALL, "FOLDER",
        "The user's folder for caches, where Inception's weights may lie; when not given, $XDG_CACHE_HOME or ~/.cache."),
    { "metrics", NULL, 0, OPT_STRING, AT(metrics), "auto", 0, 0, NULL, GROUP_EVAL | LOOP, "fd,kid,pr,dc,is,sfid,fid_inf|all",
        "What to measure: Frechet distance, kernel distance, precision and recall, density and coverage, score of the logits, Frechet distance of spatial "
        "features, and that of infinitely many samples, extrapolated. auto: fd of pixels, of features of networks all but fid_inf that they allow; all: whatever they allow." },
    TEXT(part, GROUP_FEATURES, "I/N", "Only part I of N (1/N to N/N) of the images; `ddpm eval --merge` takes a folder with the files of all parts."),
    BOOL(merge, "false", GROUP_EVAL, "SAMPLES or REFERENCE may be a folder of files of `ddpm features --part`; they count as one set."),
    TEXT(fit_data, GROUP_EVAL | GROUP_FEATURES, "DATA", "Images that the principal components of pcaK are fitted to; REFERENCE, or DATA, when not given."),
    TEXT(save_stats, GROUP_EVAL, "FILE.npz", "Write mean and covariance of REFERENCE there (mu, sigma), with the axes; the file can be REFERENCE later."),
    INT(fit_count, "10000", 2, 100000000, GROUP_EVAL | GROUP_FEATURES | GROUP_NEIGHBOURS,
        "Images that the principal components are fitted to, at most: a fixed choice, the same for every seed."),
    INT(bootstrap, "200", 0, 1000000, GROUP_EVAL | LOOP, "Resampled sets of the Frechet distance's interval; 0: no interval. When not given, 0 beyond 256 dimensions."),
    INT(kid_subsets, "100", 1, 1000000, GROUP_EVAL, "Subsets of the kernel distance."),
    INT(kid_subset_size, "0", 0, 1000000000, GROUP_EVAL,
        "Images of a subset of the kernel distance, at least 2; 0: 1000, or half of the smaller set where it has fewer."),
    INT(is_splits, "10", 1, 1000000, GROUP_EVAL, "Parts whose scores are averaged for the score of the logits."),
    TEXT(sweep, GROUP_EVAL, "KEY=V,V KEY=V,V",
        "SAMPLES is a model: draw -n images (1000) with every combination of these values of sampling options, such as \"steps=10,20,50 eta=0,1\", and "
        "measure each. -o FILE.csv, or FILE.svg or .png, keeps the table and its chart; with the same file an interrupted sweep goes on."),
    TEXT(control, GROUP_NEIGHBOURS, "DATA", "Images of the same kind that were not trained on: how near real images come."),
    TEXT(outliers, GROUP_EVAL, "FILE",
        "Picture (.png or .svg) of what costs precision and recall: samples outside the reference's manifold and reference images outside the samples', "
        "the farthest first, each beside its nearest of the other set."),
    INT(rows, "10", 1, 1000, GROUP_NEIGHBOURS | GROUP_EVAL, "Samples in the picture, or outliers of either kind."),
    INT(nearest, "8", 1, 1000, GROUP_NEIGHBOURS, "Training images beside each sample, the nearest first."),
    CHOICE(charts, "svg", "svg|png", GROUP_NEIGHBOURS | GROUP_PROGRESSIVE, "What charts are written as, beside the other files."),

    /* every command */
    { "output", NULL, 'o', OPT_STRING, AT(output), "", 0, 0, NULL,
      GROUP_TRAIN | GENERATE | GROUP_PLAN | GROUP_BENCH | GROUP_NLL | GROUP_FEATURES | GROUP_NEIGHBOURS | GROUP_PLOT | GROUP_CALL, "PATH",
        "Where the result goes." },
    { "seed", NULL, 0, OPT_I64, AT(seed), "0", 0, 9e15, NULL, GROUP_TRAIN | GENERATE | GROUP_NLL | GROUP_EVAL | GROUP_FEATURES | GROUP_NEIGHBOURS | GROUP_RUN, "N",
        "Seed of all random numbers." },
    INT(threads, "0", 0, 1024, WORK | GROUP_EVAL | GROUP_NEIGHBOURS | GROUP_DATA, "Threads; 0: one for each processor."),
    { "device", NULL, 0, OPT_STRING, AT(device), "cpu", 0, 0, NULL, WORK | GROUP_EVAL | GROUP_NEIGHBOURS, "cpu|cuda[:i]", "Where to compute." },
    CHOICE(precision, "auto", "auto|f32|bf16|f32x3", WORK | GROUP_EVAL | GROUP_NEIGHBOURS | GROUP_RUN,
        "auto: bf16 where the processor multiplies it natively, else f32; f32 for nll, for features of images, and for latents of images. f32x3: f32 whose "
        "products keep 16 of 24 bits, faster with AMX; without AMX it is f32."),
    { "max_isa", NULL, 0, OPT_STRING, AT(max_isa), "", 0, 0, NULL, WORK | GROUP_EVAL | GROUP_NEIGHBOURS, "ISA",
        "Highest instruction set to use: generic, avx2, avx512, avx512bf16, amx." },
    BOOL(ops, "false", GROUP_BENCH, "Time every operator, and what is between and around them in a training step."),
    INT(repeats, "5", 1, 100, GROUP_BENCH, "How often the work is measured; figures are medians."),
    TEXT(compare, GROUP_BENCH | GROUP_CALL, "FILE",
        "Measure the work of an earlier --json document again and compare; exit status 1 when a figure became worse by more than the noise."),
    BOOL(json, "false", CALL, "One JSON document on standard output."),
    { "quiet", NULL, 'q', OPT_BOOL, AT(quiet), "false", 0, 0, NULL, CALL, NULL, "Only errors." },
    { "verbose", NULL, 'v', OPT_BOOL, AT(verbose), "false", 0, 0, NULL, CALL, NULL, "More messages." },
    { "help", NULL, 'h', OPT_BOOL, AT(help), "false", 0, 0, NULL, CALL, NULL, "Show this help." },
    { 0 }
};

void settings_defaults(settings *s)
{
    assert(options_count(settings_options) <= SETTINGS_MAX_OPTIONS);
    options_defaults(settings_options, &s->v, s->origins);
}

ddpm_status settings_set(settings *s, const char *name, const char *text, option_origin origin)
{
    return options_set(settings_options, &s->v, s->origins, name, text, origin);
}

option_origin settings_origin(const settings *s, const char *name)
{
    const int i = options_find(settings_options, name);
    assert(i >= 0);
    return s->origins[i];
}

static ddpm_status find_preset(const char *name, const preset **found)
{
    const char *names[MAX_PRESETS + 1];
    int n = 0;
    for (*found = presets; (*found)->name; ++*found) {
        if (!strcmp((*found)->name, name)) return DDPM_OK;
        assert(n < MAX_PRESETS);
        names[n++] = (*found)->name;
    }
    names[n] = NULL;
    const char *near = options_nearest_word(names, name);
    return ddpm_fail(DDPM_EINVAL, "there is no preset \"%.100s\"%s%s%s; `ddpm train --preset list` prints them", name, near ? "; did you mean " : "",
                     near ? near : "", near ? "?" : "");
}

ddpm_status settings_set_pairs(settings *s, const char *pairs, option_origin origin)
{
    char values[2048];
    if (snprintf(values, sizeof values, "%s", pairs) >= (int)sizeof values) return ddpm_fail(DDPM_EFAIL, "the values \"%.40s...\" are too long", pairs);
    char *rest = values;
    for (char *pair; (pair = strsep(&rest, " ")); ) {
        char *value = strchr(pair, '=');
        if (!value) continue;
        *value++ = 0;
        DDPM_TRY(settings_set(s, pair, value, origin));
    }
    return DDPM_OK;
}

ddpm_status settings_preset(settings *s, const char *name)
{
    const preset *p;
    DDPM_TRY(find_preset(name, &p));
    DDPM_TRY(settings_set_pairs(s, p->values, ORIGIN_PRESET));
    return settings_set(s, "preset", name, ORIGIN_PRESET);
}

static ddpm_status apply_preset(settings *s)
{
    char name[OPTION_STRING_SIZE];
    snprintf(name, sizeof name, "%s", s->v.preset);      /* which the preset's own values overwrite */
    return name[0] ? settings_preset(s, name) : DDPM_OK;
}

ddpm_status settings_sources(settings *s)
{
    if (s->v.config[0]) DDPM_TRY(settings_read_file(s, s->v.config, ORIGIN_CONFIG));
    return apply_preset(s);
}

/* The rows that describe a model, of those that the file gives. */
static ddpm_status add_model_rows(settings *s, const settings *file)
{
    for (int i = 0; settings_options[i].name; i++) {
        char text[OPTION_TEXT_SIZE];
        if (!(settings_options[i].groups & GROUP_MODEL) || file->origins[i] == ORIGIN_DEFAULT) continue;
        options_print(settings_options, &file->v, i, text);
        DDPM_TRY(options_set_row(settings_options, &s->v, s->origins, i, text, file->origins[i]));
    }
    return DDPM_OK;
}

ddpm_status settings_model_sources(settings *s)
{
    if (!s->v.config[0]) return apply_preset(s);
    settings *file = malloc(sizeof *file);
    if (!file) return ddpm_fail(DDPM_ENOMEM, "no memory for a configuration");
    settings_defaults(file);
    ddpm_status status = settings_read_file(file, s->v.config, ORIGIN_CONFIG);
    if (status == DDPM_OK) status = add_model_rows(s, file);
    free(file);
    return status == DDPM_OK ? apply_preset(s) : status;
}

/* improved-diffusion's table, guided-diffusion's for its sizes, four levels or what the size allows otherwise. */
static void default_channel_mult(settings_values *v)
{
    static const struct { int size, n; double mult[7]; } table[] = {
        { 512, 7, { 0.5, 1, 1, 2, 2, 4, 4 } }, { 256, 6, { 1, 1, 2, 2, 4, 4 } }, { 128, 5, { 1, 1, 2, 3, 4 } },
        { 64, 4, { 1, 2, 3, 4 } }, { 32, 4, { 1, 2, 2, 2 } },
    };
    const int h = v->image_size.v[0], w = v->image_size.n > 1 ? v->image_size.v[1] : h;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (h == table[i].size && w == h) {
            v->channel_mult.n = table[i].n;
            memcpy(v->channel_mult.v, table[i].mult, sizeof table[i].mult);
            if (table[i].mult[0] < 1 && !v->stem) v->stem = (int)(table[i].mult[0] * v->num_channels);      /* guided-diffusion's */
            return;
        }
    v->channel_mult = (real_list){ 1, { 1 } };
    for (int n = 1; n < 4 && h % (1 << n) == 0 && w % (1 << n) == 0; n++) v->channel_mult.v[v->channel_mult.n++] = 2;
}

/* use_checkpoint and checkpoint_activations, two names of one choice: the one with the stronger origin counts. */
static ddpm_status resolve_activations(settings *s)
{
    settings_values *v = &s->v;
    const option_origin flag = settings_origin(s, "use_checkpoint"), level = settings_origin(s, "checkpoint_activations");
    if (flag == level && v->use_checkpoint && v->checkpoint_activations != ACTIVATIONS_BLOCKS)
        return ddpm_fail(DDPM_EINVAL, "--use_checkpoint true means --checkpoint_activations blocks; give one of them");
    if (flag > level) v->checkpoint_activations = v->use_checkpoint ? ACTIVATIONS_BLOCKS : ACTIVATIONS_NONE;
    v->use_checkpoint = v->checkpoint_activations == ACTIVATIONS_BLOCKS;
    return DDPM_OK;
}

static ddpm_status resolve_flags(settings *s)
{
    settings_values *v = &s->v;
    DDPM_TRY(resolve_activations(s));
    if (v->predict_xstart) {
        if (settings_origin(s, "prediction") != ORIGIN_DEFAULT && v->prediction != MEAN_START_X)
            return ddpm_fail(DDPM_EINVAL, "--predict_xstart contradicts --prediction; give one of them");
        v->prediction = MEAN_START_X;
    }
    if (v->variance == VARIANCE_AUTO) v->variance = v->learn_sigma ? VARIANCE_RANGE : v->sigma_small ? VARIANCE_SMALL : VARIANCE_LARGE;
    if (v->learn_sigma && v->variance < VARIANCE_LEARNED)
        return ddpm_fail(DDPM_EINVAL, "--learn_sigma contradicts --variance small or large; give one of them");
    if (v->sigma_small && v->variance == VARIANCE_LARGE) return ddpm_fail(DDPM_EINVAL, "--sigma_small contradicts --variance large; give one of them");
    const int loss = v->loss - 1;
    if (v->use_kl && v->loss != LOSS_AUTO && loss != (int)LOSS_KL && loss != (int)LOSS_RESCALED_KL)
        return ddpm_fail(DDPM_EINVAL, "--use_kl contradicts --loss %s; give one of them", loss_type_name((loss_type)loss));
    v->learn_sigma = v->variance >= VARIANCE_LEARNED;
    if (v->loss == LOSS_AUTO) v->loss = 1 + (int)(v->use_kl ? LOSS_RESCALED_KL : v->rescale_learned_sigmas ? LOSS_RESCALED_MSE : LOSS_MSE);
    if (v->use_fp16 && v->precision == PRECISION_AUTO) v->precision = PRECISION_BF16;
    if (v->rescale_betas_zero_snr && v->prediction == (int)MEAN_EPSILON && !v->classes_out)
        return ddpm_fail(DDPM_EINVAL, "--rescale_betas_zero_snr leaves nothing of the image in x_T, where predicted noise cannot tell it; use --prediction v or x0");
    if (v->label_dropout > 0 && !v->class_cond) return ddpm_fail(DDPM_EINVAL, "--label_dropout needs a class-conditional model: --class_cond");
    return DDPM_OK;
}

ddpm_status settings_sizes(settings *s)
{
    settings_values *v = &s->v;
    const int rows[] = { options_find(settings_options, "large_size"), options_find(settings_options, "image_size") };
    const option_origin large = s->origins[rows[0]], image = s->origins[rows[1]];
    if (!v->large_size || (v->image_size.n && v->image_size.v[0] == v->large_size && v->image_size.v[v->image_size.n - 1] == v->large_size)) return DDPM_OK;
    if (v->image_size.n && image == large)
        return ddpm_fail(DDPM_EINVAL, "--large_size %d contradicts --image_size; both are the size of the images, give one of them", v->large_size);
    if (v->image_size.n && image > large) {
        v->large_size = v->image_size.v[0];
    } else {
        v->image_size = (int_list){ 2, { v->large_size, v->large_size } };
        s->origins[rows[1]] = large;
    }
    return DDPM_OK;
}

/* Options of the way up, of a prediction of the image and of its variance. */
static ddpm_status refuse_of_drawing(const settings *s)
{
    static const char *const names[] = { "num_classes", "num_heads_upsample", "prediction", "predict_xstart", "variance", "sigma_small", "posterior_floor", "loss",
                                         "rescale_learned_sigmas", "sample_interval" };
    for (size_t k = 0; k < sizeof names / sizeof *names && s->v.classes_out; k++) {
        const int i = options_find(settings_options, names[k]);
        char asked[OPTION_TEXT_SIZE];
        options_print(settings_options, &s->v, i, asked);
        if (s->origins[i] != ORIGIN_COMMAND_LINE || !strcmp(asked, settings_options[i].fallback) || !strcmp(asked, "0")) continue;
        return ddpm_fail(DDPM_EINVAL, "--%s %s is for models that draw images and does nothing for a classifier; leave it out", names[k], asked);
    }
    return DDPM_OK;
}

/* What a classifier has no part of is not to be asked for. */
static ddpm_status resolve_classes_out(const settings_values *v)
{
    const int loss = v->loss - 1;
    if (!v->classes_out && !v->noised)
        return ddpm_fail(DDPM_EINVAL, "--noised false is for classifiers, and this model draws: `ddpm classifier train`, or --classes_out");
    if (!v->classes_out) return DDPM_OK;
    if (v->class_cond) return ddpm_fail(DDPM_EINVAL, "--class_cond: a classifier is not told the class it is to find; leave it out");
    if (v->classes_out < 0)
        return ddpm_fail(DDPM_EINVAL, "--classes_out %d: the classes of a classifier are not known; give DATA that has classes, or their number",
                         v->classes_out);
    if (v->small_size) return ddpm_fail(DDPM_EINVAL, "--small_size makes an up-sampler, and a classifier enlarges nothing; leave one out");
    if (v->learn_sigma) return ddpm_fail(DDPM_EINVAL, "--learn_sigma: a classifier predicts no image and no variance; leave it out");
    if (v->min_snr_gamma > 0 || loss == (int)LOSS_KL || loss == (int)LOSS_RESCALED_KL)
        return ddpm_fail(DDPM_EINVAL, "%s: the loss of a classifier is the cross entropy of the classes; leave it out",
                         v->min_snr_gamma > 0 ? "--min_snr_gamma" : "--loss and --use_kl");
    return DDPM_OK;
}

static ddpm_status resolve_upsampler(settings_values *v)
{
    const int h = v->image_size.v[0], w = v->image_size.v[1];
    if (!v->small_size && v->large_size)
        return ddpm_fail(DDPM_EINVAL, "--large_size %d is an up-sampler's: give --small_size too (improved-diffusion: 64), or --image_size for an ordinary model",
                         v->large_size);
    if (!v->small_size) return DDPM_OK;
    if (h != w) return ddpm_fail(DDPM_EINVAL, "--small_size %d makes an up-sampler, and its images must be square; these are %dx%d", v->small_size, h, w);
    if (v->small_size >= h) return ddpm_fail(DDPM_EINVAL, "--small_size %d: the images have %dx%d pixels; an up-sampler starts from smaller ones", v->small_size, h, w);
    v->large_size = h;
    return DDPM_OK;
}

ddpm_status settings_resolve(settings *s)
{
    settings_values *v = &s->v;
    DDPM_TRY(refuse_of_drawing(s));
    DDPM_TRY(resolve_flags(s));
    compat_resolve(s);
    DDPM_TRY(settings_sizes(s));
    if (!v->image_size.n) return ddpm_fail(DDPM_EINVAL, "the image size is not known; give --image_size");
    if (v->image_size.n == 1) v->image_size = (int_list){ 2, { v->image_size.v[0], v->image_size.v[0] } };
    if (v->image_size.n != 2) return ddpm_fail(DDPM_EINVAL, "--image_size takes one number or height,width");
    DDPM_TRY(resolve_upsampler(v));
    DDPM_TRY(resolve_classes_out(v));
    if (!v->channels) v->channels = 3;
    if (!v->channel_mult.n) default_channel_mult(v);
    if (v->channel_mult.n > UNET_MAX_LEVELS)
        return ddpm_fail(DDPM_EINVAL, "--channel_mult has %d entries; at most %d are possible", v->channel_mult.n, UNET_MAX_LEVELS);
    if (v->class_cond && !v->num_classes) return ddpm_fail(DDPM_EINVAL, "--class_cond needs labels; the data has none (see --labels), and --num_classes is not given");
    const unet_config c = settings_unet(s);
    return unet_check(&c);
}

unet_config settings_unet(const settings *s)
{
    const settings_values *v = &s->v;
    unet_config c = { .height = v->image_size.v[0], .width = v->image_size.v[1], .in_channels = v->channels * (v->small_size ? 2 : 1),
                      .out_channels = v->channels * (v->variance >= VARIANCE_LEARNED ? 2 : 1), .model_channels = v->num_channels,
                      .stem = v->stem ? v->stem : v->num_channels, .levels = v->channel_mult.n, .num_res_blocks = v->num_res_blocks,
                      .num_heads = v->num_heads, .num_heads_upsample = v->num_heads_upsample > 0 ? v->num_heads_upsample : 0,
                      .num_head_channels = v->num_head_channels > 0 ? v->num_head_channels : 0,
                      .new_attention_order = v->use_new_attention_order, .num_classes = v->class_cond ? v->num_classes : 0,
                      .null_class = v->class_cond && v->label_dropout > 0, .classes_out = v->classes_out, .scale_shift_norm = v->use_scale_shift_norm,
                      .resblock_updown = v->resblock_updown, .conv_resample = v->conv_resample,
                      .asymmetric_down = v->down_padding == DOWN_ASYMMETRIC, .groups = v->norm_groups, .eps = v->norm_eps,
                      .cos_first = v->embedding == EMBEDDING_OPENAI, .freq_shift = v->embedding == EMBEDDING_HO,
                      .dropout = v->dropout, .init = (unet_init)v->init_scheme, .recompute = (nn_recompute)v->checkpoint_activations };
    for (int level = 0; level < c.levels; level++) {
        c.channels[level] = (int)lround(v->channel_mult.v[level] * v->num_channels);
        for (int k = 0; k < v->attention_resolutions.n; k++)
            if (v->attention_resolutions.v[k] > 0 && c.height / v->attention_resolutions.v[k] == 1 << level) c.attention[level] = true;
    }
    return c;
}

dataset_options settings_dataset(const settings *s)
{
    const settings_values *v = &s->v;
    const int_list *size = &v->image_size;
    return (dataset_options){ .size_h = size->n ? size->v[0] : 0, .size_w = size->n ? size->v[size->n - 1] : 0, .channels = v->channels,
                              .labels = (dataset_labels)v->labels, .crop = (dataset_crop)v->crop, .strict = v->strict };
}

schedule_config settings_schedule(const settings *s)
{
    const settings_values *v = &s->v;
    return (schedule_config){ .kind = (schedule_kind)v->noise_schedule, .T = v->diffusion_steps, .beta_start = v->beta_start, .beta_end = v->beta_end,
                              .scaled = v->beta_scaling != SCALING_NONE, .width = (schedule_width)v->schedule_width,
                              .logvar = v->posterior_floor ? LOGVAR_FLOOR : LOGVAR_BORROW, .zero_terminal_snr = v->rescale_betas_zero_snr };
}

int settings_classes(const settings *s) { return s->v.class_cond ? s->v.num_classes : s->v.classes_out; }

mean_type settings_mean(const settings *s)     { return (mean_type)s->v.prediction; }
var_type  settings_variance(const settings *s) { return (var_type)(s->v.variance - VARIANCE_SMALL); }
loss_type settings_loss(const settings *s)     { return (loss_type)(s->v.loss - 1); }

adam_config settings_adam(const settings *s)
{
    const settings_values *v = &s->v;
    return (adam_config){ .kind = (adam_kind)v->optimiser, .lr = v->lr, .beta1 = v->beta1, .beta2 = v->beta2, .eps = v->adam_eps,
                          .weight_decay = v->weight_decay };
}
