/* A folder of PNG and JPEG files, searched through all sub-folders in the order of
 * improved-diffusion: sorted names, a sub-folder where its own name sorts. Hidden
 * names are skipped, links to folders are not followed (they may form circles).
 * Opening reads the headers of a sample of the files only, so that it costs less
 * than a second for sets of any usual size. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "data/dataset_format.h"
#include "io/file.h"

enum { MAX_DEPTH = 32, PROBED = 100 };

static const size_t max_file_bytes = (size_t)1 << 29;

typedef struct {
    char *root;
    char **file;             /* [count], relative to root */
    int64_t count, capacity;
    bool sized, coloured;    /* the caller asked for a size, for channels */
} folder;

static ddpm_status no_memory(void) { return ddpm_fail(DDPM_ENOMEM, "out of memory for the list of a folder's images"); }

static bool is_image_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0);
}

/* Takes `relative` over. */
static ddpm_status folder_add(folder *f, char *relative)
{
    if (f->count == f->capacity) {
        const int64_t capacity = f->capacity ? 2 * f->capacity : 1024;
        char **grown = realloc(f->file, (size_t)capacity * sizeof *grown);
        if (!grown) {
            free(relative);
            return no_memory();
        }
        f->file = grown;
        f->capacity = capacity;
    }
    f->file[f->count++] = relative;
    return DDPM_OK;
}

static ddpm_status folder_scan(folder *f, const char *below, int depth);

/* One name of the folder `below` ("" is the root). */
static ddpm_status folder_entry(folder *f, const char *below, const char *name, int depth)
{
    if (name[0] == '.') return DDPM_OK;
    char *relative = *below ? path_join(below, name) : strdup(name);
    char *path = relative ? path_join(f->root, relative) : NULL;
    struct stat st;
    const bool image_name = is_image_name(name);
    const bool there = path && (image_name ? stat(path, &st) : lstat(path, &st)) == 0;
    free(path);
    if (there && image_name && S_ISREG(st.st_mode)) return folder_add(f, relative);
    ddpm_status s = path ? DDPM_OK : no_memory();
    if (there && S_ISDIR(st.st_mode)) s = folder_scan(f, relative, depth + 1);
    free(relative);
    return s;
}

static ddpm_status folder_scan(folder *f, const char *below, int depth)
{
    char *path = *below ? path_join(f->root, below) : strdup(f->root);
    if (!path) return no_memory();
    char **names = NULL;
    int n = 0;
    ddpm_status s = depth <= MAX_DEPTH ? dir_list(path, &names, &n)
                                       : ddpm_fail(DDPM_EFORMAT, "%s lies more than %d folders deep", path, MAX_DEPTH);
    free(path);
    for (int i = 0; s == DDPM_OK && i < n; i++) s = folder_entry(f, below, names[i], depth);
    dir_list_free(names, n);
    return s;
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
        const bool is_dir = sub && file_is_dir(sub);
        train = train || (is_dir && strcmp(names[i], "train") == 0);
        others = others || (is_dir ? !is_part : is_image_name(names[i]));
        free(sub);
    }
    dir_list_free(names, n);
    *parts = train && !others;
    return DDPM_OK;
}

/* The folder of the part asked for; of "train" when none was named and there are parts. */
static ddpm_status folder_root(const char *path, dataset_part part, char **root)
{
    bool parts = part != PART_ANY;
    if (!parts) DDPM_TRY(has_parts(path, &parts));
    const char *name = part == PART_TEST ? "test" : "train";
    *root = parts ? path_join(path, name) : strdup(path);
    if (!*root) return no_memory();
    if (!parts || file_is_dir(*root)) return DDPM_OK;
    return ddpm_fail(DDPM_EIO, "%s has no sub-folder %s", path, name);
}

/* --- sizes --------------------------------------------------------------------------------- */

typedef struct { int64_t first; int w, h, c; bool grey, alpha; } probed;

static ddpm_status probe_file(const folder *f, int64_t index, int *w, int *h, int *c)
{
    char *path = path_join(f->root, f->file[index]);
    if (!path) return no_memory();
    file_map map = {0};
    ddpm_status s = file_map_open(path, &map);
    if (s == DDPM_OK) {
        s = image_probe(map.data, map.size, w, h, c);
        if (s != DDPM_OK) s = ddpm_context(s, "%s: ", path);
    }
    file_map_close(&map);
    free(path);
    return s;
}

static ddpm_status size_mismatch(const folder *f, int64_t a, int ah, int aw, int64_t b, int bh, int bw)
{
    return ddpm_fail(DDPM_EFORMAT, "%s holds images of different sizes: %s is %dx%d, %s is %dx%d (width x height); "
                     "--image_size N fits all of them to one size", f->root, f->file[a], aw, ah, f->file[b], bw, bh);
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
    const int64_t n = strict || f->count < PROBED ? f->count : PROBED;
    *p = (probed){.first = -1};
    for (int64_t i = 0; i < n; i++) DDPM_TRY(probe_add(f, n == f->count ? i : i * (f->count - 1) / (n - 1), strict, p));
    if (p->first >= 0) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: none of %lld files looked at is a readable PNG or JPEG image, for example %s",
                     f->root, (long long)n, f->file[0]);
}

/* --- the format ------------------------------------------------------------------------------ */

static bool folder_probe(const char *path) { return file_is_dir(path); }

static bool file_probe(const char *path) { return is_image_name(path) && file_exists(path) && !file_is_dir(path); }

/* One image, as a folder of which one file was listed. */
static ddpm_status file_list(folder *f, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = strdup(slash ? slash + 1 : path);
    f->root = !slash ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (name && f->root) return folder_add(f, name);
    free(name);
    return no_memory();
}

static ddpm_status folder_open(dataset *d, dataset_part part, const dataset_options *o)
{
    folder *f = calloc(1, sizeof *f);
    if (!f) return no_memory();
    d->state = f;
    f->sized = o->size_h > 0;
    f->coloured = o->channels > 0;
    if (d->format == &dataset_file) {
        DDPM_TRY(file_list(f, d->path));
    } else {
        DDPM_TRY(folder_root(d->path, part, &f->root));
        DDPM_TRY(folder_scan(f, "", 0));
    }
    if (f->count == 0)
        return ddpm_fail(DDPM_EFORMAT, "%s holds no images: no file in it ends in .png, .jpg or .jpeg", f->root);
    probed p;
    DDPM_TRY(folder_probe_sample(f, o->strict || d->format == &dataset_file, &p));
    d->count = f->count;
    d->h = p.h;
    d->w = p.w;
    d->c = p.alpha ? 4 : p.grey ? 1 : 3;
    return classes_of_files(f->root, (const char *const *)f->file, f->count, o->labels, &d->classes);
}

static ddpm_status decode_path(const char *path, dataset_reader *r, image *out)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    DDPM_TRY(file_read_all(path, max_file_bytes, &bytes, &len));
    ddpm_status s = image_decoder_decode(r->decoder, bytes, len, 0, out);
    free(bytes);
    return s == DDPM_OK ? s : ddpm_context(s, "%s: ", path);
}

/* Only a sample was looked at when the set's shape was decided: catch the others here. */
static ddpm_status check_shape(const dataset *d, const folder *f, int64_t index, const image *im)
{
    if (!f->sized && (im->w != d->w || im->h != d->h))
        return ddpm_fail(DDPM_EFORMAT, "%s/%s is %dx%d, other images are %dx%d (width x height); --image_size N fits all of them "
                         "to one size", f->root, f->file[index], im->w, im->h, d->w, d->h);
    if (!f->coloured && d->c == 1 && im->c >= 3)
        return ddpm_fail(DDPM_EFORMAT, "%s/%s has colours, other images are grey; ask for a number of channels", f->root,
                         f->file[index]);
    return DDPM_OK;
}

static ddpm_status folder_read(const dataset *d, dataset_reader *r, int64_t index, image *out)
{
    const folder *f = d->state;
    char *path = path_join(f->root, f->file[index]);
    if (!path) return no_memory();
    ddpm_status s = decode_path(path, r, out);
    free(path);
    if (s == DDPM_OK) s = check_shape(d, f, index, out);
    if (s != DDPM_OK) image_free(out);
    return s;
}

static const char *folder_item(const dataset *d, int64_t index)
{
    const folder *f = d->state;
    return f->file[index];
}

static void folder_close(dataset *d)
{
    folder *f = d->state;
    if (!f) return;
    for (int64_t i = 0; i < f->count; i++) free(f->file[i]);
    free(f->file);
    free(f->root);
    free(f);
}

const dataset_format dataset_folder = {"folder", folder_probe, folder_open, folder_read, folder_item, folder_close};
const dataset_format dataset_file = {"file", file_probe, folder_open, folder_read, folder_item, folder_close};
