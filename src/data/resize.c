/* Pillow's arithmetic, step by step: weights in double, normalised, rounded to 22
 * bits; every pass starts from one half and shifts. Orders of operations matter. */
#include "data/resize.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/fixmath.h"

enum { PRECISION = 32 - 8 - 2, MAX_SIDE = 1 << 20 };

/* Output i is the sum over k < taps of weight[i * stride + k] * input[first[i] + k]. */
typedef struct {
    int count, stride;
    int *first, *taps;
    int32_t *weight;
} filter_bank;

static double filter_box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

static double filter_bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double filter_bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

static double sinc(double x)
{
    const double pi = 3.14159265358979323846;
    if (x == 0.0) return 1.0;
    return fix_sin(x * pi) / (x * pi);
}

static double filter_lanczos(double x) { return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0; }

static const struct {
    double (*f)(double x);
    double support;
} filters[] = {
    [RESIZE_BOX] = {filter_box, 0.5},
    [RESIZE_BILINEAR] = {filter_bilinear, 1.0},
    [RESIZE_BICUBIC] = {filter_bicubic, 2.0},
    [RESIZE_LANCZOS] = {filter_lanczos, 3.0},
};

static void bank_free(filter_bank *b)
{
    free(b->first);
    free(b->taps);
    free(b->weight);
    *b = (filter_bank){0};
}

static int32_t to_fixed(double w) { return (int32_t)((w < 0 ? -0.5 : 0.5) + w * (1 << PRECISION)); }

/* Weights of output i, whose centre lies at `centre` in the input of `in` pixels. */
static void bank_row(filter_bank *b, int i, int in, double centre, double support, double inverse,
                     double (*f)(double), double *w)
{
    const int low = (int)(centre - support + 0.5), high = (int)(centre + support + 0.5);
    const int first = low < 0 ? 0 : low, taps = (high > in ? in : high) - first;
    double sum = 0.0;
    for (int k = 0; k < taps; k++) {
        w[k] = f((k + first - centre + 0.5) * inverse);
        sum += w[k];
    }
    int32_t *fixed = b->weight + (size_t)i * (size_t)b->stride;
    for (int k = 0; k < taps; k++) fixed[k] = to_fixed(sum != 0.0 ? w[k] / sum : w[k]);
    b->first[i] = first;
    b->taps[i] = taps;
}

/* The weights that take the pixels [from, to) of `in` to `out` pixels. */
static ddpm_status bank_make(filter_bank *b, int in, float from, float to, int out, resize_filter filter)
{
    const double scale = (double)(to - from) / out, wide = scale < 1.0 ? 1.0 : scale;
    const double support = filters[filter].support * wide;
    *b = (filter_bank){.count = out, .stride = (int)ceil(support) * 2 + 1};
    size_t weights;
    if (!checked_mul((size_t)out, (size_t)b->stride, &weights)) return ddpm_fail(DDPM_EINVAL, "cannot resize to %d pixels", out);
    b->first = calloc((size_t)out, sizeof *b->first);
    b->taps = calloc((size_t)out, sizeof *b->taps);
    b->weight = calloc(weights, sizeof *b->weight);
    double *w = calloc((size_t)b->stride, sizeof *w);
    const bool ok = b->first && b->taps && b->weight && w;
    for (int i = 0; ok && i < out; i++)
        bank_row(b, i, in, from + (i + 0.5) * scale, support, 1.0 / wide, filters[filter].f, w);
    free(w);
    if (ok) return DDPM_OK;
    bank_free(b);
    return ddpm_fail(DDPM_ENOMEM, "out of memory for the weights of a resize to %d pixels", out);
}

static uint8_t clip8(int32_t sum)
{
    const int32_t v = sum >> PRECISION;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* One output pixel from `taps` neighbours of c channels; inlined for each c. */
static inline void weigh(const uint8_t *in, const int32_t *weight, int taps, int c, uint8_t *out)
{
    int32_t sum[4] = {1 << (PRECISION - 1), 1 << (PRECISION - 1), 1 << (PRECISION - 1), 1 << (PRECISION - 1)};
    for (int k = 0; k < taps; k++, in += c)
        for (int j = 0; j < c; j++) sum[j] += in[j] * weight[k];
    for (int j = 0; j < c; j++) out[j] = clip8(sum[j]);
}

static inline void row_x(const uint8_t *row, const filter_bank *b, int c, uint8_t *to)
{
    for (int x = 0; x < b->count; x++)
        weigh(row + (size_t)b->first[x] * (size_t)c, b->weight + (size_t)x * (size_t)b->stride, b->taps[x], c,
              to + (size_t)x * (size_t)c);
}

/* Rows [top, top + out->h) of src, each filtered along x into a row of out. */
static void pass_x(const image *src, int top, const filter_bank *b, image *out)
{
    for (int y = 0; y < out->h; y++) {
        const uint8_t *row = src->data + (size_t)(y + top) * (size_t)src->w * (size_t)src->c;
        uint8_t *to = out->data + (size_t)y * (size_t)out->w * (size_t)src->c;
        switch (src->c) {
        case 1: row_x(row, b, 1, to); break;
        case 2: row_x(row, b, 2, to); break;
        case 3: row_x(row, b, 3, to); break;
        default: row_x(row, b, 4, to); break;
        }
    }
}

/* Along y; src begins with row `top` of the picture that the bank was made for.
 * In blocks of a row, so that the sums stay in registers and the loads are dense. */
static void pass_y(const image *src, int top, const filter_bank *b, image *out)
{
    enum { BLOCK = 64 };
    const size_t pitch = (size_t)src->w * (size_t)src->c;
    for (int y = 0; y < out->h; y++) {
        const uint8_t *rows = src->data + (size_t)(b->first[y] - top) * pitch;
        const int32_t *weight = b->weight + (size_t)y * (size_t)b->stride;
        uint8_t *to = out->data + (size_t)y * pitch;
        for (size_t at = 0; at < pitch; at += BLOCK) {
            const size_t n = pitch - at < BLOCK ? pitch - at : BLOCK;
            int32_t sum[BLOCK];
            for (size_t i = 0; i < n; i++) sum[i] = 1 << (PRECISION - 1);
            for (int k = 0; k < b->taps[y]; k++)
                for (size_t i = 0; i < n; i++) sum[i] += rows[(size_t)k * pitch + at + i] * weight[k];
            for (size_t i = 0; i < n; i++) to[at + i] = clip8(sum[i]);
        }
    }
}

static ddpm_status image_new(int w, int h, int c, image *out)
{
    *out = (image){.w = w, .h = h, .c = c};
    size_t bytes;
    if (checked_mul((size_t)w, (size_t)h, &bytes) && checked_mul(bytes, (size_t)c, &bytes)) out->data = malloc(bytes);
    if (out->data) return DDPM_OK;
    return ddpm_fail(DDPM_ENOMEM, "out of memory for an image of %d x %d x %d", h, w, c);
}

static ddpm_status image_copy(const image *src, image *out)
{
    DDPM_TRY(image_new(src->w, src->h, src->c, out));
    memcpy(out->data, src->data, (size_t)src->w * (size_t)src->h * (size_t)src->c);
    return DDPM_OK;
}

/* Pillow leaves a pass out when it would change nothing. */
static bool pass_is_needed(int in, int out, float from, float to)
{
    return in != out || from != 0.0f || to != (float)out;
}

static ddpm_status resize_x(const image *src, int w, int top, int rows, resize_filter filter, const resize_box *box, image *out)
{
    filter_bank b;
    DDPM_TRY(bank_make(&b, src->w, box->x0, box->x1, w, filter));
    const ddpm_status s = image_new(w, rows, src->c, out);
    if (s == DDPM_OK) pass_x(src, top, &b, out);
    bank_free(&b);
    return s;
}

/* Both passes. The first one makes only the rows that the second one uses. */
static ddpm_status resize_passes(const image *src, int w, int h, resize_filter filter, const resize_box *box, image *out)
{
    const bool need_x = pass_is_needed(src->w, w, box->x0, box->x1), need_y = pass_is_needed(src->h, h, box->y0, box->y1);
    if (!need_x && !need_y) return image_copy(src, out);
    if (!need_y) return resize_x(src, w, 0, h, filter, box, out);
    filter_bank b;
    DDPM_TRY(bank_make(&b, src->h, box->y0, box->y1, h, filter));
    const int top = need_x ? b.first[0] : 0;
    const int bottom = need_x ? b.first[h - 1] + b.taps[h - 1] : src->h;
    image wide = {0};
    ddpm_status s = need_x ? resize_x(src, w, top, bottom - top, filter, box, &wide) : DDPM_OK;
    if (s == DDPM_OK) s = image_new(w, h, src->c, out);
    if (s == DDPM_OK) pass_y(need_x ? &wide : src, top, &b, out);
    image_free(&wide);
    bank_free(&b);
    return s;
}

/* v * alpha / 255, rounded; exact for bytes. */
static uint8_t times_alpha(int v, int alpha)
{
    const int t = v * alpha + 128;
    return (uint8_t)((t + (t >> 8)) >> 8);
}

static void premultiply(image *im)
{
    const int c = im->c;
    const size_t pixels = (size_t)im->w * (size_t)im->h;
    for (uint8_t *p = im->data; p < im->data + pixels * (size_t)c; p += c)
        for (int j = 0; j < c - 1; j++) p[j] = times_alpha(p[j], p[c - 1]);
}

static void unpremultiply(image *im)
{
    const int c = im->c;
    const size_t pixels = (size_t)im->w * (size_t)im->h;
    for (uint8_t *p = im->data; p < im->data + pixels * (size_t)c; p += c) {
        const int alpha = p[c - 1];
        if (alpha == 0 || alpha == 255) continue;
        for (int j = 0; j < c - 1; j++) {
            const int v = 255 * p[j] / alpha;
            p[j] = (uint8_t)(v > 255 ? 255 : v);
        }
    }
}

static ddpm_status resize_alpha(const image *src, int w, int h, resize_filter filter, const resize_box *box, image *out)
{
    image multiplied;
    DDPM_TRY(image_copy(src, &multiplied));
    premultiply(&multiplied);
    const ddpm_status s = resize_passes(&multiplied, w, h, filter, box, out);
    image_free(&multiplied);
    if (s == DDPM_OK) unpremultiply(out);
    return s;
}

ddpm_status image_resize(const image *src, int w, int h, resize_filter filter, const resize_box *box, image *out)
{
    assert(src->data && src->c >= 1 && src->c <= 4 && src != out);
    const resize_box whole = {0, 0, (float)src->w, (float)src->h};
    const resize_box b = box ? *box : whole;
    *out = (image){0};
    if (w < 1 || h < 1 || w > MAX_SIDE || h > MAX_SIDE)
        return ddpm_fail(DDPM_EINVAL, "cannot resize to %d x %d pixels; sides are 1 to %d", w, h, MAX_SIDE);
    if (!(b.x0 >= 0 && b.y0 >= 0 && b.x1 > b.x0 && b.y1 > b.y0 && b.x1 <= whole.x1 && b.y1 <= whole.y1))
        return ddpm_fail(DDPM_EINVAL, "the part (%g, %g, %g, %g) is empty or not inside an image of %d x %d",
                         (double)b.x0, (double)b.y0, (double)b.x1, (double)b.y1, src->w, src->h);
    const bool same = w == src->w && h == src->h && memcmp(&b, &whole, sizeof b) == 0;
    if (same) return image_copy(src, out);
    return src->c == 2 || src->c == 4 ? resize_alpha(src, w, h, filter, &b, out)
                                      : resize_passes(src, w, h, filter, &b, out);
}

static ddpm_status crop_centre(const image *src, int size_h, int size_w, image *out)
{
    DDPM_TRY(image_new(size_w, size_h, src->c, out));
    const int top = (src->h - size_h) / 2, left = (src->w - size_w) / 2;
    const size_t c = (size_t)src->c, bytes = (size_t)size_w * c;
    for (int y = 0; y < size_h; y++)
        memcpy(out->data + (size_t)y * bytes, src->data + ((size_t)(y + top) * (size_t)src->w + (size_t)left) * c, bytes);
    return DDPM_OK;
}

/* Sizes that cover size_w x size_h; rint rounds half to even, as Python does. */
static ddpm_status resize_to_cover(const image *src, int size_h, int size_w, image *out)
{
    const double by_w = (double)size_w / src->w, by_h = (double)size_h / src->h, scale = by_w > by_h ? by_w : by_h;
    const double w = rint(src->w * scale), h = rint(src->h * scale);
    if (w > MAX_SIDE || h > MAX_SIDE || w * h > IMAGE_MAX_PIXELS)
        return ddpm_fail(DDPM_EINVAL, "an image of %d x %d is too narrow to be fitted to %d x %d", src->h, src->w, size_h, size_w);
    return image_resize(src, (int)w, (int)h, RESIZE_BICUBIC, NULL, out);
}

ddpm_status image_fit(const image *src, int size_h, int size_w, image *out)
{
    assert(size_h >= 1 && size_w >= 1 && src != out);
    *out = (image){0};
    image current = {0};
    const image *at = src;
    while (at->w >= 2 * size_w && at->h >= 2 * size_h) {
        image half;
        const ddpm_status s = image_resize(at, at->w / 2, at->h / 2, RESIZE_BOX, NULL, &half);
        image_free(&current);
        if (s != DDPM_OK) return s;
        current = half;
        at = &current;
    }
    image cover = {0};
    ddpm_status s = resize_to_cover(at, size_h, size_w, &cover);
    image_free(&current);
    if (s == DDPM_OK) s = crop_centre(&cover, size_h, size_w, out);
    image_free(&cover);
    return s;
}
