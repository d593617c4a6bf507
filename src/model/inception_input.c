#include "model/inception_input.h"

#include "model/inception.h"

#include <assert.h>
#include <stddef.h>

enum { SIZE = INCEPTION_SIZE, RGB = 3 };

/* Where an output row or column lies between two of the image: far = 0 on `low`, 1 on `high`. */
typedef struct { int low, high; float far; } place;

static place place_at(float at, int n)
{
    const int low = at < (float)(n - 1) ? (int)at : n - 1;
    return (place){ low, low < n - 1 ? low + 1 : low, at - (float)low };
}

/* PyTorch multiplies and subtracts in one rounding; the product of a float and a half integer is exact in double. */
static void places_half_pixel(int n, place p[SIZE])
{
    const float scale = (float)n / (float)SIZE;
    for (int i = 0; i < SIZE; i++) {
        const float at = (float)((double)scale * (i + 0.5) - 0.5);
        p[i] = place_at(at > 0 ? at : 0, n);
    }
}

static void places_legacy(int n, place p[SIZE])
{
    const float scale = (float)((double)n / SIZE);
    for (int i = 0; i < SIZE; i++) p[i] = place_at((float)i * scale, n);
}

/* x y + z in one rounding to float, whatever the processor: the product is exact in double. */
static float multiply_add(float x, float y, float z) { return (float)((double)x * (double)y + (double)z); }

/* The four neighbours of an output pixel's channel: top left, top right, bottom left, bottom right. */
typedef struct { float v[4]; } corners;

static corners corners_of(const float value[256], const uint8_t *top, const uint8_t *bottom, size_t left, size_t right)
{
    return (corners){ { value[top[left]], value[top[right]], value[bottom[left]], value[bottom[right]] } };
}

/* PyTorch's order of terms and roundings, with the weights of rows times those of columns. */
static float blend_half_pixel(corners q, float dy, float dx)
{
    const float up = 1 - dy, back = 1 - dx;
    float sum = up * dx * q.v[1];
    sum = multiply_add(up * back, q.v[0], sum);
    sum = multiply_add(dy * back, q.v[2], sum);
    return multiply_add(dy * dx, q.v[3], sum);
}

static float blend_legacy(corners q, float dy, float dx)
{
    const float top = q.v[0] + (q.v[1] - q.v[0]) * dx, bottom = q.v[2] + (q.v[3] - q.v[2]) * dx;
    return top + (bottom - top) * dy;
}

void inception_input_make(const uint8_t *image, int h, int w, int c, bool pytorch, float *out)
{
    assert(h >= 1 && w >= 1 && (c == 1 || c == RGB));
    place rows[SIZE], columns[SIZE];
    float value[256];
    for (int i = 0; i < 256; i++) value[i] = pytorch ? (float)i / 255.0f : (float)i;
    (pytorch ? places_half_pixel : places_legacy)(h, rows);
    (pytorch ? places_half_pixel : places_legacy)(w, columns);
    const size_t line = (size_t)w * (size_t)c, green = c == RGB;
    for (int y = 0; y < SIZE; y++) {
        const uint8_t *top = image + (size_t)rows[y].low * line, *bottom = image + (size_t)rows[y].high * line;
        for (int x = 0; x < SIZE; x++) {
            const size_t left = (size_t)columns[x].low * (size_t)c, right = (size_t)columns[x].high * (size_t)c;
            for (size_t ch = 0; ch < RGB; ch++) {
                const corners q = corners_of(value, top, bottom, left + ch * green, right + ch * green);
                *out++ = pytorch ? 2 * blend_half_pixel(q, rows[y].far, columns[x].far) - 1
                                 : (blend_legacy(q, rows[y].far, columns[x].far) - 128) / 128;
            }
        }
    }
}
