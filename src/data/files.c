#include "data/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/dataset_format.h"
#include "io/file.h"
#include "io/torch_zip.h"

enum { MAX_DEPTH = 32 };

static const size_t max_file_bytes = (size_t)1 << 29;

struct files {
    char     *root;
    char     *above;         /* of a part, the folder it lies in */
    const char *part;        /* its name */
    char    **name;          /* [count] */
    int64_t   count, capacity;
    bool      zipped;
    char     *inside;        /* of a zip: what its names begin with and ours do not */
    file_map  map;           /* of a zip */
    torch_zip zip;
};

static ddpm_status no_memory(void) { return ddpm_fail(DDPM_ENOMEM, "out of memory for the list of a data set's images"); }

static bool has_entry(const char *folder, const char *name)
{
    char *path = path_join(folder, name);
    const bool there = path && file_exists(path);
    free(path);
    return there;
}

bool dataset_is_run(const char *path) { return has_entry(path, "config.json") && (has_entry(path, "log.jsonl") || has_entry(path, "checkpoints")); }

/* --- listing --------------------------------------------------------------------------------- */

/* Takes `relative` over. */
static ddpm_status add(files *f, char *relative)
{
    if (f->count == f->capacity) {
        const int64_t capacity = f->capacity ? 2 * f->capacity : 1024;
        char **grown = realloc(f->name, (size_t)capacity * sizeof *grown);
        if (!grown) {
            free(relative);
            return no_memory();
        }
        f->name = grown;
        f->capacity = capacity;
    }
    f->name[f->count++] = relative;
    return DDPM_OK;
}

static ddpm_status scan(files *f, const char *below, int depth);

/* One name of the folder `below` ("" is the root). */
static ddpm_status scan_entry(files *f, const char *below, const char *name, int depth)
{
    if (name[0] == '.') return DDPM_OK;
    char *relative = *below ? path_join(below, name) : strdup(name);
    char *path = relative ? path_join(f->root, relative) : NULL;
    struct stat st;
    const bool image_name = image_has_ending(name);
    const bool there = path && (image_name ? stat(path, &st) : lstat(path, &st)) == 0;
    const bool folder = there && S_ISDIR(st.st_mode) && !dataset_is_run(path);
    free(path);
    if (there && image_name && S_ISREG(st.st_mode)) return add(f, relative);
    ddpm_status s = path ? DDPM_OK : no_memory();
    if (folder) s = scan(f, relative, depth + 1);
    free(relative);
    return s;
}

static ddpm_status scan(files *f, const char *below, int depth)
{
    char *path = *below ? path_join(f->root, below) : strdup(f->root);
    if (!path) return no_memory();
    char **names = NULL;
    int n = 0;
    ddpm_status s = depth <= MAX_DEPTH ? dir_list(path, &names, &n)
                                       : ddpm_fail(DDPM_EFORMAT, "%s lies more than %d folders deep", path, MAX_DEPTH);
    free(path);
    for (int i = 0; s == DDPM_OK && i < n; i++) s = scan_entry(f, below, names[i], depth);
    dir_list_free(names, n);
    return s;
}

static ddpm_status list_folder(files *f) { return scan(f, "", 0); }

static ddpm_status list_single(files *f)
{
    char *slash = strrchr(f->root, '/');
    char *name = strdup(slash ? slash + 1 : f->root);
    if (!name) return no_memory();
    DDPM_TRY(add(f, name));
    if (slash) slash[slash == f->root] = 0;
    else memcpy(f->root, ".", sizeof ".");
    return DDPM_OK;
}

static bool is_hidden(const char *name) { return name[0] == '.' || strstr(name, "/.") != NULL; }

/* The one folder that everything in the zip lies in, with its slash; "" when there is none. NULL: no memory. */
static char *outer_folder(const torch_zip *zip)
{
    static const char macos[] = "__MACOSX/";         /* which macOS adds beside it */
    const char *first = "";
    size_t len = 0;
    for (size_t i = 0; i < zip->count; i++) {
        const zip_entry *e = &zip->entries[i];
        if (e->name[0] == '.' || (e->name_len >= sizeof macos - 1 && !memcmp(e->name, macos, sizeof macos - 1))) continue;
        const char *slash = memchr(e->name, '/', e->name_len);
        const size_t n = slash ? (size_t)(slash - e->name) + 1 : 0;
        if (!n || (len && (n != len || memcmp(e->name, first, n) != 0))) return strdup("");
        first = e->name;
        len = n;
    }
    return strndup(first, len);
}

static ddpm_status list_zip(files *f)
{
    f->zipped = true;
    DDPM_TRY(file_map_open(f->root, &f->map));
    DDPM_TRY(torch_zip_open_deflated(f->map.data, f->map.size, f->root, &f->zip));
    f->inside = outer_folder(&f->zip);
    if (!f->inside) return no_memory();
    const size_t skip = strlen(f->inside);
    for (size_t i = 0; i < f->zip.count; i++) {
        const zip_entry *e = &f->zip.entries[i];
        if (e->name_len < skip || memcmp(e->name, f->inside, skip) != 0) continue;
        char *name = strndup(e->name + skip, e->name_len - skip);
        if (!name) return no_memory();
        if (image_has_ending(name) && !is_hidden(name)) DDPM_TRY(add(f, name));
        else free(name);
    }
    return DDPM_OK;
}

static ddpm_status open_listed(const char *path, ddpm_status (*list)(files *f), files **out)
{
    *out = NULL;
    files *f = calloc(1, sizeof *f);
    if (f) f->root = strdup(path);
    ddpm_status s = f && f->root ? list(f) : no_memory();
    if (s == DDPM_OK && f->count == 0)
        s = ddpm_fail(DDPM_EFORMAT, "%s holds no images: no file in it ends in .png, .jpg, .jpeg, .webp, .gif, .ppm or .pgm", f->root);
    if (s == DDPM_OK) *out = f;
    else files_close(f);
    return s;
}

ddpm_status files_open_folder(const char *root, files **f) { return open_listed(root, list_folder, f); }

ddpm_status files_open_part(const char *path, const char *part, files **f)
{
    *f = NULL;
    char *root = path_join(path, part), *above = strdup(path);
    const ddpm_status s = root && above ? files_open_folder(root, f) : no_memory();
    free(root);
    if (s == DDPM_OK) {
        (*f)->above = above;
        (*f)->part = part;
    } else free(above);
    return s;
}

ddpm_status files_open_zip(const char *path, files **f)    { return open_listed(path, list_zip, f); }
ddpm_status files_open_single(const char *path, files **f) { return open_listed(path, list_single, f); }

void files_close(files *f)
{
    if (!f) return;
    for (int64_t i = 0; i < f->count; i++) free(f->name[i]);
    free(f->name);
    free(f->inside);
    free(f->above);
    free(f->root);
    torch_zip_close(&f->zip);
    file_map_close(&f->map);
    free(f);
}

int64_t            files_count(const files *f) { return f->count; }
const char *const *files_names(const files *f) { return (const char *const *)f->name; }
const char        *files_root(const files *f)  { return f->root; }
const char        *files_part(const files *f)  { return f->part; }
const char        *files_above(const files *f) { return f->above; }

/* --- reading --------------------------------------------------------------------------------- */

static ddpm_status read_zipped(const files *f, const char *name, size_t most, uint8_t **bytes, size_t *len)
{
    char *full;
    if (asprintf(&full, "%s%s", f->inside, name) < 0) return no_memory();
    const zip_entry *e = torch_zip_find(&f->zip, full);
    free(full);
    if (!e) return DDPM_OK;
    if (e->size > most) return ddpm_fail(DDPM_EFORMAT, "%s: %s has %zu bytes; at most %zu are read", f->root, name, e->size, most);
    *len = e->size;
    return torch_zip_read(&f->zip, e, bytes);
}

static ddpm_status read_file(const char *folder, const char *name, size_t most, bool optional, uint8_t **bytes, size_t *len)
{
    char *path = path_join(folder, name);
    if (!path) return no_memory();
    const ddpm_status s = optional && !file_exists(path) ? DDPM_OK : file_read_all(path, most, bytes, len);
    free(path);
    return s;
}

ddpm_status files_read(const files *f, int64_t i, uint8_t **bytes, size_t *len)
{
    *bytes = NULL;
    return f->zipped ? read_zipped(f, f->name[i], max_file_bytes, bytes, len) : read_file(f->root, f->name[i], max_file_bytes, false, bytes, len);
}

ddpm_status files_read_named(const files *f, const char *name, size_t most, uint8_t **bytes, size_t *len)
{
    *bytes = NULL;
    return f->zipped ? read_zipped(f, name, most, bytes, len) : read_file(f->root, name, most, true, bytes, len);
}

ddpm_status files_read_above(const files *f, const char *name, size_t most, uint8_t **bytes, size_t *len)
{
    *bytes = NULL;
    return read_file(f->above, name, most, true, bytes, len);
}
