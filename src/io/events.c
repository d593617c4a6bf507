#include "io/events.h"

#include "io/crc32c.h"
#include "io/file.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

/* Numbers of the fields used, from tensorflow's event.proto and summary.proto. */
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5, EVENT_SESSION_LOG = 7 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, VALUE_IMAGE = 4 };
enum { IMAGE_HEIGHT = 1, IMAGE_WIDTH = 2, IMAGE_COLORSPACE = 3, IMAGE_ENCODED = 4 };
enum { SESSION_STATUS = 1, SESSION_START = 1 };

struct events { char path[PATH_SIZE]; };

/* A message being built. Memory that runs out is remembered; `append` reports it. */
typedef struct { FILE *f; char *bytes; size_t len; bool failed; } message;

static void message_begin(message *m)
{
    *m = (message){ 0 };
    m->f = open_memstream(&m->bytes, &m->len);
    m->failed = !m->f;
}

static void message_end(message *m)
{
    if (!m->f) return;
    const bool unwritten = ferror(m->f) != 0, unclosed = fclose(m->f) != 0;
    m->failed = m->failed || unwritten || unclosed;
}

static void put_varint(message *m, uint64_t x)
{
    if (!m->f) return;
    for (; x >= 0x80; x >>= 7) fputc((int)(x & 0x7f) | 0x80, m->f);
    fputc((int)x, m->f);
}

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void put_key(message *m, int field, int wire) { put_varint(m, (uint64_t)(field << 3 | wire)); }

static void put_integer(message *m, int field, uint64_t x)
{
    put_key(m, field, WIRE_VARINT);
    put_varint(m, x);
}

static void put_raw(message *m, const void *bytes, size_t len)
{
    if (m->f && len) fwrite(bytes, 1, len, m->f);
}

/* Both sides of the file format are little-endian, and so is every machine this is built for. */
static void put_double(message *m, int field, double x)
{
    put_key(m, field, WIRE_64);
    put_raw(m, &x, sizeof x);
}

static void put_float(message *m, int field, float x)
{
    put_key(m, field, WIRE_32);
    put_raw(m, &x, sizeof x);
}

static void put_bytes(message *m, int field, const void *bytes, size_t len)
{
    put_key(m, field, WIRE_BYTES);
    put_varint(m, len);
    put_raw(m, bytes, len);
}

/* Ends `inner`, which becomes a field of `outer`. */
static void put_message(message *outer, int field, message *inner)
{
    message_end(inner);
    if (!inner->failed) put_bytes(outer, field, inner->bytes, inner->len);
    outer->failed |= inner->failed;
    free(inner->bytes);
}

/* Checksums are rotated and shifted by a constant, so that a file of files stays checkable. */
static uint32_t masked_crc(const void *data, size_t len)
{
    const uint32_t crc = crc32c(0, data, len);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* Ends `event` and appends it as one record. */
static ddpm_status append(const events *e, message *event)
{
    message record;
    message_end(event);
    message_begin(&record);
    if (!event->failed) {
        const uint64_t len = event->len;
        const uint32_t len_crc = masked_crc(&len, sizeof len), crc = masked_crc(event->bytes, event->len);
        put_raw(&record, &len, sizeof len);
        put_raw(&record, &len_crc, sizeof len_crc);
        put_raw(&record, event->bytes, event->len);
        put_raw(&record, &crc, sizeof crc);
    }
    message_end(&record);
    const bool failed = event->failed || record.failed;
    const ddpm_status status = failed ? ddpm_fail(DDPM_ENOMEM, "no memory for a TensorBoard event") : file_append(e->path, record.bytes, record.len);
    free(event->bytes);
    free(record.bytes);
    return status;
}

static void event_begin(message *event, int64_t step)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    message_begin(event);
    put_double(event, EVENT_WALL_TIME, (double)t.tv_sec + 1e-9 * (double)t.tv_nsec);
    put_integer(event, EVENT_STEP, (uint64_t)step);
}

static ddpm_status write_head(const events *e, int64_t step)
{
    static const char version[] = "brain.Event:2";
    message event, session;
    event_begin(&event, 0);
    put_bytes(&event, EVENT_FILE_VERSION, version, sizeof version - 1);
    DDPM_TRY(append(e, &event));
    message_begin(&session);
    put_integer(&session, SESSION_STATUS, SESSION_START);
    event_begin(&event, step);
    put_message(&event, EVENT_SESSION_LOG, &session);
    return append(e, &event);
}

ddpm_status events_open(const char *dir, int64_t step, events **out)
{
    *out = NULL;
    DDPM_TRY(dir_make(dir));
    events *e = calloc(1, sizeof *e);
    if (!e) return ddpm_fail(DDPM_ENOMEM, "no memory for the TensorBoard log");
    snprintf(e->path, sizeof e->path, "%s/events.out.tfevents.%010lld.%ld", dir, (long long)time(NULL), (long)getpid());
    const ddpm_status status = write_head(e, step);
    if (status == DDPM_OK) *out = e;
    else events_close(e);
    return status;
}

void events_close(events *e) { free(e); }

/* Ends `summary` and appends it as what happened at `step`. */
static ddpm_status append_summary(const events *e, int64_t step, message *summary)
{
    message event;
    event_begin(&event, step);
    put_message(&event, EVENT_SUMMARY, summary);
    return append(e, &event);
}

static void value_begin(message *value, const char *tag)
{
    message_begin(value);
    put_bytes(value, VALUE_TAG, tag, strlen(tag));
}

ddpm_status events_scalars(events *e, int64_t step, const events_scalar *scalars, int count)
{
    message summary, value;
    message_begin(&summary);
    for (int i = 0; i < count; i++) {
        value_begin(&value, scalars[i].tag);
        put_float(&value, VALUE_SIMPLE, (float)scalars[i].value);
        put_message(&summary, SUMMARY_VALUE, &value);
    }
    return append_summary(e, step, &summary);
}

ddpm_status events_image(events *e, int64_t step, const char *tag, const events_png *im)
{
    message summary, value, image;
    message_begin(&image);
    put_integer(&image, IMAGE_HEIGHT, (uint64_t)im->h);
    put_integer(&image, IMAGE_WIDTH, (uint64_t)im->w);
    put_integer(&image, IMAGE_COLORSPACE, (uint64_t)im->c);
    put_bytes(&image, IMAGE_ENCODED, im->png, im->len);
    value_begin(&value, tag);
    put_message(&value, VALUE_IMAGE, &image);
    message_begin(&summary);
    put_message(&summary, SUMMARY_VALUE, &value);
    return append_summary(e, step, &summary);
}
