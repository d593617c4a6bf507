#include "api/settings.h"

/* Published configurations, spelt as their options. Every value that differs from the table's
 * default stands here. The shapes shared by a family come first. */

/* Ho et al. 2020; beta scaling "none" is their linear schedule at any T. At 256x256 their older code
 * ran, which floors the posterior's log variance. */
#define HO "compat=ho use_scale_shift_norm=false num_heads=1 embedding=ho norm_eps=1e-6 down_padding=asymmetric init_scheme=ho " \
           "num_channels=128 num_res_blocks=2 attention_resolutions=16 beta_scaling=none rescale_timesteps=false " \
           "optimiser=adam_tf grad_clip=1 lr_warmup=5000 ema_rate=0.9999 ema_warmup=false flip=true "
#define HO_256 HO "image_size=256 channel_mult=1,1,2,2,4,4 lr=2e-5 batch_size=64 variance=small posterior_floor=floor "
/* Song et al. 2021 train with the summed loss and float32 tables. */
#define DDIM "compat=ermongroup use_scale_shift_norm=false num_heads=1 embedding=ho norm_eps=1e-6 down_padding=asymmetric init_scheme=torch " \
             "num_channels=128 num_res_blocks=2 attention_resolutions=16 beta_scaling=none schedule_width=f32 posterior_floor=floor rescale_timesteps=false " \
             "optimiser=adam ema_warmup=false schedule_sampler=antithetic loss=mse_sum flip=true "
#define DDIM_SMALL "dropout=0.1 lr=2e-4 batch_size=128 grad_clip=1 ema_rate=0.9999 variance=large "
const char preset_ermongroup[] = DDIM;
/* Nichol & Dhariwal 2021: learned range, T = 4000, no flips. */
#define IDDPM "compat=openai num_res_blocks=3 diffusion_steps=4000 noise_schedule=cosine lr=1e-4 batch_size=128 ema_warmup=false "
#define VLB "learn_sigma=true use_kl=true schedule_sampler=loss-second-moment "

/* Dhariwal & Nichol 2021. */
#define ADM "compat=openai num_head_channels=64 attention_resolutions=32,16,8 resblock_updown=true learn_sigma=true class_cond=true num_classes=1000 " \
            "diffusion_steps=1000 rescale_timesteps=false rescale_learned_sigmas=false ema_warmup=false flip=true "

const preset presets[] = {
    { "fashion", "28x28 grey class-conditional, trained by the demo on Fashion-MNIST",
      "image_size=28 channels=1 num_channels=32 channel_mult=1,2,2 num_res_blocks=2 attention_resolutions=7 num_heads=4 norm_groups=8 "
      "class_cond=true num_classes=10 label_dropout=0.1 diffusion_steps=1000 noise_schedule=cosine lr=1e-3 lr_warmup=100 batch_size=64 "
      "ema_rate=0.999 grad_clip=1 save_interval=1000 sample_interval=100 log_interval=10" },
    { "ddpm-cifar10", "DDPM, CIFAR-10 32x32", HO "image_size=32 channel_mult=1,2,2,2 dropout=0.1 lr=2e-4 batch_size=128 variance=large" },
    { "ddpm-celebahq256", "DDPM, CelebA-HQ 256x256", HO_256 },
    { "ddpm-lsun256", "DDPM, LSUN 256x256", HO_256 },
    { "ddpm-lsun256-large", "DDPM, LSUN bedroom 256x256, 256 M parameters", HO_256 "num_channels=192" },
    { "ddim-cifar10", "DDIM's training configuration, CIFAR-10 32x32", DDIM DDIM_SMALL "image_size=32 channel_mult=1,2,2,2" },
    { "ddim-celeba64", "DDIM, CelebA 64x64", DDIM DDIM_SMALL "image_size=64 channel_mult=1,2,2,2,4" },
    { "ddim-lsun256", "DDIM's training configuration, LSUN 256x256",
      DDIM "image_size=256 channel_mult=1,1,2,2,4,4 lr=2e-5 batch_size=64 ema_rate=0.999 variance=small" },
    { "iddpm-cifar10-hybrid", "Improved DDPM, CIFAR-10, L_hybrid", IDDPM "image_size=32 num_channels=128 channel_mult=1,2,2,2 dropout=0.3 learn_sigma=true" },
    { "iddpm-cifar10-simple", "Improved DDPM, CIFAR-10, L_simple", IDDPM "image_size=32 num_channels=128 channel_mult=1,2,2,2 dropout=0.3" },
    { "iddpm-cifar10-vlb", "Improved DDPM, CIFAR-10, L_vlb with importance sampling of t",
      IDDPM VLB "image_size=32 num_channels=128 channel_mult=1,2,2,2 dropout=0.3" },
    { "iddpm-imagenet64", "Improved DDPM, ImageNet 64x64, L_hybrid", IDDPM "image_size=64 num_channels=128 channel_mult=1,2,3,4 learn_sigma=true" },
    { "iddpm-imagenet64-vlb", "Improved DDPM, ImageNet 64x64, L_vlb with importance sampling of t",
      IDDPM VLB "image_size=64 num_channels=128 channel_mult=1,2,3,4" },
    { "iddpm-imagenet64-cond", "Improved DDPM, ImageNet 64x64, class-conditional",
      IDDPM "image_size=64 num_channels=192 channel_mult=1,2,3,4 learn_sigma=true class_cond=true num_classes=1000 lr=3e-4 batch_size=2048 "
      "rescale_timesteps=false rescale_learned_sigmas=false" },
    { "iddpm-imagenet64-cond-small", "Improved DDPM, ImageNet 64x64, class-conditional, the smaller one",
      IDDPM "image_size=64 num_channels=128 channel_mult=1,2,3,4 learn_sigma=true class_cond=true num_classes=1000 "
      "rescale_timesteps=false rescale_learned_sigmas=false" },
    { "iddpm-upsample256", "Improved DDPM, ImageNet 64x64 to 256x256, class-conditional up-sampler",
      IDDPM "image_size=256 small_size=64 num_channels=192 channel_mult=1,1,2,2,4,4 num_res_blocks=2 noise_schedule=linear learn_sigma=true "
      "class_cond=true num_classes=1000 lr=3e-4 batch_size=256 rescale_timesteps=false rescale_learned_sigmas=false" },
    { "iddpm-lsun256", "Improved DDPM, LSUN bedroom 256x256",
      "compat=openai image_size=256 num_channels=128 channel_mult=1,1,2,2,4,4 num_res_blocks=2 num_heads=1 attention_resolutions=16 "
      "use_scale_shift_norm=false learn_sigma=true diffusion_steps=1000 noise_schedule=linear lr=1e-4 batch_size=128 ema_warmup=false "
      "rescale_timesteps=false rescale_learned_sigmas=false" },
    { "adm-imagenet64", "Guided diffusion, ImageNet 64x64, class-conditional",
      ADM "image_size=64 num_channels=192 channel_mult=1,2,3,4 num_res_blocks=3 dropout=0.1 noise_schedule=cosine use_new_attention_order=true "
      "lr=3e-4 batch_size=2048" },
    { "adm-imagenet256", "Guided diffusion, ImageNet 256x256, class-conditional",
      ADM "image_size=256 num_channels=256 channel_mult=1,1,2,2,4,4 num_res_blocks=2 lr=1e-4 batch_size=256" },
    { "fashion-classifier", "classifier of noisy 28x28 grey images of the classes of Fashion-MNIST, for the fashion models",
      "image_size=28 channels=1 num_channels=16 channel_mult=1,2,4 num_res_blocks=1 attention_resolutions=7 num_heads=4 num_head_channels=-1 "
      "resblock_updown=false norm_groups=8 classes_out=10 diffusion_steps=1000 noise_schedule=cosine lr=3e-3 lr_warmup=50 lr_schedule=cosine "
      "lr_anneal_steps=8000 batch_size=64 ema_rate=0.999 grad_clip=1 save_interval=2000 log_interval=50" },
    { 0 }
};
