/* metric_tools.h - what the tests of metrics of features share. Behind cmocka.h. */
#ifndef DDPM_TESTS_METRIC_TOOLS_H
#define DDPM_TESTS_METRIC_TOOLS_H

#include "base/rng.h"
#include "metrics/rows.h"

#include <math.h>

static const metric_work ALONE = { .threads = NULL };

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

static void near_to(double got, double want, double allowed)
{
    if (!(fabs(got - want) <= allowed)) fail_msg("%.17g, want %.17g within %g", got, want, allowed);
}

static void normals(uint64_t set, double shift, double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float z;
        rng_normals((rng_address){ 78, RNG_NOISE, set, 0 }, i, 1, &z);
        x[i] = shift + (double)z;
    }
}

#endif
