/* judge.h - sets of images measured against one reference in one space, again and again.
 *
 * What the reference needs - its axes, rows, moments - is made once. Of `settings` it reads --features, --metrics, --fit_data, --bootstrap
 * and what else `ddpm eval` takes. */
#ifndef DDPM_API_JUDGE_H
#define DDPM_API_JUDGE_H

#include "api/engine.h"
#include "api/features.h"
#include "api/tool.h"
#include "metrics/interval.h"

enum { EVAL_MAX_VALUES = 16 };

/* key: as in `ddpm eval --json`; name: for people. interval.low is NAN where there is none. */
typedef struct { const char *key, *name; double value; metric_interval interval; bool lower_is_better; } eval_value;

/* Strings live as long as the judge. space: the name of the features. */
typedef struct {
    int count;
    eval_value value[EVAL_MAX_VALUES];
    int64_t n_samples, n_reference;      /* n_reference 0: statistics that do not say */
    char space[FEATURES_SPACE_SIZE];
} eval_result;

/* What values of this key are called and whether less of them is better, for results that come from files; false: no such key. */
bool eval_value_words(const char *key, const char **name, bool *lower_is_better);

typedef struct judge judge;

/* reference: as of `ddpm eval`, to compare images of h x w x c with. `e` (NULL: it makes its own), `s` and `ev` are borrowed; networks compute in f32,
 * whatever `e` does, or without `e` as `ddpm eval`. Errors as of `ddpm eval`. */
ddpm_status judge_new(const settings *s, const char *reference, int h, int w, int c, const engine *e, const tool_events *ev, judge **j);
void        judge_free(judge *j);                            /* NULL ok */

/* More images of the set, [n,h,w,c], in order: sums follow it. */
ddpm_status judge_add(judge *j, const uint8_t *images, int n);

/* Measures what was added, then empties the set, also on failure. EINVAL: too few images for what is measured. */
ddpm_status judge_measure(judge *j, eval_result *r);

#endif
