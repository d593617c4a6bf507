#include "train/noise_scale.h"

#include <math.h>

void noise_add(noise_parts *p, double norm_sq, int n)
{
    p->norm_sq += norm_sq;
    p->inverse += 1.0 / n;
    p->parts++;
}

/* With u the mean of 1/n over the parts and v = 1/n of the whole: small = |G|^2 + u tr, big = |G|^2 + v tr. */
bool noise_estimate(const noise_parts *p, double norm_sq, int n, gradient_noise *out)
{
    if (p->parts < 2) return false;
    const double small = p->norm_sq / p->parts, u = p->inverse / p->parts, v = 1.0 / n;
    const gradient_noise e = { .norm_sq = (u * norm_sq - v * small) / (u - v), .trace = (small - norm_sq) / (u - v) };
    if (!isfinite(e.norm_sq) || !isfinite(e.trace)) return false;
    *out = e;
    return true;
}
