#include "api/feature_space.h"

#include "api/classifier.h"
#include "api/inception.h"
#include "api/inception_weights.h"
#include "io/file.h"
#include "io/sha256.h"
#include "metrics/moments.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TASK = 64, PIXEL_BATCH = 1024, NETWORK_BATCH = 64, BATCH_BYTES = 64 << 20, MAX_COMPONENTS = 2048, MAX_PIXELS = 12288, SPACE_NAME = 64 };

typedef enum { SPACE_RAW, SPACE_COMPONENTS, SPACE_INCEPTION, SPACE_CLASSIFIER } space_kind;

struct feature_space {
    space_kind kind;
    char       name[SPACE_NAME];
    inception_profile profile;     /* of Inception, and                             */
    inception_net    *inception;
    classifier       *classifier;
    pool      *threads;
    int        h, w, c;
    size_t     dims, classes, spatial;
    size_t     k;                  /* principal components asked for                */
    pca        p;                  /* axes NULL: not fitted yet                     */
    moments   *pixels;             /* of the images that axes are to be fitted to   */
    int64_t    fitted;
};

/* --- opening -------------------------------------------------------------------------------- */

static size_t pixels_of(const feature_space *f) { return (size_t)f->h * (size_t)f->w * (size_t)f->c; }

static ddpm_status refuse_word(const char *word)
{
    if (!strncmp(word, "inception", 9))
        return ddpm_fail(DDPM_EINVAL, "--features %s: images reach Inception in one of two ways, and distances differ: inception-pytorch resizes as pytorch-fid does, "
                         "inception-tensorflow as TensorFlow, guided-diffusion and torch-fidelity do", word);
    return ddpm_fail(DDPM_EINVAL, "--features %s: there are raw, the pixels; pcaK, their first K principal components, with K from 1 to %d (pca64); "
                                  "inception-pytorch and inception-tensorflow; and a classifier: the folder of a run, or a bundled one by name", word, MAX_COMPONENTS);
}

static ddpm_status parse_word(const char *word, feature_space *f)
{
    static const struct { const char *word; space_kind kind; inception_profile profile; } WORDS[] = {
        { "raw", SPACE_RAW, 0 }, { "inception-pytorch", SPACE_INCEPTION, INCEPTION_PYTORCH }, { "inception-tensorflow", SPACE_INCEPTION, INCEPTION_TENSORFLOW },
    };
    char *end = NULL;
    const bool components = !strncmp(word, "pca", 3) && word[3] >= '1' && word[3] <= '9';
    const long k = components ? strtol(word + 3, &end, 10) : 0;
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        if (!strcmp(word, WORDS[i].word)) {
            f->kind = WORDS[i].kind;
            f->profile = WORDS[i].profile;
            return DDPM_OK;
        }
    if (components && !*end && k <= MAX_COMPONENTS) {
        f->kind = SPACE_COMPONENTS;
        f->k = (size_t)k;
        return DDPM_OK;
    }
    if (!file_exists(word) && !model_is_bundled(word)) return refuse_word(word);
    f->kind = SPACE_CLASSIFIER;
    return DDPM_OK;
}

static ddpm_status open_pixels(feature_space *f)
{
    const size_t pixels = pixels_of(f);
    if (f->kind == SPACE_RAW) snprintf(f->name, sizeof f->name, "raw");
    else snprintf(f->name, sizeof f->name, "pca%zu", f->k);
    if (pixels > MAX_PIXELS)
        return ddpm_fail(DDPM_EINVAL, "--features %s: an image has %zu values; pixels are compared where there are at most %d (64x64x3)", f->name, pixels, MAX_PIXELS);
    f->dims = f->kind == SPACE_RAW ? pixels : f->k;
    if (f->dims > pixels) return ddpm_fail(DDPM_EINVAL, "--features %s: an image has only %zu values", f->name, pixels);
    return DDPM_OK;
}

/* Features in bf16 are another space: to mix them with those in f32 moves an FID by a tenth and more. */
static void name_network(feature_space *f, const char *name, const engine *e)
{
    snprintf(f->name, sizeof f->name, "%s%s", name, e->dtype == NN_BF16 ? "-bf16" : "");
}

static ddpm_status open_inception(feature_space *f, const settings *s, const engine *e)
{
    char found[INCEPTION_PATH_SIZE];
    const char *given = s->v.inception_weights;
    if (!given[0]) DDPM_TRY(inception_weights_find(s->v.cache_dir, found));
    DDPM_TRY(inception_open(given[0] ? given : found, f->profile, e, &f->inception));
    name_network(f, inception_name(f->inception), e);
    f->dims = INCEPTION_POOL3;
    f->classes = INCEPTION_LOGITS;
    f->spatial = INCEPTION_SPATIAL;
    return DDPM_OK;
}

static ddpm_status check_classifier_size(const feature_space *f, int h, int w, int c)
{
    const classifier_facts *about = classifier_about(f->classifier);
    if (about->height == h && about->width == w && about->channels == c) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "the classifier of --features sees images of %dx%dx%d, these are %dx%dx%d; train one on images of their size", about->height,
                     about->width, about->channels, h, w, c);
}

static ddpm_status open_classifier(feature_space *f, const char *run, const engine *e)
{
    char name[SPACE_NAME / 2];
    const ddpm_status status = classifier_open(run, e, &f->classifier);
    if (status != DDPM_OK) return ddpm_context(status, "--features %s: ", run);
    const classifier_facts *about = classifier_about(f->classifier);
    snprintf(name, sizeof name, "classifier-%s", about->fingerprint);
    name_network(f, name, e);
    f->dims = (size_t)about->dims;
    f->classes = (size_t)about->classes;
    return check_classifier_size(f, f->h, f->w, f->c);
}

static ddpm_status open_kind(feature_space *f, const char *word, const settings *s, const engine *e)
{
    if (f->kind == SPACE_INCEPTION) return open_inception(f, s, e);
    return f->kind == SPACE_CLASSIFIER ? open_classifier(f, word, e) : open_pixels(f);
}

static feature_space *space_new(int h, int w, int c, const engine *e)
{
    feature_space *f = calloc(1, sizeof *f);
    if (!f) ddpm_fail(DDPM_ENOMEM, "no memory for a space of features");
    else *f = (feature_space){ .h = h, .w = w, .c = c, .threads = e->threads };
    return f;
}

static ddpm_status keep_or_free(ddpm_status status, feature_space *made, feature_space **f)
{
    if (status == DDPM_OK) *f = made;
    else feature_space_free(made);
    return status;
}

ddpm_status feature_space_open(const char *word, const settings *s, int h, int w, int c, const engine *e, feature_space **f)
{
    feature_space *made = space_new(h, w, c, e);
    if (!made) return DDPM_ENOMEM;
    ddpm_status status = parse_word(word, made);
    if (status == DDPM_OK) status = open_kind(made, word, s, e);
    return keep_or_free(status, made, f);
}

ddpm_status feature_space_open_map(pca *map, int64_t fitted, int h, int w, int c, const engine *e, feature_space **f)
{
    feature_space *made = space_new(h, w, c, e);
    if (!made) {
        pca_free(map);
        return DDPM_ENOMEM;
    }
    made->kind = SPACE_COMPONENTS;
    made->p = *map;
    made->k = map->k;
    made->fitted = fitted;
    *map = (pca){ 0 };
    assert(made->p.dims == pixels_of(made));
    return keep_or_free(open_pixels(made), made, f);
}

void feature_space_free(feature_space *f)
{
    if (!f) return;
    inception_free(f->inception);
    classifier_close(f->classifier);
    moments_free(f->pixels);
    pca_free(&f->p);
    free(f);
}

/* --- principal components -------------------------------------------------------------------- */

static void pixels_to_rows(const uint8_t *images, size_t values, double *rows)
{
    for (size_t i = 0; i < values; i++) rows[i] = images[i] / 127.5 - 1;
}

bool feature_space_unfitted(const feature_space *f) { return f->kind == SPACE_COMPONENTS && !f->p.axes; }

ddpm_status feature_space_fit_add(feature_space *f, const uint8_t *images, int n)
{
    const size_t pixels = pixels_of(f);
    if (!f->pixels) DDPM_TRY(moments_new(pixels, f->threads, &f->pixels));
    double *rows = calloc(TASK * pixels, sizeof *rows);
    if (!rows) return ddpm_fail(DDPM_ENOMEM, "no memory for %d images", TASK);
    for (int first = 0; first < n; first += TASK) {
        const size_t some = (size_t)(n - first < TASK ? n - first : TASK);
        pixels_to_rows(images + (size_t)first * pixels, some * pixels, rows);
        moments_add(f->pixels, rows, some);
    }
    f->fitted += n;
    free(rows);
    return DDPM_OK;
}

ddpm_status feature_space_fit(feature_space *f)
{
    if (!f->pixels) return ddpm_fail(DDPM_EINVAL, "there are no images to fit principal components to");
    const ddpm_status status = pca_fit(f->pixels, f->k, &f->p);
    moments_free(f->pixels);
    f->pixels = NULL;
    return status;
}

int64_t feature_space_fit_count(const feature_space *f) { return f->fitted; }
const pca *feature_space_map_of(const feature_space *f) { return f->p.axes ? &f->p : NULL; }

double feature_space_share(const feature_space *f)
{
    double sum = 0;
    if (f->kind != SPACE_COMPONENTS) return 1;
    for (size_t i = 0; i < f->k; i++) sum += f->p.variance[i];
    return f->p.total > 0 ? sum / f->p.total : 1;
}

/* --- what it is --------------------------------------------------------------------------------- */

bool        feature_space_of_pixels(const feature_space *f) { return f->kind == SPACE_RAW || f->kind == SPACE_COMPONENTS; }
const char *feature_space_name(const feature_space *f) { return f->name; }
const char *feature_space_input(const feature_space *f) { return f->kind != SPACE_INCEPTION ? "" : f->profile == INCEPTION_PYTORCH ? "pytorch-fid" : "TensorFlow"; }
size_t      feature_space_dims(const feature_space *f) { return f->dims; }
size_t      feature_space_classes(const feature_space *f) { return f->classes; }
size_t      feature_space_spatial(const feature_space *f) { return f->spatial; }
bool        feature_space_wide(const feature_space *f) { return feature_space_of_pixels(f); }

ddpm_status feature_space_resize(feature_space *f, int h, int w, int c)
{
    assert(!feature_space_of_pixels(f));
    if (f->kind == SPACE_CLASSIFIER) return check_classifier_size(f, h, w, c);
    f->h = h;
    f->w = w;
    f->c = c;
    return DDPM_OK;
}

void feature_space_map_identity(const pca *map, char *text, size_t size)
{
    sha256_state s;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    sha256_begin(&s);
    sha256_add(&s, map->mean, map->dims * sizeof *map->mean);
    sha256_add(&s, map->axes, map->k * map->dims * sizeof *map->axes);
    sha256_end(&s, digest);
    sha256_text(digest, hex);
    snprintf(text, size, "pca%zu-%.8s", map->k, hex);
}

void feature_space_identity(const feature_space *f, char *text, size_t size)
{
    if (f->kind == SPACE_COMPONENTS) feature_space_map_identity(&f->p, text, size);
    else snprintf(text, size, "%s", f->name);
}

int feature_space_batch(const feature_space *f)
{
    const size_t fit = BATCH_BYTES / pixels_of(f), most = feature_space_of_pixels(f) ? PIXEL_BATCH : NETWORK_BATCH;
    return (int)(fit < 1 ? 1 : fit < most ? fit : most);
}

/* --- images to features --------------------------------------------------------------------------- */

typedef struct { const feature_space *f; const uint8_t *images; size_t n; double *out; ddpm_status *failed; } pixel_job;

static ddpm_status project(const feature_space *f, const uint8_t *images, size_t n, double *out)
{
    const size_t values = n * pixels_of(f);
    double *rows = calloc(values, sizeof *rows);
    if (!rows) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu images", n);
    pixels_to_rows(images, values, rows);
    const ddpm_status status = pca_project(&f->p, rows, n, out);
    free(rows);
    return status;
}

static void map_some(void *ctx, int task, int worker)
{
    (void)worker;
    const pixel_job *job = ctx;
    const feature_space *f = job->f;
    const size_t first = (size_t)task * TASK, n = job->n - first < TASK ? job->n - first : TASK, pixels = pixels_of(f);
    double *out = job->out + first * f->dims;
    job->failed[task] = DDPM_OK;
    if (f->kind == SPACE_RAW) pixels_to_rows(job->images + first * pixels, n * pixels, out);
    else job->failed[task] = project(f, job->images + first * pixels, n, out);
}

static ddpm_status map_pixels(const feature_space *f, const uint8_t *images, int n, double *features)
{
    const int tasks = (n + TASK - 1) / TASK;
    ddpm_status *failed = calloc((size_t)tasks + 1, sizeof *failed);
    if (!failed) return ddpm_fail(DDPM_ENOMEM, "no memory for %d images", n);
    pixel_job job = { f, images, (size_t)n, features, failed };
    pool_run(f->threads, tasks, map_some, &job);
    ddpm_status status = DDPM_OK;
    for (int i = 0; i < tasks && status == DDPM_OK; i++)
        if (failed[i] != DDPM_OK) status = ddpm_fail(failed[i], "no memory for the features of %d images", TASK);
    free(failed);
    return status;
}

ddpm_status feature_space_map(feature_space *f, const uint8_t *images, int n, void *features, float *logits, float *spatial)
{
    assert(!feature_space_unfitted(f));
    if (f->kind == SPACE_INCEPTION) return inception_run(f->inception, images, n, f->h, f->w, f->c, features, logits, spatial);
    if (f->kind == SPACE_CLASSIFIER) return classifier_features(f->classifier, images, n, f->h, f->w, f->c, features, logits);
    return map_pixels(f, images, n, features);
}
