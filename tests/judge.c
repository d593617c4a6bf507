/* Judges: the numbers of `ddpm eval` for the same images, again and again, however they come. And spaces of features by themselves. */
#include "api/feature_space.h"
#include "api/judge.h"
#include "api/tool.h"
#include "io/npz.h"
#include "test_folder.h"

#include <math.h>

enum { SIDE = 6, BYTES = SIDE * SIDE, REFERENCE = 90, SAMPLES = 50 };

/* Pictures of a few strokes: some structure, so that components differ in size. */
static void draw(uint8_t *images, int n, uint32_t seed)
{
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        const int slope = (int)(seed >> 24) % 23, level = (int)(seed >> 16 & 127);
        for (int k = 0; k < BYTES; k++) {
            seed = seed * 1664525u + 1013904223u;
            images[i * BYTES + k] = (uint8_t)(level + slope * (k % SIDE) % 97 + (int)(seed >> 27));
        }
    }
}

static void write_images(const char *path, const uint8_t *images, int64_t n)
{
    npz_writer *w;
    MUST(npz_writer_open(path, &w));
    MUST(npz_writer_add(w, "arr_0", "|u1", (int64_t[]){ n, SIDE, SIDE, 1 }, 4, images));
    MUST(npz_writer_finish(w));
}

typedef struct { settings s; char reference[MODEL_PATH_SIZE], samples[MODEL_PATH_SIZE]; uint8_t images[SAMPLES * BYTES]; tool_events ev; } fixture;

static void make(fixture *f, const place *folder, const char *features, const char *metrics)
{
    uint8_t reference[REFERENCE * BYTES];
    *f = (fixture){ 0 };
    settings_defaults(&f->s);
    MUST(settings_set(&f->s, "features", features, ORIGIN_COMMAND_LINE));
    MUST(settings_set(&f->s, "metrics", metrics, ORIGIN_COMMAND_LINE));
    MUST(settings_set(&f->s, "bootstrap", "40", ORIGIN_COMMAND_LINE));
    under(folder, "reference.npz", f->reference);
    under(folder, "samples.npz", f->samples);
    draw(reference, REFERENCE, 1);
    draw(f->images, SAMPLES, 77);
    write_images(f->reference, reference, REFERENCE);
    write_images(f->samples, f->images, SAMPLES);
}

static const eval_value *value_of(const eval_result *r, const char *key)
{
    for (int i = 0; i < r->count; i++)
        if (!strcmp(r->value[i].key, key)) return &r->value[i];
    fail_msg("there is no value %s", key);
    return NULL;
}

static void check_equal(const json *o, const char *key, const eval_value *v)
{
    double value;
    MUST(json_get_real(o, key, &value));
    assert_true(v->value == value);
}

static void same_as_eval(void **state)
{
    fixture f;
    judge *j;
    eval_result r, again;
    char *text = NULL;
    json *o = NULL;
    double low;
    make(&f, *state, "pca4", "fd,kid,pr,dc");
    MUST(tool_eval(&f.s, f.samples, f.reference, &f.ev, &text, &o));
    MUST(judge_new(&f.s, f.reference, SIDE, SIDE, 1, NULL, &f.ev, &j));
    MUST(judge_add(j, f.images, SAMPLES));
    MUST(judge_measure(j, &r));
    assert_int_equal(r.n_samples, SAMPLES);
    assert_int_equal(r.n_reference, REFERENCE);
    assert_int_equal(r.count, 6);
    assert_true(!strncmp(r.space, "pca4-", 5));
    const char *const keys[] = { "frechet_pca4", "kernel_distance_mean", "precision", "recall", "density", "coverage" };
    for (int i = 0; i < 6; i++) check_equal(o, keys[i], value_of(&r, keys[i]));
    assert_true(value_of(&r, "frechet_pca4")->lower_is_better && !value_of(&r, "recall")->lower_is_better);
    assert_true(json_as_real(json_at(json_get(o, "interval"), 0), &low) && value_of(&r, "frechet_pca4")->interval.low == low);
    for (int i = 0; i < SAMPLES; i += 7) MUST(judge_add(j, f.images + i * BYTES, i + 7 < SAMPLES ? 7 : SAMPLES - i));      /* in pieces, once more */
    MUST(judge_measure(j, &again));
    for (int i = 0; i < r.count; i++) assert_true(again.value[i].value == r.value[i].value);
    judge_free(j);
    json_free(o);
    free(text);
}

static void a_set_leaves_nothing_behind(void **state)
{
    fixture f;
    judge *j;
    eval_result r, first;
    uint8_t others[20 * BYTES];
    draw(others, 20, 5);
    make(&f, *state, "raw", "fd,kid");
    MUST(judge_new(&f.s, f.reference, SIDE, SIDE, 1, NULL, &f.ev, &j));
    MUST(judge_add(j, f.images, SAMPLES));
    MUST(judge_measure(j, &first));
    MUST(judge_add(j, others, 20));
    MUST(judge_measure(j, &r));
    assert_int_equal(r.n_samples, 20);
    assert_true(r.value[0].value != first.value[0].value);
    assert_int_equal(judge_measure(j, &r), DDPM_EINVAL);                /* none */
    assert_non_null(strstr(ddpm_last_error(), "there is none"));
    MUST(judge_add(j, others, 1));
    assert_int_equal(judge_measure(j, &r), DDPM_EINVAL);                /* one; emptied all the same */
    MUST(judge_add(j, f.images, SAMPLES));
    MUST(judge_measure(j, &r));
    for (int i = 0; i < r.count; i++) assert_true(r.value[i].value == first.value[i].value);
    judge_free(j);
}

static void refusals(void **state)
{
    fixture f;
    judge *j;
    make(&f, *state, "pca4", "fd");
    assert_int_equal(judge_new(&f.s, f.reference, SIDE + 1, SIDE, 1, NULL, &f.ev, &j), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "one size"));
    assert_int_equal(judge_new(&f.s, "/nowhere.npz", SIDE, SIDE, 1, NULL, &f.ev, &j), DDPM_EIO);
    MUST(settings_set(&f.s, "metrics", "is", ORIGIN_COMMAND_LINE));
    assert_int_equal(judge_new(&f.s, f.reference, SIDE, SIDE, 1, NULL, &f.ev, &j), DDPM_EINVAL);
}

/* The images of 64 and more are mapped in several tasks: against one at a time. */
static void pixels_and_components(void **state)
{
    fixture f;
    engine e;
    feature_space *raw, *axes;
    double all[REFERENCE * BYTES], one[BYTES], variance = 0, total = 0;
    uint8_t images[REFERENCE * BYTES];
    char name[FEATURES_SPACE_SIZE];
    make(&f, *state, "raw", "fd");
    draw(images, REFERENCE, 1);
    MUST(engine_new(&f.s, &e));
    MUST(feature_space_open("raw", &f.s, SIDE, SIDE, 1, &e, &raw));
    MUST(feature_space_map(raw, images, REFERENCE, all, NULL, NULL));
    for (int i = 0; i < REFERENCE * BYTES; i++) assert_true(fabs(all[i] - (images[i] / 127.5 - 1)) < 1e-15);
    MUST(feature_space_open("pca36", &f.s, SIDE, SIDE, 1, &e, &axes));
    assert_true(feature_space_unfitted(axes));
    MUST(feature_space_fit_add(axes, images, 70));
    MUST(feature_space_fit_add(axes, images + 70 * BYTES, REFERENCE - 70));
    MUST(feature_space_fit(axes));
    assert_true(!feature_space_unfitted(axes) && feature_space_fit_count(axes) == REFERENCE);
    assert_true(fabs(feature_space_share(axes) - 1) < 1e-9);
    MUST(feature_space_map(axes, images, REFERENCE, all, NULL, NULL));
    MUST(feature_space_map(axes, images + 80 * BYTES, 1, one, NULL, NULL));
    assert_memory_equal(one, all + 80 * BYTES, sizeof one);
    for (int k = 0; k < BYTES; k++) variance += all[k] * all[k];        /* all axes: a rotation keeps the distance from the mean */
    for (int k = 0; k < BYTES; k++) {
        const double d = images[k] / 127.5 - 1 - feature_space_map_of(axes)->mean[k];
        total += d * d;
    }
    assert_true(fabs(variance - total) < 1e-9 * total);
    feature_space_identity(axes, name, sizeof name);
    assert_true(!strncmp(name, "pca36-", 6) && strlen(name) == 14 && !strcmp(feature_space_name(axes), "pca36"));
    assert_int_equal(feature_space_open("pca37", &f.s, SIDE, SIDE, 1, &e, &axes), DDPM_EINVAL);
    assert_int_equal(feature_space_open("inception", &f.s, SIDE, SIDE, 1, &e, &axes), DDPM_EINVAL);
    feature_space_free(raw);
    feature_space_free(axes);
    engine_free(&e);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, enter, leave)
    const struct CMUnitTest tests[] = { TEST(same_as_eval), TEST(a_set_leaves_nothing_behind), TEST(refusals), TEST(pixels_and_components) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
