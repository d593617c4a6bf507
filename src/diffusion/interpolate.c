#include "diffusion/interpolate.h"

#include "base/fixmath.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

static double norm(size_t len, const float *z)
{
    double sum = 0;
    for (size_t k = 0; k < len; k++) sum += (double)z[k] * (double)z[k];
    return sqrt(sum);
}

/* The angle in [0, pi] of the point (c, s) of the unit circle, s >= 0. The sine
 * of what is missing is known, and small sines are angles: errors go like e^3. */
static double angle_of(double c, double s)
{
    double theta = 0.5 * PI * (1 - c);
    for (int k = 0; k < 4; k++) theta += s * fix_cos(theta) - c * fix_sin(theta);
    return theta;
}

/* From the half angle, whose sine and cosine are exact where the scalar product
 * of nearly equal tensors is not. */
static double angle_between(size_t len, const float *z1, double norm1, const float *z2, double norm2)
{
    double apart = 0, along = 0;
    for (size_t k = 0; k < len; k++) {
        const double u = (double)z1[k] / norm1, v = (double)z2[k] / norm2;
        apart += (u - v) * (u - v);
        along += (u + v) * (u + v);
    }
    const double length = sqrt(apart + along);          /* 2, but for rounding */
    return 2 * angle_of(sqrt(along) / length, sqrt(apart) / length);
}

ddpm_status interpolate_slerp(size_t len, double a, const float *z1, const float *z2, float *z)
{
    const double norm1 = norm(len, z1), norm2 = norm(len, z2);
    if (!(norm1 > 0 && norm2 > 0 && isfinite(norm1) && isfinite(norm2)))
        return ddpm_fail(DDPM_EINVAL, "a latent of length 0, or not finite, has no direction to interpolate from");
    const double theta = angle_between(len, z1, norm1, z2, norm2), sine = fix_sin(theta);
    if (PI - theta < 1e-6)
        return ddpm_fail(DDPM_EINVAL, "the latents are opposite to each other, and no way between them is shortest; use other latents");
    const bool same = theta < 1e-9;                      /* where slerp is the straight line, to the last bit */
    const float of_z1 = (float)(same ? 1 - a : fix_sin((1 - a) * theta) / sine), of_z2 = (float)(same ? a : fix_sin(a * theta) / sine);
    for (size_t k = 0; k < len; k++) z[k] = of_z1 * z1[k] + of_z2 * z2[k];
    return DDPM_OK;
}

void interpolate_stochastic(const schedule *s, int i, double lambda, size_t len, const float *x1, const float *noise1,
                            const float *x2, const float *noise2, float *xt)
{
    const float of_x = (float)s->sqrt_alphas_cumprod[i], of_noise = (float)s->sqrt_one_minus_alphas_cumprod[i];
    const float left = (float)(1 - lambda), right = (float)lambda;
    for (size_t k = 0; k < len; k++)
        xt[k] = left * (of_x * x1[k] + of_noise * noise1[k]) + right * (of_x * x2[k] + of_noise * noise2[k]);
}
