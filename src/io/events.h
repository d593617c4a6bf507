/* events.h - TensorBoard event files: a run's numbers and pictures over its steps.
 *
 * A file is a list of records: length (8 bytes), its checksum, the bytes, their checksum;
 * the bytes are one Event message in protocol-buffer encoding (tensorflow's event.proto and
 * summary.proto, of which this uses few fields). Every process that writes for a run
 * has a file of its own, as TensorBoard expects; it joins the files of a folder. Records
 * are appended whole, without fsync: what a crash cuts short TensorBoard leaves out. */
#ifndef DDPM_IO_EVENTS_H
#define DDPM_IO_EVENTS_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct events events;

/* A new file in `dir`, which is made if need be. `step`: where this process goes on; TensorBoard
 * then forgets what earlier files say of that step and later ones. DDPM_EIO, DDPM_ENOMEM. */
ddpm_status events_open(const char *dir, int64_t step, events **e);
void        events_close(events *e);         /* NULL ok */

/* Tags are UTF-8; a slash groups them in TensorBoard. */
typedef struct { const char *tag; double value; } events_scalar;
ddpm_status events_scalars(events *e, int64_t step, const events_scalar *scalars, int count);

typedef struct { int w, h, c; const void *png; size_t len; } events_png;      /* c: 1 grey, 3 RGB, 4 RGBA */
ddpm_status events_image(events *e, int64_t step, const char *tag, const events_png *image);

#endif
