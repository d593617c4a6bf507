#include "model/upsampler.h"

#include <string.h>

/* Where small pixel i begins and ends among `large` ones. */
typedef struct { int begin, end; } span;

static span part(int i, int small, int large)
{
    const long long begin = (long long)i * large / small, end = ((long long)(i + 1) * large + small - 1) / small;
    return (span){ (int)begin, (int)end };
}

void upsampler_reduce(upsampler_dims d, const float *large, float *small)
{
    for (int i = 0; i < d.small; i++)
        for (int j = 0; j < d.small; j++) {
            const span rows = part(i, d.small, d.h), columns = part(j, d.small, d.w);
            for (int k = 0; k < d.c; k++) {
                float sum = 0;
                for (int y = rows.begin; y < rows.end; y++)
                    for (int x = columns.begin; x < columns.end; x++) sum += large[((size_t)y * (size_t)d.w + (size_t)x) * (size_t)d.c + (size_t)k];
                *small++ = sum / (float)(rows.end - rows.begin) / (float)(columns.end - columns.begin);
            }
        }
}

/* The two small pixels around large pixel i, and the share of each. */
typedef struct { int a, b; float share_a, share_b; } neighbours;

static neighbours around(int i, int small, int large)
{
    const float scale = (float)small / (float)large, at = scale * ((float)i + 0.5f) - 0.5f, place = at > 0 ? at : 0;
    const int a = (int)place < small - 1 ? (int)place : small - 1;
    const float share = place - (float)a;
    return (neighbours){ a, a < small - 1 ? a + 1 : a, 1 - share, share };
}

void upsampler_enlarge(upsampler_dims d, const float *small, float *large)
{
    const size_t c = (size_t)d.c, line = (size_t)d.small * c;
    for (int y = 0; y < d.h; y++) {
        const neighbours v = around(y, d.small, d.h);
        const float *const top = small + (size_t)v.a * line, *const bottom = small + (size_t)v.b * line;
        for (int x = 0; x < d.w; x++) {
            const neighbours u = around(x, d.small, d.w);
            const size_t left = (size_t)u.a * c, right = (size_t)u.b * c;
            for (size_t k = 0; k < c; k++)
                *large++ = v.share_a * (u.share_a * top[left + k] + u.share_b * top[right + k]) +
                           v.share_b * (u.share_a * bottom[left + k] + u.share_b * bottom[right + k]);
        }
    }
}

void upsampler_condition(upsampler_dims d, const float *image, float *small, float *condition)
{
    upsampler_reduce(d, image, small);
    upsampler_enlarge(d, small, condition);
}

void upsampler_join(size_t pixels, int c, const float *x, const float *condition, float *input)
{
    const size_t n = (size_t)c;
    for (size_t p = 0; p < pixels; p++) {
        memcpy(input + 2 * p * n, x + p * n, n * sizeof *x);
        memcpy(input + (2 * p + 1) * n, condition + p * n, n * sizeof *condition);
    }
}
