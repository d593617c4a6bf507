#include <string.h>
#include <webp/decode.h>

#include "io/image_format.h"

bool webp_recognise(const uint8_t *bytes, size_t len) { return len >= 12 && !memcmp(bytes, "RIFF", 4) && !memcmp(bytes + 8, "WEBP", 4); }

ddpm_status webp_probe(const uint8_t *bytes, size_t len, int *w, int *h, int *c)
{
    WebPBitstreamFeatures f;
    if (WebPGetFeatures(bytes, len, &f) != VP8_STATUS_OK) return ddpm_fail(DDPM_EFORMAT, "a damaged or truncated WebP picture");
    if (f.has_animation) return ddpm_fail(DDPM_EFORMAT, "an animated WebP picture; only still ones are read");
    *w = f.width;
    *h = f.height;
    *c = f.has_alpha ? 4 : 3;
    return image_check_size((uint64_t)*w, (uint64_t)*h);
}

ddpm_status webp_decode(const uint8_t *bytes, size_t len, image *out)
{
    int w = 0, h = 0, c = 3;
    DDPM_TRY(webp_probe(bytes, len, &w, &h, &c));
    DDPM_TRY(image_alloc(w, h, c, out));
    const size_t size = (size_t)w * (size_t)h * (size_t)c;
    const uint8_t *ok = (c == 4 ? WebPDecodeRGBAInto : WebPDecodeRGBInto)(bytes, len, out->data, size, w * c);
    if (ok) return DDPM_OK;
    image_free(out);
    return ddpm_fail(DDPM_EFORMAT, "a damaged or truncated WebP picture");
}
