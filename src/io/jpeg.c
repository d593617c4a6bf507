#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

#include "io/image_format.h"

struct jpeg_decoder { tjhandle tj; };

ddpm_status jpeg_decoder_new(jpeg_decoder **d)
{
    *d = calloc(1, sizeof **d);
    if (*d) (*d)->tj = tjInitDecompress();
    if (*d && (*d)->tj) return DDPM_OK;
    free(*d);
    *d = NULL;
    return ddpm_fail(DDPM_ENOMEM, "no memory for a JPEG decoder");
}

void jpeg_decoder_free(jpeg_decoder *d)
{
    if (!d) return;
    tjDestroy(d->tj);
    free(d);
}

bool jpeg_recognise(const uint8_t *bytes, size_t len)
{
    return len >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff;
}

static bool is_frame_marker(uint8_t m)
{
    return m >= 0xc0 && m <= 0xcf && m != 0xc4 && m != 0xc8 && m != 0xcc;
}

/* The frame header (its marker byte and what follows): the size is wanted before
 * the library sees the file, and for subsamplings whose header it will not report.
 * NULL: there is none before the first scan. */
static const uint8_t *find_frame(const uint8_t *bytes, size_t len)
{
    size_t at = 2;
    while (at < len && len - at >= 4) {
        if (bytes[at] != 0xff) return NULL;
        const uint8_t marker = bytes[at + 1];
        if (marker == 0xff) {
            at++;
            continue;
        }
        const size_t size = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (marker == 0xda || size < 2 || size > len - at - 2) return NULL;
        if (is_frame_marker(marker)) return size >= 8 ? bytes + at + 1 : NULL;
        at += 2 + size;
    }
    return NULL;
}

/* Huffman coding spends at least one bit on each 8x8 block of the largest
 * component, so a short file cannot hold a large picture. Arithmetic coding
 * (markers from 0xc9) has no such bound. */
static ddpm_status check_claim(uint8_t marker, uint64_t w, uint64_t h, size_t len)
{
    DDPM_TRY(image_check_size(w, h));
    if (marker < 0xc9 && (w + 7) / 8 * ((h + 7) / 8) / 8 > len)
        return ddpm_fail(DDPM_EFORMAT, "the JPEG claims %llu x %llu pixels, which %zu bytes cannot hold",
                         (unsigned long long)w, (unsigned long long)h, len);
    return DDPM_OK;
}

static ddpm_status read_frame(const uint8_t *bytes, size_t len, int *w, int *h, int *components)
{
    const uint8_t *f = find_frame(bytes, len);
    if (!f) return ddpm_fail(DDPM_EFORMAT, "the JPEG is damaged or truncated: it has no frame header");
    *h = f[4] << 8 | f[5];
    *w = f[6] << 8 | f[7];
    *components = f[8];
    if (*components != 1 && *components != 3 && *components != 4)
        return ddpm_fail(DDPM_EFORMAT, "the JPEG has %d components; 1, 3 or 4 can be read", *components);
    return check_claim(f[0], (uint64_t)*w, (uint64_t)*h, len);
}

ddpm_status jpeg_probe(const uint8_t *bytes, size_t len, int *w, int *h, int *c)
{
    DDPM_TRY(read_frame(bytes, len, w, h, c));
    if (*c == 4) *c = 3;
    return DDPM_OK;
}

static uint8_t mul_div_255(unsigned a, unsigned b)
{
    const unsigned t = a * b + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

/* Adobe writes inverted CMYK, and Pillow takes every four-component JPEG for one of
 * Adobe's. In the inverted values: colour = k - (255 - ink) k / 255, rounded. */
static void cmyk_to_rgb(const image *in, image *out)
{
    const size_t n = (size_t)in->w * (size_t)in->h;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = in->data + 4 * i;
        for (int k = 0; k < 3; k++) {
            const int v = p[3] - mul_div_255(255u - p[k], p[3]);
            out->data[3 * i + (size_t)k] = (uint8_t)(v < 0 ? 0 : v);
        }
    }
}

static int decompress(jpeg_decoder *d, const uint8_t *bytes, size_t len, image *out, int flags)
{
    static const int formats[5] = { -1, TJPF_GRAY, -1, TJPF_RGB, TJPF_CMYK };
    return tjDecompress2(d->tj, bytes, (unsigned long)len, out->data, out->w, 0, out->h, formats[out->c],
                         TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS | flags);
}

static bool only_stray_bytes(jpeg_decoder *d)
{
    return tjGetErrorCode(d->tj) == TJERR_WARNING && strstr(tjGetErrorStr2(d->tj), "extraneous bytes") != NULL;
}

/* Stray bytes between markers harm nothing and occur in published data sets; every
 * other warning means pixels made up by the library, that is, a damaged file. */
static ddpm_status decode_into(jpeg_decoder *d, const uint8_t *bytes, size_t len, image *out)
{
    if (decompress(d, bytes, len, out, TJFLAG_STOPONWARNING) == 0) return DDPM_OK;
    if (only_stray_bytes(d) && (decompress(d, bytes, len, out, 0) == 0 || only_stray_bytes(d))) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "the JPEG is damaged: %s", tjGetErrorStr2(d->tj));
}

ddpm_status jpeg_decode(jpeg_decoder *d, const uint8_t *bytes, size_t len, image *out)
{
    int w, h, components;
    DDPM_TRY(read_frame(bytes, len, &w, &h, &components));
    DDPM_TRY(image_alloc(w, h, components, out));
    ddpm_status s = decode_into(d, bytes, len, out);
    image rgb;
    if (s == DDPM_OK && components == 4 && (s = image_alloc(w, h, 3, &rgb)) == DDPM_OK) {
        cmyk_to_rgb(out, &rgb);
        image_free(out);
        *out = rgb;
    }
    if (s != DDPM_OK) image_free(out);
    return s;
}
