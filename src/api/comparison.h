/* comparison.h - two sets in one space of features, and how far they are apart: what `ddpm eval` and judges have in common.
 *
 * The steps: begin, the sides, prepare, read the reference, read the samples, measure. */
#ifndef DDPM_API_COMPARISON_H
#define DDPM_API_COMPARISON_H

#include "api/eval_frechet.h"
#include "api/eval_metrics.h"
#include "api/eval_side.h"

typedef struct {
    eval_session    s;
    const settings *request;
    engine          own;                 /* where the caller gave none                    */
    engine          e;                   /* the one in use; borrows                       */
    eval_side       samples, reference;
    image_set      *fit_data;            /* --fit_data, or NULL                           */
    feature_space  *space;               /* NULL: neither side is of images               */
    char            name[FEATURES_SPACE_SIZE];   /* of the features; "": no file says     */
    unsigned        wanted;
    int64_t         fit_bad;
    frechet_targets targets;
    double         *nearest;             /* eval_metrics_nearest of the reference; NULL: not needed yet */
    eval_frechet    frechet;
    eval_metrics    metrics;
} comparison;

/* request and ev are borrowed; e: NULL for one of its own. EINVAL: settings that fit nothing. The comparison is emptied by
 * comparison_end also after a failure. */
ddpm_status comparison_begin(comparison *c, const settings *request, const engine *e, const tool_events *ev);
void        comparison_end(comparison *c);               /* zeroed is fine */

/* The sides are there (side_open, or a size to come): what can be measured, in which space? EINVAL: sides that say nothing about each other, metrics
 * that need what a side has not, options without meaning here. */
ddpm_status comparison_prepare(comparison *c);

/* The axes, where there are to be some; the reference's rows and moments. */
ddpm_status comparison_read_reference(comparison *c);

/* The samples are read. DDPM_EINVAL: too few. */
ddpm_status comparison_measure(comparison *c);

/* The axes that a space of pixels needs, from --fit_count images of `from`; nothing for other spaces. */
ddpm_status comparison_fit(const eval_session *s, image_set *from, feature_space *space, int64_t *bad);

#endif
