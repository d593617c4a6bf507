#include "api/eval_metrics.h"

#include <assert.h>
#include <string.h>

bool eval_value_words(const char *key, const char **name, bool *lower_is_better)
{
    static const struct { const char *key, *name; bool lower; } CALLED[] = {
        { "frechet_inception_distance", "FID", true }, { "fid_infinity", "FID-infinity", true }, { "sfid", "sFID", true },
        { "frechet_infinity", "Frechet distance of infinitely many samples", true }, { "frechet_spatial", "spatial Frechet distance", true },
        { "kernel_inception_distance_mean", "KID", true }, { "kernel_distance_mean", "kernel distance", true },
        { "precision", "precision", false }, { "recall", "recall", false }, { "density", "density", false }, { "coverage", "coverage", false },
        { "inception_score_mean", "inception score", false }, { "logits_score_mean", "score of the logits", false },
        { "frechet_", "Frechet distance", true },                    /* and the name of the space */
    };
    const size_t count = sizeof CALLED / sizeof *CALLED;
    size_t i = 0;
    while (i < count - 1 && strcmp(CALLED[i].key, key)) i++;
    *name = CALLED[i].name;
    *lower_is_better = CALLED[i].lower;
    return i < count - 1 || !strncmp(key, CALLED[i].key, strlen(CALLED[i].key));
}

void eval_value_add(eval_result *r, const char *key, double value, metric_interval interval)
{
    assert(r->count < EVAL_MAX_VALUES);
    eval_value *v = &r->value[r->count++];
    *v = (eval_value){ .key = key, .value = value, .interval = interval };
    const bool known = eval_value_words(key, &v->name, &v->lower_is_better);
    assert(known);
    (void)known;
}
