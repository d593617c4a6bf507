#include "diffusion/rate_distortion.h"

#include <assert.h>
#include <math.h>

void rate_distortion(int T, double prior, const double *vb, const double *xstart_mse, rate_point *point)
{
    double rate = prior;
    for (int i = T - 1; i >= 0; i--) {
        point[i] = (rate_point){ rate, xstart_mse[i], 127.5 * sqrt(xstart_mse[i]) };
        rate += vb[i];
    }
}

int rate_distortion_row(int T, int step, int steps)
{
    assert(step > 0 && step <= steps);
    return T - (int)(((long long)T * step + steps - 1) / steps);
}
