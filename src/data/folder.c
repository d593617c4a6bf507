/* A folder or a zip of picture files, or one file. Opening reads a sample of the files only, so that it costs
 * less than a second for sets of any usual size. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset_format.h"
#include "data/files.h"
#include "io/file.h"

enum { PROBED = 100 };

typedef struct {
    files *files;
    bool   sized, coloured;    /* sizes may differ or are checked later; the caller asked for channels */
} folder;

static ddpm_status no_memory(void) { return ddpm_fail(DDPM_ENOMEM, "out of memory for a folder of images"); }

/* "%s/%s: " in front of what is wrong with picture i. */
static ddpm_status about(const folder *f, int64_t i, ddpm_status s)
{
    return s == DDPM_OK ? s : ddpm_context(s, "%s/%s: ", files_root(f->files), files_names(f->files)[i]);
}

/* Whether the folder has a part "train" and its other sub-folders, if any, are parts
 * too: beside "bus" and "car", "train" is a class. */
static ddpm_status has_parts(const char *path, bool *parts)
{
    static const char *const known[] = {"train", "test", "val", "valid", "validation"};
    char **names = NULL;
    int n = 0;
    DDPM_TRY(dir_list(path, &names, &n));
    bool train = false, others = false;
    for (int i = 0; i < n; i++) {
        char *sub = names[i][0] == '.' ? NULL : path_join(path, names[i]);
        bool is_part = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) is_part = is_part || strcmp(names[i], known[k]) == 0;
        const bool is_dir = sub && file_is_dir(sub) && !dataset_is_run(sub);
        train = train || (is_dir && strcmp(names[i], "train") == 0);
        others = others || (is_dir ? !is_part : image_has_ending(names[i]));
        free(sub);
    }
    dir_list_free(names, n);
    *parts = train && !others;
    return DDPM_OK;
}

/* The part asked for; "train" when none was named and there are parts; NULL: the folder as it is. */
static ddpm_status folder_part(const char *path, dataset_part part, const char **name)
{
    bool parts = part != PART_ANY;
    if (!parts) DDPM_TRY(has_parts(path, &parts));
    *name = !parts ? NULL : part == PART_TEST ? "test" : "train";
    if (!parts) return DDPM_OK;
    char *root = path_join(path, *name);
    const ddpm_status s = !root ? no_memory() : file_is_dir(root) ? DDPM_OK : ddpm_fail(DDPM_EIO, "%s has no sub-folder %s", path, *name);
    free(root);
    return s;
}

static ddpm_status list_folder(const char *path, dataset_part part, files **out)
{
    const char *name;
    DDPM_TRY(folder_part(path, part, &name));
    if (name) return files_open_part(path, name, out);
    if (!dataset_is_run(path)) return files_open_folder(path, out);
    return ddpm_fail(DDPM_EINVAL, "%s is a run, and its pictures are samples, not data; name a folder that holds only images", path);
}

/* --- sizes --------------------------------------------------------------------------------- */

typedef struct { int64_t first; int w, h, c; bool grey, alpha; } probed;

static ddpm_status probe_file(const folder *f, int64_t index, int *w, int *h, int *c)
{
    uint8_t *bytes;
    size_t len;
    DDPM_TRY(files_read(f->files, index, &bytes, &len));
    const ddpm_status s = image_probe(bytes, len, w, h, c);
    free(bytes);
    return about(f, index, s);
}

static ddpm_status size_mismatch(const folder *f, int64_t a, int ah, int aw, int64_t b, int bh, int bw)
{
    return ddpm_fail(DDPM_EFORMAT, "%s holds images of different sizes: %s is %dx%d, %s is %dx%d (width x height); "
                     "--image_size N, here or in `ddpm data pack`, fits all of them to one size", files_root(f->files), files_names(f->files)[a], aw, ah, files_names(f->files)[b], bw, bh);
}

/* Adds one file's header to what is known; the first readable one sets the size. */
static ddpm_status probe_add(const folder *f, int64_t index, bool strict, probed *p)
{
    int w = 0, h = 0, c = 0;
    const ddpm_status s = probe_file(f, index, &w, &h, &c);
    if (s == DDPM_EFORMAT && !strict) return DDPM_OK;
    DDPM_TRY(s);
    if (p->first < 0) *p = (probed){.first = index, .w = w, .h = h, .grey = true, .alpha = true};
    if (!f->sized && (w != p->w || h != p->h)) return size_mismatch(f, p->first, p->h, p->w, index, h, w);
    p->grey = p->grey && c <= 2;
    p->alpha = p->alpha && (c == 2 || c == 4);
    return DDPM_OK;
}

/* The first file and others spread evenly; all of them when strict. */
static ddpm_status folder_probe_sample(const folder *f, bool strict, probed *p)
{
    const int64_t count = files_count(f->files), n = strict || count < PROBED ? count : PROBED;
    *p = (probed){.first = -1};
    for (int64_t i = 0; i < n; i++) DDPM_TRY(probe_add(f, n == count ? i : i * (count - 1) / (n - 1), strict, p));
    if (p->first >= 0) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: none of %lld files looked at is a readable picture, for example %s",
                     files_root(f->files), (long long)n, files_names(f->files)[0]);
}

/* --- the format ------------------------------------------------------------------------------ */

static bool folder_probe(const char *path) { return file_is_dir(path); }

static bool file_probe(const char *path) { return image_has_ending(path) && file_exists(path) && !file_is_dir(path); }

static bool zip_probe(const char *path) { return file_has_ending(path, ".zip") && file_exists(path) && !file_is_dir(path); }

static ddpm_status list_files(const dataset *d, dataset_part part, files **out)
{
    if (d->format != &dataset_folder && part != PART_ANY) return ddpm_fail(DDPM_EINVAL, "%s has no parts; leave out :train or :test", d->path);
    if (d->format == &dataset_file) return files_open_single(d->path, out);
    if (d->format == &dataset_zip) return files_open_zip(d->path, out);
    return list_folder(d->path, part, out);
}

static ddpm_status folder_open(dataset *d, dataset_part part, const dataset_options *o)
{
    folder *f = calloc(1, sizeof *f);
    if (!f) return no_memory();
    d->state = f;
    f->sized = o->size_h > 0 || o->crop;
    f->coloured = o->channels > 0;
    DDPM_TRY(list_files(d, part, &f->files));
    probed p;
    DDPM_TRY(folder_probe_sample(f, o->strict || d->format == &dataset_file, &p));
    d->count = files_count(f->files);
    d->h = p.h;
    d->w = p.w;
    d->c = p.alpha ? 4 : p.grey ? 1 : 3;
    return classes_of_files(f->files, o->labels, &d->classes);
}

/* Only a sample was looked at when the set's shape was decided: catch the others here. */
static ddpm_status check_shape(const dataset *d, const folder *f, int64_t index, const image *im)
{
    if (!f->sized && (im->w != d->w || im->h != d->h))
        return ddpm_fail(DDPM_EFORMAT, "%s/%s is %dx%d, other images are %dx%d (width x height); --image_size N, here or in "
                         "`ddpm data pack`, fits all of them to one size", files_root(f->files), files_names(f->files)[index], im->w, im->h, d->w, d->h);
    if (!f->coloured && d->c == 1 && im->c >= 3)
        return ddpm_fail(DDPM_EFORMAT, "%s/%s has colours, other images are grey; ask for a number of channels",
                         files_root(f->files), files_names(f->files)[index]);
    return DDPM_OK;
}

static ddpm_status folder_read(const dataset *d, dataset_reader *r, int64_t index, image *out)
{
    const folder *f = d->state;
    uint8_t *bytes;
    size_t len;
    DDPM_TRY(files_read(f->files, index, &bytes, &len));
    ddpm_status s = about(f, index, image_decoder_decode(r->decoder, bytes, len, 0, out));
    free(bytes);
    if (s == DDPM_OK) s = check_shape(d, f, index, out);
    if (s != DDPM_OK) image_free(out);
    return s;
}

static const char *folder_item(const dataset *d, int64_t index)
{
    const folder *f = d->state;
    return files_names(f->files)[index];
}

static void folder_close(dataset *d)
{
    folder *f = d->state;
    if (f) files_close(f->files);
    free(f);
}

const dataset_format dataset_folder = {"folder", folder_probe, folder_open, folder_read, folder_item, folder_close};
const dataset_format dataset_file = {"file", file_probe, folder_open, folder_read, folder_item, folder_close};
const dataset_format dataset_zip = {"zip", zip_probe, folder_open, folder_read, folder_item, folder_close};
