/* Four images of a seed, below each other in one picture: sample MODEL SEED OUT.ppm (OUT.pgm of a grey model) */
#include <ddpm.h>

#include <stdio.h>
#include <stdlib.h>

static void check(ddpm_status status)
{
    if (status == DDPM_OK) return;
    fprintf(stderr, "sample: %s\n", ddpm_last_error());
    exit(1);
}

int main(int argc, char **argv)
{
    ddpm_ctx *ctx;
    ddpm_model *model;
    ddpm_options *options;
    ddpm_model_info info;
    ddpm_sample_config c;
    if (argc != 4) return fprintf(stderr, "usage: sample MODEL SEED OUT.ppm\n"), 2;

    check(ddpm_ctx_new(NULL, &ctx));
    check(ddpm_model_open(ctx, argv[1], NULL, &model));
    check(ddpm_options_new("sample", &options));
    check(ddpm_options_set(options, "seed", argv[2]));
    check(ddpm_options_set(options, "steps", "10"));
    ddpm_model_get_info(model, &info);
    ddpm_sample_config_defaults(&c);
    c.n = 4;
    c.options = options;
    const size_t size = (size_t)c.n * (size_t)info.height * (size_t)info.width * (size_t)info.channels;
    uint8_t *pixels = malloc(size);
    check(ddpm_sample(model, &c, pixels, size));

    FILE *f = fopen(argv[3], "wb");
    if (!f) return perror(argv[3]), 1;
    fprintf(f, "P%c %d %d 255\n", info.channels == 1 ? '5' : '6', info.width, c.n * info.height);
    fwrite(pixels, 1, size, f);
    const int failed = ferror(f) | fclose(f);
    free(pixels);
    ddpm_options_free(options);
    ddpm_model_close(model);
    ddpm_ctx_free(ctx);
    return failed ? perror(argv[3]), 1 : 0;
}
