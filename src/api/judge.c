#include "api/judge.h"

#include <stdlib.h>
#include <string.h>

#include "api/comparison.h"

struct judge { comparison c; char *reference; };

static ddpm_status prepare(judge *j, const settings *s, const char *reference, const eval_side *samples, const engine *e, const tool_events *ev)
{
    comparison *c = &j->c;
    DDPM_TRY(comparison_begin(c, s, e, ev));
    c->samples = *samples;
    j->reference = strdup(reference);
    if (!j->reference) return ddpm_fail(DDPM_ENOMEM, "no memory to measure against %s", reference);
    DDPM_TRY(side_open(&c->reference, j->reference, c->request));
    DDPM_TRY(comparison_prepare(c));
    return comparison_read_reference(c);
}

ddpm_status judge_new(const settings *s, const char *reference, int h, int w, int c, const engine *e, const tool_events *ev, judge **j)
{
    judge *made = calloc(1, sizeof *made);
    if (!made) return ddpm_fail(DDPM_ENOMEM, "no memory to measure against %s", reference);
    const eval_side samples = { .word = "the samples", .kind = SIDE_IMAGES, .h = h, .w = w, .c = c };
    const ddpm_status status = prepare(made, s, reference, &samples, e, ev);
    if (status == DDPM_OK) *j = made;
    else judge_free(made);
    return status;
}

void judge_free(judge *j)
{
    if (!j) return;
    comparison_end(&j->c);
    free(j->reference);
    free(j);
}

ddpm_status judge_add(judge *j, const uint8_t *images, int n) { return side_add(&j->c.samples, j->c.space, images, n); }

ddpm_status judge_measure(judge *j, eval_result *r)
{
    comparison *c = &j->c;
    *r = (eval_result){ .n_samples = c->samples.count, .n_reference = c->reference.count };
    memcpy(r->space, c->name, sizeof r->space);
    const ddpm_status status = comparison_measure(c);
    if (status == DDPM_OK) {
        eval_frechet_values(&c->frechet, r);
        eval_metrics_values(&c->metrics, r);
    }
    side_clear(&c->samples);
    return status;
}
