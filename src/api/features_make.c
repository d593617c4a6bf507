#include "api/comparison.h"
#include "api/features_parts.h"
#include "api/tool.h"
#include "base/clock.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "io/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What one `ddpm features` holds. Features go to disk as they come. */
typedef struct {
    eval_session  s;
    const char   *word;
    engine        e;
    image_set    *set, *fit_data;
    feature_space *space;
    int           part, parts;
    int64_t      *numbers;                   /* [total] of the images chosen, ascending       */
    int64_t       total, first, n;           /* numbers[first, first + n) are this part's     */
    int64_t      *index, *left_out;          /* [n] of those read, and not read               */
    int64_t       done, bad;
    double        walking;                   /* seconds of reading and mapping the images     */
    void         *features;                  /* of a batch                                    */
    float        *logits, *spatial;
    dataset      *labels;                    /* the same images with their classes; NULL: none that the classifier could know */
    int64_t       labelled, right;           /* images of them, and those whose class has the largest logit */
    npz_rows     *rows[3];                   /* features, logits, spatial; NULL: none         */
    char          space_name[FEATURES_SPACE_SIZE];
} making;

/* --- what is asked for --------------------------------------------------------------------------- */

static ddpm_status parse_part(making *m)
{
    const char *text = m->s.v->part;
    int end = 0;
    m->part = m->parts = 1;
    if (!text[0]) return DDPM_OK;
    if (sscanf(text, "%9d/%9d%n", &m->part, &m->parts, &end) == 2 && !text[end] && m->part >= 1 && m->part <= m->parts) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "--part %s: parts are 1/N to N/N, such as 2/4", text);
}

static ddpm_status check_output(const making *m)
{
    const char *path = m->s.v->output;
    if (!path[0]) return ddpm_fail(DDPM_EINVAL, "no output is given: -o FILE.npz");
    if (!file_has_ending(path, ".npz")) return ddpm_fail(DDPM_EINVAL, "-o %s: features go into an .npz", path);
    return file_check_target(path);
}

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The images of a choice in the order of the set, so that neither -n nor parts show in the order of rows. */
static ddpm_status choose(making *m, bool some)
{
    const int64_t all = image_set_count(m->set), asked = m->s.v->num_samples;
    m->total = some && asked < all ? asked : all;
    if (some && asked > all) eval_warn(&m->s, "-n %lld: %s has only %lld images, all of which are taken", (long long)asked, m->word, (long long)all);
    m->numbers = calloc((size_t)m->total, sizeof *m->numbers);
    if (!m->numbers) return ddpm_fail(DDPM_ENOMEM, "no memory for the numbers of %lld images", (long long)m->total);
    for (int64_t i = 0; i < m->total; i++) m->numbers[i] = image_set_choice(m->set, (uint64_t)m->s.v->seed, i, m->total);
    qsort(m->numbers, (size_t)m->total, sizeof *m->numbers, ascending);
    m->first = m->total * (m->part - 1) / m->parts;
    m->n = m->total * m->part / m->parts - m->first;
    return m->n ? DDPM_OK : ddpm_fail(DDPM_EINVAL, "--part %s: %s has %lld images, too few for %d parts", m->s.v->part, m->word, (long long)m->total, m->parts);
}

static ddpm_status open_space(making *m, const settings *request)
{
    const int h = image_set_height(m->set), w = image_set_width(m->set), c = image_set_channels(m->set);
    DDPM_TRY(feature_space_open(m->s.v->features, request, h, w, c, &m->e, &m->space));
    if (m->s.v->fit_data[0]) {
        DDPM_TRY(eval_open_images(m->s.v->fit_data, request, &m->fit_data));
        DDPM_TRY(image_set_same_size(m->fit_data, m->set));
    }
    DDPM_TRY(comparison_fit(&m->s, m->fit_data ? m->fit_data : m->set, m->space, &m->bad));
    feature_space_identity(m->space, m->space_name, sizeof m->space_name);
    return DDPM_OK;
}

/* A classifier of as many classes as DATA has can be told right from wrong. Data without labels is as good as any other. */
static void open_labels(making *m)
{
    const dataset_options o = { 0 };
    const bool classifier = !feature_space_of_pixels(m->space) && !feature_space_input(m->space)[0];
    if (!classifier || dataset_open(m->word, &o, &m->labels) != DDPM_OK) return;
    if ((size_t)dataset_n_classes(m->labels) == feature_space_classes(m->space) && dataset_count(m->labels) == image_set_count(m->set)) return;
    dataset_close(m->labels);
    m->labels = NULL;
}

static void count_right(making *m, const int64_t *index, int n)
{
    const int classes = (int)feature_space_classes(m->space);
    for (int i = 0; i < n; i++) {
        const float *logits = m->logits + (size_t)i * (size_t)classes;
        const int label = dataset_label(m->labels, index[i]);
        int guess = 0;
        for (int k = 1; k < classes; k++)
            if (logits[k] > logits[guess]) guess = k;
        m->labelled += label >= 0;
        m->right += label == guess;
    }
}

/* --- images to rows --------------------------------------------------------------------------------- */

static ddpm_status reserve(making *m)
{
    const size_t batch = (size_t)feature_space_batch(m->space), classes = feature_space_classes(m->space), spatial = feature_space_spatial(m->space);
    const bool wide = feature_space_wide(m->space);
    const size_t columns[3] = { feature_space_dims(m->space), classes, spatial };
    m->features = calloc(batch * columns[0], wide ? sizeof(double) : sizeof(float));
    if (classes) m->logits = calloc(batch * classes, sizeof *m->logits);
    if (spatial) m->spatial = calloc(batch * spatial, sizeof *m->spatial);
    m->index = calloc((size_t)m->n, sizeof *m->index);
    m->left_out = calloc((size_t)m->n, sizeof *m->left_out);
    if (!m->features || (classes && !m->logits) || (spatial && !m->spatial) || !m->index || !m->left_out)
        return ddpm_fail(DDPM_ENOMEM, "no memory for the features of %zu images at once", batch);
    if (m->n * (int64_t)(columns[0] * (wide ? 2 : 1) + classes + spatial) > NPZ_MAX_BYTES / 4)
        return ddpm_fail(DDPM_EINVAL, "the features of %lld images do not fit into one .npz (4 GiB); --part makes several files, which `ddpm eval --merge` "
                                      "reads as one", (long long)m->n);
    for (int i = 0; i < 3; i++)
        if (columns[i]) DDPM_TRY(npz_rows_new(m->s.v->output, wide ? "<f8" : "<f4", (int64_t)columns[i], &m->rows[i]));
    return DDPM_OK;
}

static ddpm_status check_finite(const making *m, const char *what, const metric_rows *rows, const int64_t *index)
{
    size_t row, column;
    if (!rows->data || metric_rows_finite(rows, &row, &column)) return DDPM_OK;
    return ddpm_fail(DDPM_ENUMERIC, "%s %zu of image %lld of %s is not a finite number", what, column, (long long)index[row], m->word);
}

static ddpm_status add_images(void *ctx, const uint8_t *images, const int64_t *index, int n)
{
    making *m = ctx;
    const feature_space *f = m->space;
    DDPM_TRY(feature_space_map(m->space, images, n, m->features, m->logits, m->spatial));
    DDPM_TRY(check_finite(m, "feature", &(metric_rows){ m->features, (size_t)n, feature_space_dims(f), feature_space_wide(f) }, index));
    DDPM_TRY(check_finite(m, "logit", &(metric_rows){ m->logits, (size_t)n, feature_space_classes(f), false }, index));
    DDPM_TRY(check_finite(m, "spatial feature", &(metric_rows){ m->spatial, (size_t)n, feature_space_spatial(f), false }, index));
    DDPM_TRY(npz_rows_add(m->rows[0], m->features, n));
    if (m->logits) DDPM_TRY(npz_rows_add(m->rows[1], m->logits, n));
    if (m->spatial) DDPM_TRY(npz_rows_add(m->rows[2], m->spatial, n));
    if (m->labels) count_right(m, index, n);
    memcpy(m->index + m->done, index, (size_t)n * sizeof *index);
    m->done += n;
    return DDPM_OK;
}

static ddpm_status read_images(making *m)
{
    image_walk w = { .numbers = m->numbers + m->first, .count = m->n, .strict = m->s.v->strict };
    DDPM_TRY(reserve(m));
    const double begin = clock_now();
    DDPM_TRY(eval_walk(&m->s, m->set, &w, feature_space_batch(m->space), "features", add_images, m));
    m->walking = clock_now() - begin;
    for (int64_t i = 0, read = 0, missing = 0; i < m->n; i++) {
        if (read < m->done && m->index[read] == w.numbers[i]) read++;
        else m->left_out[missing++] = w.numbers[i];
    }
    m->bad += w.bad;
    return m->done ? DDPM_OK : ddpm_context(DDPM_EFORMAT, "none of the images of %s can be read; the last: ", m->word);
}

/* --- the file ------------------------------------------------------------------------------------------ */

static ddpm_status write_arrays(const making *m, npz_writer *w)
{
    static const char *const NAMES[] = { "features", "logits", "spatial" };
    const int64_t length = (int64_t)strlen(m->space_name), one = 1, missing = m->n - m->done;
    for (int i = 0; i < 3; i++)
        if (m->rows[i]) DDPM_TRY(npz_writer_add_rows(w, NAMES[i], m->rows[i]));
    DDPM_TRY(npz_writer_add(w, "index", "<i8", &m->done, 1, m->index));
    if (missing) DDPM_TRY(npz_writer_add(w, "left_out", "<i8", &missing, 1, m->left_out));
    DDPM_TRY(npz_writer_add(w, "total", "<i8", &one, 1, &m->total));
    return npz_writer_add(w, "space", "|u1", &length, 1, m->space_name);
}

static ddpm_status write_file(const making *m)
{
    npz_writer *w = NULL;
    DDPM_TRY(npz_writer_open(m->s.v->output, &w));
    const ddpm_status status = write_arrays(m, w);
    if (status == DDPM_OK) return npz_writer_finish(w);
    npz_writer_abort(w);
    return status;
}

static ddpm_status report(const making *m, char **text, json **summary)
{
    const double seconds = clock_now() - m->s.begin, speed = (double)m->done / m->walking;
    const double top1 = m->labelled ? (double)m->right / (double)m->labelled : NAN;
    char recognised[64] = "", fitted[64] = "";
    if (image_set_fitted(m->set))
        snprintf(fitted, sizeof fitted, ", fitted to %dx%dx%d", image_set_height(m->set), image_set_width(m->set), image_set_channels(m->set));
    if (m->labelled) snprintf(recognised, sizeof recognised, "; the classifier recognises %.2f %% of them (top-1)", 100 * top1);
    if (asprintf(text, "%s: %zu features (%s) of %lld of the %lld images of %s%s%s, %.*f images/s, %.1f s in all\n", m->s.v->output, feature_space_dims(m->space),
                 m->space_name, (long long)m->done, (long long)m->total, m->word, fitted, recognised, speed < 100 ? 1 : 0, speed, seconds) < 0) {
        *text = NULL;
        return ddpm_fail(DDPM_ENOMEM, "no memory for the result");
    }
    json *o = *summary = json_new_object();
    json_put_string(o, "schema", "ddpm-features-1");
    json_put_string(o, "data", m->word);
    json_put_string(o, "output", m->s.v->output);
    json_put_string(o, "space", m->space_name);
    json_put_int(o, "features", (int64_t)feature_space_dims(m->space));
    json_put_int(o, "logits", (int64_t)feature_space_classes(m->space));
    json_put_int(o, "spatial", (int64_t)feature_space_spatial(m->space));
    json_put_int(o, "rows", m->done);
    json_put_int(o, "total", m->total);
    json_put_int(o, "part", m->part);
    json_put_int(o, "parts", m->parts);
    json_put_int(o, "bad_images", m->bad);
    json_put_real(o, "top1", top1);                      /* NaN: null */
    json_put(o, "computed_in", feature_space_of_pixels(m->space) ? json_new_null() : json_new_string(engine_precision(&m->e)));
    return json_put_real(o, "seconds", seconds);
}

static void close_making(making *m)
{
    for (int i = 0; i < 3; i++) npz_rows_free(m->rows[i]);
    free(m->features);
    free(m->logits);
    free(m->spatial);
    free(m->index);
    free(m->left_out);
    free(m->numbers);
    feature_space_free(m->space);
    dataset_close(m->labels);
    image_set_close(m->set);
    image_set_close(m->fit_data);
    engine_free(&m->e);
}

ddpm_status tool_features(settings *request, const char *word, const tool_events *ev, char **text, json **summary)
{
    making m = { .s = { .v = &request->v, .ev = ev, .begin = clock_now() }, .word = word };
    ddpm_status status = parse_part(&m);
    if (status == DDPM_OK) status = check_output(&m);
    engine_prefer_f32(request);
    if (status == DDPM_OK) status = engine_new(request, &m.e);
    m.s.threads = m.e.threads;
    if (status == DDPM_OK) status = eval_open_images(word, request, &m.set);
    if (status == DDPM_OK) status = choose(&m, settings_origin(request, "num_samples") > ORIGIN_DEFAULT);
    if (status == DDPM_OK) status = open_space(&m, request);
    if (status == DDPM_OK) open_labels(&m);
    if (status == DDPM_OK) status = read_images(&m);
    if (status == DDPM_OK) status = write_file(&m);
    if (status == DDPM_OK) status = report(&m, text, summary);
    close_making(&m);
    return status;
}
