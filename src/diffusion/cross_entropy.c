#include "diffusion/cross_entropy.h"

#include "base/fixmath.h"

#include <assert.h>

/* Classes before this one in the order of their logits. */
static int rank(int classes, const float *logits, int label)
{
    int before = 0;
    for (int k = 0; k < classes; k++) before += logits[k] > logits[label] || (logits[k] == logits[label] && k < label);
    return before;
}

class_terms cross_entropy(int classes, const float *logits, int label, double weight, float *dlogits)
{
    assert(label >= 0 && label < classes);
    double largest = (double)logits[0], sum = 0;
    for (int k = 1; k < classes; k++) if ((double)logits[k] > largest) largest = (double)logits[k];
    for (int k = 0; k < classes; k++) sum += fix_exp((double)logits[k] - largest);
    const int before = rank(classes, logits, label);
    const class_terms terms = { .loss = fix_log(sum) - ((double)logits[label] - largest), .top1 = before < 1, .top5 = before < 5 };
    for (int k = 0; k < classes && dlogits; k++)
        dlogits[k] = (float)(weight * (fix_exp((double)logits[k] - largest) / sum - (k == label)));
    return terms;
}
