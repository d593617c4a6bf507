#include "api/compare_kinds.h"

#include <stdio.h>
#include <string.h>

#include "metrics/linalg.h"

static bool given(const comparison *c, const char *name) { return settings_origin(c->request, name) > ORIGIN_DEFAULT; }

/* --- kinds and options -------------------------------------------------------------------------------- */

/* Statistics of ours: their axes are the space. */
static ddpm_status check_mapped(const comparison *c)
{
    const eval_side *a = &c->samples;
    const statistics *s = &c->reference.stored;
    const char *path = c->reference.word, *word = c->s.v->features;
    char own[32];
    snprintf(own, sizeof own, "pca%zu", s->whole.dims);
    if (a->h != s->h || a->w != s->w || a->c != s->c)
        return ddpm_fail(DDPM_EINVAL, "%s is of images of %dx%dx%d, those of %s are %dx%dx%d", path, s->h, s->w, s->c, a->word, a->h, a->w, a->c);
    if (c->s.v->fit_data[0] || c->s.v->save_stats[0])
        return ddpm_fail(DDPM_EINVAL, "%s has its axes already; --fit_data and --save_stats need images as REFERENCE", path);
    if (!given(c, "features") || !strcmp(word, own)) return DDPM_OK;
    if (!strcmp(word, "raw")) return ddpm_fail(DDPM_EINVAL, "%s holds %zu principal components, not pixels as --features raw asks", path, s->whole.dims);
    return ddpm_fail(DDPM_EINVAL, "%s holds %zu principal components, --features %s asks for %s", path, s->whole.dims, word, strncmp(word, "pca", 3) ? word : word + 3);
}

/* Which --features makes features of a space that a file names. */
static void say_maker(const char *space, char *text, size_t size)
{
    const bool pytorch = strstr(space, "pytorch"), tensorflow = strstr(space, "tensorflow");
    if (features_are_inception(space))
        snprintf(text, size, "--features %s", pytorch ? "inception-pytorch" : tensorflow ? "inception-tensorflow" : "inception-pytorch or inception-tensorflow");
    else if (!strncmp(space, "classifier-", 11)) snprintf(text, size, "--features RUN, with the run folder (or bundled name) of that classifier,");
    else if (!strcmp(space, "raw")) snprintf(text, size, "--features raw");
    else if (!strncmp(space, "pca", 3))
        snprintf(text, size, "--features %.*s and --fit_data, with the images that those axes were fitted to,", (int)strcspn(space, "-"), space);
    else snprintf(text, size, "an .npz of features of the same network as SAMPLES");
}

static ddpm_status check_images_against_file(const comparison *c)
{
    const eval_side *a = &c->samples, *b = &c->reference;
    if (b->kind == SIDE_STATISTICS && b->stored.map.axes) return check_mapped(c);
    char maker[128];
    if (given(c, "features")) return DDPM_OK;
    say_maker(b->space, maker, sizeof maker);
    if (b->space[0])
        return ddpm_fail(DDPM_EINVAL, "%s holds features of the space \"%s\", %s images: %s makes those of them", b->word, b->space, a->word, maker);
    if (b->kind == SIDE_FEATURES)
        return ddpm_fail(DDPM_EINVAL, "%s holds features, %s does not; give features of both from the same network, or its name with --features", b->word, a->word);
    return ddpm_fail(DDPM_EINVAL, "%s holds statistics of %zu features of another program, which are not those of the images of %s; where they are of Inception, "
                     "--features inception-pytorch or inception-tensorflow says so", b->word, b->dims, a->word);
}

static ddpm_status check_features_against(const comparison *c)
{
    const eval_side *a = &c->samples, *b = &c->reference;
    if (b->kind == SIDE_IMAGES && !given(c, "features"))
        return ddpm_fail(DDPM_EINVAL, "%s holds features, %s does not; give features of both from the same network, or its name with --features", a->word, b->word);
    return DDPM_OK;
}

static ddpm_status check_statistics_against(const comparison *c)
{
    const eval_side *a = &c->samples, *b = &c->reference;
    if (b->kind == SIDE_STATISTICS) return DDPM_OK;
    if (b->kind == SIDE_FEATURES) return ddpm_fail(DDPM_EINVAL, "%s holds statistics, %s features; give the features first, as SAMPLES", a->word, b->word);
    return ddpm_fail(DDPM_EINVAL, "%s holds statistics (mu, sigma), %s does not; give images as the first, or statistics for both", a->word, b->word);
}

static ddpm_status check_options(const comparison *c)
{
    static const char *const OF_IMAGES[] = { "features", "fit_data", "fit_count" };
    const eval_side *a = &c->samples, *b = &c->reference;
    if (a->kind != SIDE_IMAGES && b->kind != SIDE_IMAGES)
        for (size_t i = 0; i < sizeof OF_IMAGES / sizeof *OF_IMAGES; i++)
            if (given(c, OF_IMAGES[i])) return ddpm_fail(DDPM_EINVAL, "--%s is for images; %s holds none", OF_IMAGES[i], a->word);
    if (!c->s.v->save_stats[0] && !c->s.v->fit_data[0]) return DDPM_OK;
    if (b->kind == SIDE_IMAGES && !strcmp(c->s.v->features, "raw"))
        return ddpm_fail(DDPM_EINVAL, "--save_stats and --fit_data are of the axes of --features pcaK; raw pixels have none");
    if (c->s.v->save_stats[0] && b->kind == SIDE_STATISTICS)
        return ddpm_fail(DDPM_EINVAL, "--save_stats needs images or features as REFERENCE; %s holds statistics already", b->word);
    return DDPM_OK;
}

ddpm_status compare_check_kinds(const comparison *c)
{
    static ddpm_status (*const checks[])(const comparison *) = {
        [SIDE_IMAGES] = check_images_against_file, [SIDE_FEATURES] = check_features_against, [SIDE_STATISTICS] = check_statistics_against,
    };
    const side_kind a = c->samples.kind, b = c->reference.kind;
    if (a != SIDE_IMAGES || b != SIDE_IMAGES) DDPM_TRY(checks[a](c));
    return check_options(c);
}

/* --- metrics ------------------------------------------------------------------------------------------------ */

static size_t classes_of(const comparison *c, const eval_side *s) { return s->kind == SIDE_IMAGES ? feature_space_classes(c->space) : s->classes; }
static size_t spatial_of(const comparison *c, const eval_side *s) { return s->kind == SIDE_IMAGES ? feature_space_spatial(c->space) : s->spatial_dims; }

static unsigned possible(const comparison *c)
{
    const eval_side *a = &c->samples, *b = &c->reference;
    unsigned all = METRIC_FD;
    if (a->kind != SIDE_STATISTICS) all |= METRIC_FID_INF;
    if (a->kind != SIDE_STATISTICS && b->kind != SIDE_STATISTICS) all |= METRICS_OF_ROWS;
    if (a->kind != SIDE_STATISTICS && classes_of(c, a)) all |= METRIC_IS;
    if (spatial_of(c, a) && spatial_of(c, b)) all |= METRIC_SFID;
    return all;
}

/* Pixels are measured by their distance alone where nothing else is asked for: the other metrics are of features that see more. */
static unsigned usual(const comparison *c)
{
    if (c->space && feature_space_of_pixels(c->space)) return METRIC_FD;
    return possible(c) & ~(unsigned)METRIC_FID_INF;
}

static ddpm_status refuse_metric(const comparison *c, unsigned missing)
{
    const eval_side *a = &c->samples, *b = &c->reference, *plain = spatial_of(c, a) ? b : a;
    if (missing & (METRICS_OF_ROWS | METRIC_FID_INF))
        return ddpm_fail(DDPM_EINVAL, "%s holds mean and covariance alone: --metrics fd can be measured, and what else needs no rows of it",
                         a->kind == SIDE_STATISTICS ? a->word : b->word);
    if (missing & METRIC_SFID)
        return ddpm_fail(DDPM_EINVAL, "--metrics sfid needs spatial features of both sets (an array \"spatial\", or mu_s and sigma_s of statistics); %s has "
                                      "none%s", plain->word, plain->kind == SIDE_IMAGES ? " in this space; inception-pytorch and inception-tensorflow have them" : "");
    if (a->kind == SIDE_IMAGES)
        return ddpm_fail(DDPM_EINVAL, "--metrics is needs logits of a classifier, and --features %s has none; a classifier of your own (`ddpm classifier train`), "
                                      "inception-pytorch and inception-tensorflow have, and files with \"logits\"", feature_space_name(c->space));
    return ddpm_fail(DDPM_EINVAL, "--metrics is: %s has no array \"logits\"", a->word);
}

static ddpm_status check_covariance(const char *word, size_t dims, const char *what)
{
    if (dims <= LINALG_MAX_DIMS) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s: %zu %s; a covariance is computed for at most %d, --metrics chooses others", word, dims, what, LINALG_MAX_DIMS);
}

static ddpm_status check_covariances(const comparison *c)
{
    const eval_side *a = &c->samples, *b = &c->reference;
    if (c->wanted & (METRIC_FD | METRIC_FID_INF)) DDPM_TRY(check_covariance(a->word, c->space ? feature_space_dims(c->space) : a->dims, "features"));
    if (!(c->wanted & METRIC_SFID)) return DDPM_OK;
    DDPM_TRY(check_covariance(a->word, spatial_of(c, a), "spatial features"));
    return check_covariance(b->word, spatial_of(c, b), "spatial features");
}

ddpm_status compare_choose_metrics(comparison *c)
{
    if (!c->wanted) c->wanted = usual(c);
    if (c->wanted & METRIC_ALL) c->wanted = possible(c);
    const unsigned missing = c->wanted & ~possible(c);
    if (missing) return refuse_metric(c, missing);
    if (c->s.v->save_stats[0] && !(c->wanted & METRIC_FD))
        return ddpm_fail(DDPM_EINVAL, "--save_stats is what the metric fd makes; it is not among those of --metrics");
    return check_covariances(c);
}

/* --- the space ---------------------------------------------------------------------------------------------- */

static ddpm_status check_dims(const eval_side *a, size_t a_dims, const eval_side *b, size_t b_dims)
{
    if (a_dims == b_dims) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "the features of %s have %zu columns, those of %s %zu; distances exist only within one space", a->word, a_dims, b->word, b_dims);
}

/* A file next to images. Statistics of other programs say nothing of their space: the user's word must do. */
static ddpm_status check_file(comparison *c, const eval_side *images, const eval_side *file)
{
    const bool ours = file->kind == SIDE_STATISTICS && file->stored.fitted, statistics_of_others = file->kind == SIDE_STATISTICS && !file->space[0];
    if (file->kind == SIDE_IMAGES || ours) return DDPM_OK;
    DDPM_TRY(check_dims(images, feature_space_dims(c->space), file, file->dims));
    if (!statistics_of_others || feature_space_of_pixels(c->space)) return features_same_names(images->word, c->name, file->word, file->space);
    eval_warn(&c->s, "%s does not say which network its features are of; the distance means something only if it is that of --features %s", file->word,
              c->s.v->features);
    return DDPM_OK;
}

static ddpm_status check_with_images(comparison *c)
{
    const bool samples = c->samples.kind == SIDE_IMAGES;
    feature_space_identity(c->space, c->name, sizeof c->name);
    return check_file(c, samples ? &c->samples : &c->reference, samples ? &c->reference : &c->samples);
}

static ddpm_status check_spatial(const comparison *c)
{
    const eval_side *a = &c->samples, *b = &c->reference;
    if (!(c->wanted & METRIC_SFID) || a->kind == SIDE_STATISTICS || b->kind == SIDE_STATISTICS) return DDPM_OK;
    return check_dims(a, spatial_of(c, a), b, spatial_of(c, b));
}

ddpm_status compare_check_space(comparison *c)
{
    const eval_side *a = &c->samples, *b = &c->reference;
    DDPM_TRY(check_spatial(c));
    if (c->space) return check_with_images(c);
    memcpy(c->name, a->space, sizeof c->name);
    if (a->kind == SIDE_STATISTICS) return statistics_same_space(a->word, &a->stored, b->word, &b->stored);
    DDPM_TRY(check_dims(a, a->dims, b, b->dims));
    return features_same_names(a->word, a->space, b->word, b->space);
}
