#include <assert.h>
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "io/image_format.h"

static const uint8_t signature[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };

bool png_recognise(const uint8_t *bytes, size_t len)
{
    return len >= sizeof signature && memcmp(bytes, signature, sizeof signature) == 0;
}

/* --- the chunk structure, without libpng ------------------------------------- */

typedef struct {
    const uint8_t *type, *data;
    uint32_t len;
} png_chunk_view;

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The chunk at *at; false at the end of the bytes or in the middle of a chunk. */
static bool next_chunk(const uint8_t *bytes, size_t len, size_t *at, png_chunk_view *chunk)
{
    if (len - *at < 12) return false;
    const uint8_t *p = bytes + *at;
    const uint32_t n = big_endian(p);
    if (n > len - *at - 12) return false;
    *chunk = (png_chunk_view){ p + 4, p + 8, n };
    *at += (size_t)n + 12;
    return true;
}

static bool is_sound(const png_chunk_view *chunk)
{
    const size_t covered = (size_t)chunk->len + 4;
    return crc32_z(crc32_z(0, NULL, 0), chunk->type, covered) == big_endian(chunk->type + covered);
}

static bool is_type(const png_chunk_view *chunk, const char *type)
{
    return memcmp(chunk->type, type, 4) == 0;
}

/* Deflate cannot shrink more than 1032 times: a short file that claims a large
 * picture is refused before memory is taken for it. */
static ddpm_status check_claim(uint64_t w, uint64_t h, int bits, size_t len)
{
    DDPM_TRY(image_check_size(w, h));
    const uint64_t raw = (w * (uint64_t)bits + 7) / 8 * h;
    if (raw / 1032 > len)
        return ddpm_fail(DDPM_EFORMAT, "the PNG claims %llu x %llu pixels, which %zu bytes cannot hold",
                         (unsigned long long)w, (unsigned long long)h, len);
    return DDPM_OK;
}

ddpm_status png_probe(const uint8_t *bytes, size_t len, int *w, int *h, int *c)
{
    static const int samples[7] = { 1, 0, 3, 1, 2, 0, 4 }, decoded[7] = { 1, 0, 3, 3, 2, 0, 4 };
    size_t at = sizeof signature;
    png_chunk_view chunk;
    if (!next_chunk(bytes, len, &at, &chunk) || !is_type(&chunk, "IHDR") || chunk.len != 13 || !is_sound(&chunk))
        return ddpm_fail(DDPM_EFORMAT, "the header of the PNG is damaged");
    const uint32_t width = big_endian(chunk.data), height = big_endian(chunk.data + 4);
    const int depth = chunk.data[8], type = chunk.data[9];
    if (type > 6 || samples[type] == 0 || depth == 0 || depth > 16)
        return ddpm_fail(DDPM_EFORMAT, "the PNG has the unknown colour type %d with depth %d", type, depth);
    DDPM_TRY(check_claim(width, height, depth * samples[type], len));
    bool transparent = false;
    while (next_chunk(bytes, len, &at, &chunk) && !is_type(&chunk, "IDAT")) transparent |= is_type(&chunk, "tRNS");
    *w = (int)width;
    *h = (int)height;
    *c = decoded[type] + (transparent && type < 4);
    return DDPM_OK;
}

ddpm_status png_read_text(const void *bytes, size_t len, const char *key, char **value)
{
    *value = NULL;
    if (!png_recognise(bytes, len)) return ddpm_fail(DDPM_EFORMAT, "not a PNG picture");
    const size_t key_len = strlen(key);
    size_t at = sizeof signature;
    png_chunk_view chunk;
    while (next_chunk(bytes, len, &at, &chunk)) {
        if (!is_sound(&chunk)) return ddpm_fail(DDPM_EFORMAT, "the PNG is damaged before byte %zu", at);
        if (is_type(&chunk, "IEND")) return DDPM_OK;
        if (!is_type(&chunk, "tEXt") || chunk.len <= key_len || memcmp(chunk.data, key, key_len + 1) != 0) continue;
        *value = strndup((const char *)chunk.data + key_len + 1, chunk.len - key_len - 1);
        return *value ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the text of a PNG");
    }
    return ddpm_fail(DDPM_EFORMAT, "the PNG is truncated at byte %zu", at);
}

/* --- libpng ------------------------------------------------------------------- */

/* Everything a call into libpng may leave behind when it jumps out. It lives in the
 * caller of the function with setjmp, so that no local is lost by the jump. */
typedef struct {
    png_structp png;
    png_infop info;
    png_bytepp rows;
    const uint8_t *in;             /* reading */
    size_t in_len, in_at;
    uint8_t *out;                  /* writing */
    size_t out_len, out_room;
    int density;                   /* dots in a metre; 0: not said */
    char message[160];
} png_job;

static void on_error(png_structp png, png_const_charp message)
{
    png_job *job = png_get_error_ptr(png);
    strncpy(job->message, message, sizeof job->message - 1);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep bytes, size_t len)
{
    png_job *job = png_get_io_ptr(png);
    if (len > job->in_len - job->in_at) png_error(png, "the file is truncated");
    memcpy(bytes, job->in + job->in_at, len);
    job->in_at += len;
}

static void on_write(png_structp png, png_bytep bytes, size_t len)
{
    png_job *job = png_get_io_ptr(png);
    if (len > job->out_room - job->out_len) {
        const size_t room = 2 * job->out_room + len + 4096;
        uint8_t *grown = realloc(job->out, room);
        if (!grown) png_error(png, "no memory");
        job->out = grown;
        job->out_room = room;
    }
    memcpy(job->out + job->out_len, bytes, len);
    job->out_len += len;
}

static void on_flush(png_structp png)
{
    (void)png;
}

static bool make_rows(png_job *job, const image *im)
{
    job->rows = calloc((size_t)im->h, sizeof *job->rows);
    if (!job->rows) return false;
    for (int y = 0; y < im->h; y++) job->rows[y] = im->data + (size_t)y * (size_t)im->w * (size_t)im->c;
    return true;
}

/* Chunks that may hold compressed or long text are skipped unread; a damaged
 * chunk of any kind is an error, as in Pillow. */
static void set_read_limits(png_structp png)
{
    png_set_user_limits(png, IMAGE_MAX_PIXELS, IMAGE_MAX_PIXELS);
    png_set_chunk_malloc_max(png, 8u << 20);
    png_set_chunk_cache_max(png, 128);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
}

static bool read_header(png_job *job)
{
    if (setjmp(png_jmpbuf(job->png))) return false;
    set_read_limits(job->png);
    png_set_read_fn(job->png, job, on_read);
    png_read_info(job->png, job->info);
    png_set_expand(job->png);
    png_set_strip_16(job->png);
    png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    return true;
}

static bool read_pixels(png_job *job)
{
    if (setjmp(png_jmpbuf(job->png))) return false;
    png_read_image(job->png, job->rows);
    png_read_end(job->png, NULL);
    return true;
}

static ddpm_status fail_png(const png_job *job)
{
    return ddpm_fail(DDPM_EFORMAT, "the PNG is damaged: %s", job->message);
}

static ddpm_status decode_job(png_job *job, image *out)
{
    int w, h, c;
    DDPM_TRY(png_probe(job->in, job->in_len, &w, &h, &c));
    if (!read_header(job)) return fail_png(job);
    c = png_get_channels(job->png, job->info);
    if (png_get_rowbytes(job->png, job->info) != (size_t)w * (size_t)c)
        return ddpm_fail(DDPM_EFORMAT, "the PNG contradicts its own header");
    DDPM_TRY(image_alloc(w, h, c, out));
    if (!make_rows(job, out)) return ddpm_fail(DDPM_ENOMEM, "no memory to read a PNG");
    return read_pixels(job) ? DDPM_OK : fail_png(job);
}

ddpm_status png_decode(const uint8_t *bytes, size_t len, image *out)
{
    png_job job = { .in = bytes, .in_len = len };
    job.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning);
    if (job.png) job.info = png_create_info_struct(job.png);
    const ddpm_status s = job.info ? decode_job(&job, out) : ddpm_fail(DDPM_ENOMEM, "no memory to read a PNG");
    png_destroy_read_struct(&job.png, &job.info, NULL);
    free(job.rows);
    if (s != DDPM_OK) image_free(out);
    return s;
}

/* --- writing ------------------------------------------------------------------- */

static void add_texts(png_job *job, const png_pair *texts, int text_count)
{
    for (int i = 0; i < text_count; i++) {
        png_text text = {
            .compression = PNG_TEXT_COMPRESSION_NONE,
            .key = (png_charp)(uintptr_t)texts[i].key,
            .text = (png_charp)(uintptr_t)texts[i].value,
            .text_length = strlen(texts[i].value)
        };
        png_set_text(job->png, job->info, &text, 1);
    }
}

static bool write_all(png_job *job, const image *im, const png_pair *texts, int text_count)
{
    static const int types[5] = {
        0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGBA
    };
    if (setjmp(png_jmpbuf(job->png))) return false;
    png_set_write_fn(job->png, job, on_write, on_flush);
    png_set_user_limits(job->png, IMAGE_MAX_PIXELS, IMAGE_MAX_PIXELS);
    png_set_IHDR(job->png, job->info, (png_uint_32)im->w, (png_uint_32)im->h, 8, types[im->c], PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (job->density) png_set_pHYs(job->png, job->info, (png_uint_32)job->density, (png_uint_32)job->density, PNG_RESOLUTION_METER);
    add_texts(job, texts, text_count);
    png_write_info(job->png, job->info);
    png_write_image(job->png, job->rows);
    png_write_end(job->png, NULL);
    return true;
}

static ddpm_status encode_job(png_job *job, const image *im, const png_pair *texts, int text_count)
{
    DDPM_TRY(image_check_size((uint64_t)im->w, (uint64_t)im->h));
    for (int i = 0; i < text_count; i++)
        assert(strlen(texts[i].key) >= 1 && strlen(texts[i].key) <= 79 && texts[i].value);
    if (!make_rows(job, im)) return ddpm_fail(DDPM_ENOMEM, "no memory to write a PNG");
    if (!write_all(job, im, texts, text_count)) return ddpm_fail(DDPM_EFAIL, "cannot make a PNG: %s", job->message);
    return DDPM_OK;
}

ddpm_status png_encode_sized(const image *im, int density, const png_pair *texts, int text_count, uint8_t **bytes, size_t *len)
{
    assert(im->data && im->c >= 1 && im->c <= 4);
    *bytes = NULL;
    *len = 0;
    png_job job = { .density = density };
    job.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning);
    if (job.png) job.info = png_create_info_struct(job.png);
    const ddpm_status s = job.info ? encode_job(&job, im, texts, text_count)
                                   : ddpm_fail(DDPM_ENOMEM, "no memory to write a PNG");
    png_destroy_write_struct(&job.png, &job.info);
    free(job.rows);
    if (s != DDPM_OK) {
        free(job.out);
        return s;
    }
    *bytes = job.out;
    *len = job.out_len;
    return DDPM_OK;
}

ddpm_status png_encode(const image *im, const png_pair *texts, int text_count, uint8_t **bytes, size_t *len)
{
    return png_encode_sized(im, 0, texts, text_count, bytes, len);
}
