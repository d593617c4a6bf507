#include "train/run.h"

#include "base/clock.h"
#include "base/log.h"

#include <math.h>
#include <stdio.h>

/* Sums since the last log line; before: the times of the run up to there. */
typedef struct { step_report sum; int steps; run_times before; } window;

static void window_add(window *w, const step_report *r)
{
    w->steps++;
    w->sum.loss += r->loss;
    w->sum.mse += r->mse;
    w->sum.vb += r->vb;
    w->sum.grad_norm += r->grad_norm;
    w->sum.lr = r->lr;
    w->sum.noise.norm_sq += r->noise.norm_sq;
    w->sum.noise.trace += r->noise.trace;
    w->sum.noise_count += r->noise_count;
    w->sum.classifier = r->classifier;
    w->sum.top1 += r->top1;
    w->sum.top5 += r->top5;
    for (int q = 0; q < TRAIN_QUARTILES; q++) {
        w->sum.quartile_loss[q] += r->quartile_loss[q] * r->quartile_count[q];
        w->sum.quartile_top1[q] += r->quartile_top1[q] * r->quartile_count[q];
        w->sum.quartile_count[q] += r->quartile_count[q];
    }
}

static step_report window_mean(const window *w)
{
    step_report m = w->sum;
    const double n = w->steps;      /* 0, every step dropped: the means are no numbers */
    m.loss /= n;
    m.mse /= n;
    m.vb /= n;
    m.grad_norm /= n;
    m.top1 /= n;
    m.top5 /= n;
    if (m.noise_count) {
        m.noise.norm_sq /= m.noise_count;
        m.noise.trace /= m.noise_count;
    }
    for (int q = 0; q < TRAIN_QUARTILES; q++) {
        if (!m.quartile_count[q]) continue;
        m.quartile_loss[q] /= m.quartile_count[q];
        m.quartile_top1[q] /= m.quartile_count[q];
    }
    return m;
}

/* State of the loop. */
typedef struct {
    run_config      *c;
    const run_hooks *h;
    trainer_state   *s;
    window           w;
    double           charged, speed;   /* the moment up to which c->times counts; images/s of the last log line */
    int64_t          saved, best;   /* steps of the last checkpoint and of the best one, of this process */
} loop;

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

/* What was done since the last call was this. */
static void charge(loop *l, run_activity a)
{
    const double now = clock_now(), seconds = now - l->charged;
    l->c->times.seconds[a] += seconds;
    l->c->times.total += seconds;
    l->charged = now;
}

/* Speeds in the log are those of training steps, without what was done between them. */
static ddpm_status log_line(loop *l, run_validation val)
{
    const run_times *t = &l->c->times, *before = &l->w.before;
    double seconds[RUN_ACTIVITIES];
    log_entry e = { .step = l->s->step, .samples = l->s->step * l->c->batch, .dropped = l->s->dropped, .mean = window_mean(&l->w), .seconds = t->total, .val = val };
    for (int a = 0; a < RUN_ACTIVITIES; a++) {
        seconds[a] = t->seconds[a] - before->seconds[a];
        e.share[a] = seconds[a] / (t->total - before->total);
    }
    e.images_per_s = l->speed = l->w.steps * l->c->batch / (seconds[DOING_STEP] + seconds[DOING_WAIT] + seconds[DOING_LOG]);
    const ddpm_status status = runlog_write(l->c->log, &e);
    if (status == DDPM_EIO) log_warn("%s; training goes on", ddpm_last_error());
    l->w = (window){ .before = *t };
    return status == DDPM_EIO ? DDPM_OK : status;
}

/* Neither a full disk nor weights that an update blew up end a run here: the old checkpoint stands, and the
 * next interval tries again. RUN_MAX_DROPPED ends the latter. */
static ddpm_status save(loop *l, bool best)
{
    const ddpm_status status = l->h->save(l->h->ctx, l->s->step, best);
    charge(l, DOING_SAVE);
    if (status == DDPM_OK) *(best ? &l->best : &l->saved) = l->s->step;
    if (status != DDPM_EIO && status != DDPM_ENUMERIC) return status;
    log_warn("the checkpoint of step %lld was not saved: %s; training goes on", (long long)l->s->step, ddpm_last_error());
    return DDPM_OK;
}

static ddpm_status validate(loop *l, run_validation *val)
{
    *val = RUN_NOT_VALIDATED;
    if (!l->h->validate || !due(l->s->step, l->c->val_every)) return DDPM_OK;
    DDPM_TRY(l->h->validate(l->h->ctx, val));
    charge(l, DOING_VALIDATE);
    const double before = *l->c->best_val;
    if (!isfinite(val->loss) || (before >= 0 && val->loss >= before)) return DDPM_OK;
    *l->c->best_val = val->loss;
    const ddpm_status status = save(l, true);
    if (l->best != l->s->step) *l->c->best_val = before;      /* not on disk: the next one still counts */
    return status;
}

/* A grid is for looking at: without one, the run is as good. */
static void draw(loop *l)
{
    if (!l->h->draw || !due(l->s->step, l->c->draw_every)) return;
    if (l->h->draw(l->h->ctx, l->s->step) != DDPM_OK) log_warn("no samples of step %lld: %s; training goes on", (long long)l->s->step, ddpm_last_error());
    charge(l, DOING_DRAW);
}

/* So is a measurement. One that a signal ended is followed by what the signal asks for. */
static void evaluate(loop *l)
{
    if (!l->h->evaluate || !due(l->s->step, l->c->eval_every)) return;
    const ddpm_status status = l->h->evaluate(l->h->ctx, l->s->step);
    if (status == DDPM_ESTOPPED) log_warn("the evaluation of step %lld is left out; the run that goes on begins with it", (long long)l->s->step);
    else if (status != DDPM_OK) log_warn("no evaluation of step %lld: %s; training goes on", (long long)l->s->step, ddpm_last_error());
    charge(l, DOING_EVALUATE);
}

/* A signal or a crash may have kept the last evaluation out of the log of the run that goes on. */
static bool make_up(loop *l)
{
    if (!l->h->evaluate || !l->s->step || !due(l->s->step, l->c->eval_every) || runlog_evaluated(l->c->log) == l->s->step) return false;
    evaluate(l);
    return true;
}

/* The training ends with its steps or its hours, whichever come first; 0: not known. */
static double seconds_left(const loop *l)
{
    const run_config *c = l->c;
    const double by_steps = c->steps && l->speed > 0 ? (double)(c->steps - l->s->step) * c->batch / l->speed : INFINITY;
    const double by_hours = c->hours > 0 ? fmax(3600 * c->hours - c->times.total, 0) : INFINITY, left = fmin(by_steps, by_hours);
    return isfinite(left) ? left : 0;
}

/* What follows a step. */
static ddpm_status housekeeping(loop *l, const step_report *r)
{
    const run_config *c = l->c;
    const int64_t step = l->s->step;
    run_validation val;
    DDPM_TRY(validate(l, &val));
    const bool logged = due(step, c->log_every) || val.loss >= 0 || step == c->steps;
    if (logged) DDPM_TRY(log_line(l, val));
    charge(l, DOING_LOG);
    if (due(step, c->save_every) && step != c->steps) DDPM_TRY(save(l, false));
    draw(l);
    evaluate(l);
    const run_progress p = { .step = step, .steps = c->steps, .loss = r->loss, .top1 = r->top1, .lr = r->lr, .images_per_s = l->speed,
                             .eta_seconds = seconds_left(l), .logged = logged };
    if (l->h->progress) l->h->progress(l->h->ctx, &p);
    charge(l, DOING_LOG);
    return DDPM_OK;
}

static ddpm_status give_up(const loop *l)
{
    const char *good = l->c->last_checkpoint;
    return ddpm_fail(DDPM_ENUMERIC, "the loss or the gradients were not finite in %d steps in a row, up to step %lld; start a new run with a "
                     "lower --lr or --precision f32%s%s", RUN_MAX_DROPPED, (long long)l->s->step,
                     good && good[0] ? " from the last good checkpoint: --init " : "; there is no good checkpoint yet", good ? good : "");
}

static ddpm_status one_step(loop *l)
{
    loader_batch b;
    step_report r;
    DDPM_TRY(loader_next(l->c->data, (uint64_t)l->s->step, &b));
    charge(l, DOING_WAIT);
    const int64_t next = l->s->step + 1;
    const train_batch batch = { .x = b.x, .y = l->c->labelled ? b.label : NULL, .measure_noise = due(next, l->c->log_every) || next == l->c->steps };
    DDPM_TRY(trainer_step(l->c->tr, &batch, &r));
    charge(l, DOING_STEP);
    if (r.dropped) {
        log_warn("step %lld: the loss or the gradients are not finite; the step is dropped", (long long)l->s->step);
        if (l->s->dropped_in_row >= RUN_MAX_DROPPED) return give_up(l);
    } else {
        window_add(&l->w, &r);
    }
    return housekeeping(l, &r);
}

/* Data that cannot be read must not cost the steps since the last checkpoint. */
static ddpm_status keep_state(loop *l, ddpm_status why)
{
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", ddpm_last_error());
    const bool new_steps = l->s->step > 0 && l->saved != l->s->step;
    if (why != DDPM_ENUMERIC && new_steps && save(l, false) != DDPM_OK) log_warn("%s", ddpm_last_error());
    return ddpm_fail(why, "%s", sentence);
}

static ddpm_status finish(loop *l, bool stopped)
{
    if (l->saved != l->s->step) DDPM_TRY(l->h->save(l->h->ctx, l->s->step, false));
    return stopped ? ddpm_fail(DDPM_ESTOPPED, "stopped at step %lld; the state is saved, the same command goes on", (long long)l->s->step) : DDPM_OK;
}

/* What is asked for between steps. */
static ddpm_status obey(loop *l, bool *stop)
{
    const run_config *c = l->c;
    const run_request request = l->h->request ? l->h->request(l->h->ctx) : RUN_GO_ON;
    *stop = request == RUN_SAVE_AND_STOP || (c->hours > 0 && c->times.total >= 3600 * c->hours);
    return request == RUN_SAVE && l->saved != l->s->step ? save(l, false) : DDPM_OK;
}

static ddpm_status train(loop *l)
{
    const run_config *c = l->c;
    bool stop = false;
    if (make_up(l)) DDPM_TRY(obey(l, &stop));
    while (!stop && (!c->steps || l->s->step < c->steps)) {
        const ddpm_status status = one_step(l);
        if (status != DDPM_OK) return keep_state(l, status);
        DDPM_TRY(obey(l, &stop));
    }
    return finish(l, stop);
}

ddpm_status run_train(run_config *c, const run_hooks *h)
{
    loop l = { .c = c, .h = h, .s = trainer_get_state(c->tr), .charged = clock_now(), .saved = c->saved, .best = -1 };
    c->times = (run_times){ .total = 0 };
    const ddpm_status status = train(&l);
    charge(&l, DOING_SAVE);           /* the last checkpoint */
    return status;
}
