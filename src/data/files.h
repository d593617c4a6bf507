/* files.h - the picture files of a data set, in a folder, in a zip, or a single one; private to data/.
 *
 * Folders are searched through all sub-folders in the order of improved-diffusion: sorted names, a sub-folder
 * where its own name sorts. Hidden names and runs (dataset_is_run) are skipped, links to folders are not followed (they may form circles).
 * The files of a zip, stored or deflated, come in the order of their names; where all lie in one folder, names begin
 * below it. Read-only once opened. */
#ifndef DDPM_DATA_FILES_H
#define DDPM_DATA_FILES_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct files files;

/* DDPM_EIO, DDPM_EFORMAT (a damaged zip, no pictures), DDPM_ENOMEM. */
ddpm_status files_open_folder(const char *root, files **f);
ddpm_status files_open_part(const char *path, const char *part, files **f);     /* of the sub-folder `part`, which is borrowed */
ddpm_status files_open_zip(const char *path, files **f);
ddpm_status files_open_single(const char *path, files **f);
void        files_close(files *f);                         /* NULL ok */

int64_t            files_count(const files *f);
const char *const *files_names(const files *f);            /* [count], relative to the root */
const char        *files_root(const files *f);             /* folder or zip, for sentences */

const char        *files_part(const files *f);             /* name of the part; NULL: not opened as one */
const char        *files_above(const files *f);            /* the folder it lies in; NULL likewise */

/* Picture i whole; the caller frees *bytes. DDPM_EFORMAT: too large, or its place in a zip is damaged. */
ddpm_status files_read(const files *f, int64_t i, uint8_t **bytes, size_t *len);
/* Any other file by its name; *bytes is NULL when there is none. It has a 0 byte behind it. */
ddpm_status files_read_named(const files *f, const char *name, size_t most, uint8_t **bytes, size_t *len);
ddpm_status files_read_above(const files *f, const char *name, size_t most, uint8_t **bytes, size_t *len);

#endif
