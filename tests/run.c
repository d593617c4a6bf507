/* The loop of a run: what is saved when, which validation is the best, what a full
 * disk, bad data, signals and bad numbers do. The hooks record; nothing is written
 * but the log. */
#include "backend/cpu/cpu.h"
#include "base/clock.h"
#include "io/file.h"
#include "io/image.h"
#include "isa.h"
#include "train/run.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIDE = 8, BATCH = 4 };

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

/* What the hooks are told to do, and what they saw. */
typedef struct {
    char         dir[64];
    dataset     *data;
    loader      *loader;
    nn_backend  *b;
    pool        *p;
    schedule     s;
    process      process;
    trainer     *tr;
    runlog      *log;
    run_config   c;
    run_hooks    h;
    double       best;
    const double *val;          /* by validation              */
    ddpm_status  save_best, drawn, evaluated;
    run_request  request;
    int64_t      request_at;
    char         saved[256];    /* " 3 best4 6"               */
    double       best_saved;    /* c.best_val when best was saved */
    int          validations, drawings, evaluations;
    unsigned     save_us, draw_us, val_us, eval_us;     /* what they take */
    double       seconds_left;  /* as told after the last step */
} fixture;

static ddpm_status save(void *ctx, int64_t step, bool best)
{
    fixture *f = ctx;
    usleep(f->save_us);
    if (best && f->save_best != DDPM_OK) return ddpm_fail(f->save_best, "the disk is full");
    const size_t used = strlen(f->saved);
    snprintf(f->saved + used, sizeof f->saved - used, " %s%lld", best ? "best" : "", (long long)step);
    if (best) f->best_saved = *f->c.best_val;
    return DDPM_OK;
}

static ddpm_status draw(void *ctx, int64_t step)
{
    fixture *f = ctx;
    (void)step;
    usleep(f->draw_us);
    f->drawings++;
    return f->drawn == DDPM_OK ? DDPM_OK : ddpm_fail(f->drawn, "no picture");
}

static void progress(void *ctx, const run_progress *p)
{
    fixture *f = ctx;
    f->seconds_left = p->eta_seconds;
}

static ddpm_status validate(void *ctx, run_validation *v)
{
    fixture *f = ctx;
    usleep(f->val_us);
    *v = RUN_NOT_VALIDATED;
    v->loss = f->val[f->validations++];
    return DDPM_OK;
}

static ddpm_status evaluate(void *ctx, int64_t step)
{
    fixture *f = ctx;
    static const log_measure list[] = { { "frechet_pca8", "Frechet distance", 2.5, 2, 3 }, { "precision", "precision", 0.75, NAN, NAN } };
    usleep(f->eval_us);
    f->evaluations++;
    if (f->evaluated != DDPM_OK) return ddpm_fail(f->evaluated, "nothing was drawn");
    return runlog_evaluation(f->log, &(log_evaluation){ .step = step, .samples = step * BATCH, .features = "pca8", .images = 10, .sampling_steps = 5, .count = 2, .measure = list });
}

static run_request request(void *ctx)
{
    const fixture *f = ctx;
    return trainer_get_state(f->tr)->step == f->request_at ? f->request : RUN_GO_ON;
}

static void image_path(const fixture *f, int k, char path[128]) { snprintf(path, 128, "%s/data/%d.png", f->dir, k); }

static void write_images(const fixture *f)
{
    char path[128];
    uint8_t pixels[SIDE * SIDE];
    snprintf(path, sizeof path, "%s/data", f->dir);
    check(dir_make(path));
    for (int k = 0; k < 6; k++) {
        memset(pixels, 40 * k, sizeof pixels);
        image_path(f, k, path);
        check(png_write(path, &(image){ SIDE, SIDE, 1, pixels }, NULL, 0));
    }
}

static void make(fixture *f, double lr, bool strict)
{
    char path[128];
    *f = (fixture){ .dir = "/tmp/ddpm-run-XXXXXX", .best = -1 };
    assert_non_null(mkdtemp(f->dir));
    write_images(f);
    snprintf(path, sizeof path, "%s/data", f->dir);
    check(dataset_open(path, NULL, &f->data));
    loader_options o = loader_defaults();
    o.batch = BATCH;
    o.threads = o.prefetch = 1;
    o.strict = strict;
    o.max_cache_bytes = strict ? 0 : 1 << 20;
    check(loader_new(f->data, &o, &f->loader));
    const schedule_config sc = schedule_config_of(PROFILE_OPENAI, SCHEDULE_COSINE, 50);
    check(schedule_new(&sc, &f->s));
    f->process = (process){ .s = &f->s, .var = VAR_FIXED_LARGE, .rescale_timesteps = true };
    check(pool_new(1, &f->p));
    check(backend_cpu_new(max_isa(), &f->b));
    const unet_config net = { .height = SIDE, .width = SIDE, .in_channels = 1, .out_channels = 1, .model_channels = 8, .stem = 8, .levels = 1, .channels = { 8 },
                              .num_res_blocks = 1, .num_heads = 1, .conv_resample = true, .groups = 4, .eps = 1e-5, .init = UNET_INIT_TORCH };
    const trainer_config c = { .p = &f->process, .loss = LOSS_MSE, .adam = { ADAM_W, lr, 0.9, 0.999, 1e-8, 0 }, .n_ema = 1, .ema_rate = { 0.9 },
                               .batch = BATCH, .leaves = 2, .chunk = 2 };
    check(trainer_new(&net, &c, f->b, f->p, NN_F32, &f->tr));
    check(runlog_open(f->dir, 0, &f->log));
    f->c = (run_config){ .tr = f->tr, .data = f->loader, .log = f->log, .batch = BATCH, .steps = 6, .log_every = 2, .save_every = 4, .best_val = &f->best,
                         .saved = -1, .last_checkpoint = "" };
    f->h = (run_hooks){ .ctx = f, .save = save, .request = request };
}

static void unmake(fixture *f)
{
    runlog_close(f->log);
    trainer_free(f->tr);
    nn_backend_free(f->b);
    pool_free(f->p);
    schedule_free(&f->s);
    loader_free(f->loader);
    dataset_close(f->data);
    check(dir_remove_tree("/tmp", f->dir + strlen("/tmp/")));
}

/* A file of the run folder as text; the caller frees. */
static char *text_of(const fixture *f, const char *name)
{
    char path[128];
    uint8_t *text = NULL;
    size_t len;
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    check(file_read_all(path, 1 << 20, &text, &len));
    return (char *)text;
}

static int log_lines(const fixture *f)
{
    char *text = text_of(f, "log.jsonl");
    int lines = 0;
    for (const char *c = text; *c; c++) lines += *c == '\n';
    free(text);
    return lines;
}

static void test_rhythm(void **state)
{
    (void)state;
    fixture f;
    make(&f, 1e-3, false);
    check(run_train(&f.c, &f.h));
    assert_string_equal(f.saved, " 4 6");
    assert_int_equal(log_lines(&f), 3);
    f.saved[0] = 0;
    f.c.saved = 6;
    check(run_train(&f.c, &f.h));              /* done already: nothing to do, nothing to save */
    assert_string_equal(f.saved, "");
    unmake(&f);
}

/* The time left is that to the end that comes first. */
static void test_time_left(void **state)
{
    (void)state;
    static const struct { int64_t steps; double hours, least, most; } cases[] = {
        { 1000000000, 0, 7200, 1e12 }, { 1000000000, 1, 3000, 3600 }, { 0, 1, 3000, 3600 }, { 0, 0, 0, 0 }, { 5, 1, 1e-6, 600 },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        fixture f;
        make(&f, 1e-3, false);
        f.c.steps = cases[k].steps;
        f.c.hours = cases[k].hours;
        f.c.log_every = 1;
        f.h.progress = progress;
        f.request = RUN_SAVE_AND_STOP;
        f.request_at = 4;
        assert_int_equal(run_train(&f.c, &f.h), DDPM_ESTOPPED);
        assert_true(f.seconds_left >= cases[k].least && f.seconds_left <= cases[k].most);
        unmake(&f);
    }
}

/* A run of a version without the last columns goes on: the header is new, the rows are as they were. */
static void test_table_of_an_earlier_version(void **state)
{
    (void)state;
    static const char OLD[] = "step,samples,loss\n1,4,0.5\n2,8,0.25\n3,12,0.125\n";
    static const char NEW[] = "step,samples,loss,mse,vb,loss_q0,loss_q1,loss_q2,loss_q3,grad_norm,lr,images_per_s,dropped,val_loss,"
                              "grad_norm_sq,grad_noise_trace,top1,top5,val_top1,val_top5,val_clean_top1,eval,eval_low,eval_high\n1,4,0.5\n2,8,0.25\n";
    fixture f;
    char path[128];
    make(&f, 1e-3, false);
    runlog_close(f.log);
    f.log = NULL;
    snprintf(path, sizeof path, "%s/progress.csv", f.dir);
    check(file_write_atomic(path, OLD, sizeof OLD - 1));
    for (int k = 0; k < 2; k++) {
        runlog_close(f.log);
        check(runlog_open(f.dir, 2, &f.log));
        char *text = text_of(&f, "progress.csv");
        assert_string_equal(text, NEW);
        free(text);
    }
    unmake(&f);
}

/* The gradient's noise is of the logged steps; a line holds it under the names of the table. */
static void test_noise_is_logged(void **state)
{
    (void)state;
    fixture f;
    make(&f, 1e-3, false);
    check(run_train(&f.c, &f.h));
    char *text = text_of(&f, "log.jsonl");
    int lines = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        const char *norm = strstr(line, "\"grad_norm\":"), *square = strstr(line, "\"grad_norm_sq\":"), *trace = strstr(line, "\"grad_noise_trace\":");
        assert_true(norm && square && trace);
        const double tr = strtod(trace + 19, NULL), sq = strtod(square + 15, NULL);
        assert_true(tr > 0 && isfinite(sq) && sq + tr / BATCH > 0);      /* sq + tr / B is the squared norm of the batch */
    }
    assert_int_equal(lines, 3);
    free(text);
    unmake(&f);
}

static double share_in(const char *line, run_activity a)
{
    char key[40];
    snprintf(key, sizeof key, "\"%s_share\":", run_activity_name(a));
    const char *at = strstr(line, key);
    assert_non_null(at);
    return strtod(at + strlen(key), NULL);
}

/* Six steps with a slow disk, slow grids and slow validation: the time is theirs, and all of it is somebody's. */
static void test_where_the_time_goes(void **state)
{
    (void)state;
    static const double val[] = { 3, 4, 5 };
    static const double SECONDS[RUN_ACTIVITIES] = { [DOING_VALIDATE] = 3 * 0.03, [DOING_SAVE] = 3 * 0.05, [DOING_DRAW] = 2 * 0.02, [DOING_EVALUATE] = 0.01 };
    fixture f;
    double sum = 0;
    make(&f, 1e-3, false);
    f.val = val;
    f.h.validate = validate;
    f.h.draw = draw;
    f.c.val_every = 2;
    f.c.draw_every = 3;
    f.save_us = 50000;
    f.draw_us = 20000;
    f.val_us = 30000;
    f.eval_us = 10000;
    f.h.evaluate = evaluate;
    f.c.eval_every = 5;
    f.evaluated = DDPM_EINVAL;                 /* it takes its time all the same */
    const double start = clock_now();
    check(run_train(&f.c, &f.h));
    const double seconds = clock_now() - start;
    assert_string_equal(f.saved, " best2 4 6");
    for (int a = 0; a < RUN_ACTIVITIES; a++) {
        assert_true(f.c.times.seconds[a] > 0 && f.c.times.seconds[a] >= SECONDS[a]);
        sum += f.c.times.seconds[a];
    }
    assert_true(fabs(sum - f.c.times.total) < 1e-9 && f.c.times.total <= seconds && f.c.times.total > 0.99 * seconds - 0.001);
    char *text = text_of(&f, "log.jsonl");
    const char *drawn = NULL, *last = NULL;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        double shares = 0;
        for (int a = 0; a < RUN_ACTIVITIES; a++) shares += share_in(line, (run_activity)a);
        assert_true(fabs(shares - 1) < 1e-9);
        drawn = last;
        last = line;
    }
    assert_true(share_in(drawn, DOING_DRAW) > 0 && share_in(last, DOING_DRAW) == 0);      /* drawn after step 3: in the line of step 4 */
    assert_true(share_in(last, DOING_SAVE) > 0);                                        /* saved after step 4: in the line of step 6 */
    free(text);
    unmake(&f);
}

/* A best checkpoint is no replacement for the one that a run goes on from. */
static void test_best(void **state)
{
    (void)state;
    static const double val[] = { 3, NAN, 2, 2.5, 2, 1 };
    fixture f;
    make(&f, 1e-3, false);
    f.val = val;
    f.h.validate = validate;
    f.c.val_every = 1;
    check(run_train(&f.c, &f.h));
    assert_string_equal(f.saved, " best1 best3 4 best6 6");
    assert_true(f.best == 1 && f.best_saved == 1);
    unmake(&f);
}

static void test_best_of_an_earlier_process(void **state)
{
    (void)state;
    static const double val[] = { 3, 2.5, 2, 3, 3, 3 };
    fixture f;
    make(&f, 1e-3, false);
    f.val = val;
    f.h.validate = validate;
    f.c.val_every = 1;
    f.best = 2.25;
    check(run_train(&f.c, &f.h));
    assert_string_equal(f.saved, " best3 4 6");
    unmake(&f);
}

static void test_best_on_a_full_disk(void **state)
{
    (void)state;
    static const double val[] = { 3, 2, 2.5, 3, 3, 3 };
    fixture f;
    make(&f, 1e-3, false);
    f.val = val;
    f.h.validate = validate;
    f.c.val_every = 1;
    f.save_best = DDPM_EIO;
    check(run_train(&f.c, &f.h));
    assert_string_equal(f.saved, " 4 6");
    assert_true(f.best < 0);                   /* what is not on disk is not the best so far */
    unmake(&f);
}

static void test_requests(void **state)
{
    (void)state;
    fixture f;
    make(&f, 1e-3, false);
    f.request = RUN_SAVE;
    f.request_at = 3;
    check(run_train(&f.c, &f.h));
    assert_string_equal(f.saved, " 3 4 6");
    unmake(&f);
    make(&f, 1e-3, false);
    f.request = RUN_SAVE_AND_STOP;
    f.request_at = 3;
    assert_int_equal(run_train(&f.c, &f.h), DDPM_ESTOPPED);
    assert_string_equal(f.saved, " 3");
    unmake(&f);
}

static void test_a_grid_never_ends_a_run(void **state)
{
    (void)state;
    fixture f;
    make(&f, 1e-3, false);
    f.h.draw = draw;
    f.c.draw_every = 2;
    f.drawn = DDPM_EINVAL;
    check(run_train(&f.c, &f.h));
    assert_int_equal(f.drawings, 3);
    unmake(&f);
}

/* Numbers of images that were drawn have lines of their own; a failure ends neither the run nor the lines. */
static void test_evaluations(void **state)
{
    (void)state;
    fixture f;
    make(&f, 1e-3, false);
    f.h.evaluate = evaluate;
    f.c.eval_every = 3;
    check(run_train(&f.c, &f.h));
    assert_int_equal(f.evaluations, 2);
    assert_int_equal(log_lines(&f), 3 + 2);
    char *text = text_of(&f, "log.jsonl");
    assert_non_null(strstr(text, "{\"step\":3,\"samples\":12,\"eval\":{\"features\":\"pca8\","));
    assert_non_null(strstr(text, "{\"key\":\"frechet_pca8\",\"name\":\"Frechet distance\",\"value\":2.5,\"interval\":[2.0,3.0]}"));
    assert_non_null(strstr(text, "\"value\":0.75,\"interval\":null}"));
    free(text);
    text = text_of(&f, "progress.csv");
    int commas[8] = { 0 }, lines = 0;
    for (const char *c = text; *c; c++) {
        commas[lines] += *c == ',';
        lines += *c == '\n';
    }
    assert_int_equal(lines, 1 + 3 + 2);
    for (int i = 1; i < lines; i++) assert_int_equal(commas[i], commas[0]);
    assert_non_null(strstr(text, "\n3,12,,"));
    assert_non_null(strstr(text, ",,2.5,2,3\n"));
    free(text);
    runlog_close(f.log);
    f.log = NULL;
    check(runlog_open(f.dir, 5, &f.log));      /* a run that goes on from step 5 has not been evaluated at 6 */
    assert_int_equal(log_lines(&f), 3);
    f.evaluated = DDPM_ENUMERIC;
    f.c.log = f.log;
    f.c.steps = 9;
    f.c.saved = 6;
    check(run_train(&f.c, &f.h));              /* made up at 6, where the trainer is, then due at 9 */
    assert_int_equal(f.evaluations, 4);
    unmake(&f);
}

/* An evaluation that a signal ended is the first thing of the run that goes on, once. */
static void test_an_evaluation_is_made_up(void **state)
{
    (void)state;
    fixture f;
    make(&f, 1e-3, false);
    f.h.evaluate = evaluate;
    f.c.eval_every = 3;
    f.evaluated = DDPM_ESTOPPED;
    f.request = RUN_SAVE_AND_STOP;
    f.request_at = 3;
    assert_int_equal(run_train(&f.c, &f.h), DDPM_ESTOPPED);
    f.c.saved = 3;
    assert_int_equal(run_train(&f.c, &f.h), DDPM_ESTOPPED);         /* ended again: no step was made */
    assert_int_equal(trainer_get_state(f.tr)->step, 3);
    assert_string_equal(f.saved, " 3");
    assert_int_equal(log_lines(&f), 1);
    f.request = RUN_GO_ON;
    f.evaluated = DDPM_OK;
    check(run_train(&f.c, &f.h));
    assert_int_equal(f.evaluations, 2 + 2);
    f.c.saved = 6;
    check(run_train(&f.c, &f.h));              /* step 6 is in the log */
    assert_int_equal(f.evaluations, 4);
    runlog_close(f.log);
    check(runlog_open(f.dir, 6, &f.log));      /* also for another process */
    f.c.log = f.log;
    assert_int_equal(runlog_evaluated(f.log), 6);
    check(run_train(&f.c, &f.h));
    assert_int_equal(f.evaluations, 4);
    runlog_close(f.log);
    check(runlog_open(f.dir, 5, &f.log));
    assert_int_equal(runlog_evaluated(f.log), 3);
    unmake(&f);
}

/* The steps since the last checkpoint outlive data that went away. */
static void test_lost_data(void **state)
{
    (void)state;
    fixture f;
    make(&f, 1e-3, true);
    f.c.steps = 3;
    f.c.save_every = 0;
    check(run_train(&f.c, &f.h));
    f.saved[0] = 0;
    f.c.saved = 2;
    f.c.steps = 50;
    for (int k = 0; k < 6; k++) {
        char path[128];
        image_path(&f, k, path);
        unlink(path);
    }
    const ddpm_status status = run_train(&f.c, &f.h);
    assert_true(status == DDPM_EIO || status == DDPM_EFORMAT);
    assert_true(strlen(f.saved) > 0 && strstr(ddpm_last_error(), ".png"));
    unmake(&f);
}

static void test_bad_numbers(void **state)
{
    (void)state;
    fixture f;
    make(&f, 1e-3, false);
    f.c.steps = 100;
    f.c.save_every = 0;
    f.c.last_checkpoint = "RUN/checkpoints/step-00000001";
    trainer_get_state(f.tr)->value[0] = NAN;
    trainer_changed(f.tr);
    assert_int_equal(run_train(&f.c, &f.h), DDPM_ENUMERIC);
    assert_non_null(strstr(ddpm_last_error(), f.c.last_checkpoint));
    assert_int_equal(trainer_get_state(f.tr)->step, RUN_MAX_DROPPED);
    assert_int_equal(trainer_get_state(f.tr)->updates, 0);
    assert_string_equal(f.saved, "");
    unmake(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_of_an_earlier_version), cmocka_unit_test(test_noise_is_logged),
        cmocka_unit_test(test_where_the_time_goes),
        cmocka_unit_test(test_rhythm), cmocka_unit_test(test_time_left),   cmocka_unit_test(test_best),                      cmocka_unit_test(test_best_of_an_earlier_process),
        cmocka_unit_test(test_requests), cmocka_unit_test(test_best_on_a_full_disk),       cmocka_unit_test(test_a_grid_never_ends_a_run),
        cmocka_unit_test(test_evaluations), cmocka_unit_test(test_an_evaluation_is_made_up), cmocka_unit_test(test_lost_data), cmocka_unit_test(test_bad_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
