#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/image_format.h"

/* A header, and where the samples begin. */
typedef struct { int w, h, c, most; size_t at; } pnm_head;

static bool is_space(uint8_t b) { return b == ' ' || (b >= '\t' && b <= '\r'); }

bool pnm_recognise(const uint8_t *bytes, size_t len) { return len >= 3 && bytes[0] == 'P' && (bytes[1] == '5' || bytes[1] == '6') && is_space(bytes[2]); }

/* The next number of the header; comments run to the end of their line. -1: there is none, or a too large one. */
static int read_number(const uint8_t *bytes, size_t len, size_t *at)
{
    enum { MOST = 100000000 };
    bool comment = false;
    for (; *at < len && (comment || is_space(bytes[*at]) || bytes[*at] == '#'); ++*at) comment = bytes[*at] == '#' || (comment && bytes[*at] != '\n');
    int value = *at < len && bytes[*at] >= '0' && bytes[*at] <= '9' ? 0 : -1;
    for (; *at < len && bytes[*at] >= '0' && bytes[*at] <= '9'; ++*at) {
        value = 10 * value + (bytes[*at] - '0');
        if (value > MOST) return -1;
    }
    return value;
}

static ddpm_status read_head(const uint8_t *bytes, size_t len, pnm_head *p)
{
    size_t at = 2;
    const int w = read_number(bytes, len, &at), h = read_number(bytes, len, &at), most = read_number(bytes, len, &at);
    if (w < 0 || h < 0 || most < 1 || most > 65535 || at >= len || !is_space(bytes[at]))
        return ddpm_fail(DDPM_EFORMAT, "a PPM or PGM picture without a proper header");
    DDPM_TRY(image_check_size((uint64_t)w, (uint64_t)h));
    *p = (pnm_head){ w, h, bytes[1] == '6' ? 3 : 1, most, at + 1 };
    return DDPM_OK;
}

ddpm_status pnm_probe(const uint8_t *bytes, size_t len, int *w, int *h, int *c)
{
    pnm_head p = { 0 };
    DDPM_TRY(read_head(bytes, len, &p));
    *w = p.w;
    *h = p.h;
    *c = p.c;
    return DDPM_OK;
}

/* To 0..255, halves to even; samples above the stated most count as it. */
static uint8_t scale(int sample, int most) { return sample >= most ? 255 : (uint8_t)rint((double)sample / most * 255); }

ddpm_status pnm_decode(const uint8_t *bytes, size_t len, image *out)
{
    pnm_head p = { 0 };
    DDPM_TRY(read_head(bytes, len, &p));
    const size_t n = (size_t)p.w * (size_t)p.h * (size_t)p.c, wide = p.most > 255 ? 2 : 1;
    if ((len - p.at) / wide < n) return ddpm_fail(DDPM_EFORMAT, "a PPM or PGM picture that is cut short: %zu of %zu bytes", len - p.at, n * wide);
    DDPM_TRY(image_alloc(p.w, p.h, p.c, out));
    const uint8_t *from = bytes + p.at;
    if (p.most == 255) memcpy(out->data, from, n);
    else if (wide == 1) for (size_t i = 0; i < n; i++) out->data[i] = scale(from[i], p.most);
    else for (size_t i = 0; i < n; i++) out->data[i] = scale(from[2 * i] << 8 | from[2 * i + 1], p.most);
    return DDPM_OK;
}
