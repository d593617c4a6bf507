#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/file_parts.h"

/* Deeper than any run or pipeline folder; bounds recursion and open descriptors. */
enum { TREE_MAX_DEPTH = 32 };

/* --- making and listing ------------------------------------------------------ */

ddpm_status file_check_target(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];
    if (file_is_dir(path)) return ddpm_fail(DDPM_EINVAL, "-o %s is a folder; give the name of a file", path);
    if (!slash) snprintf(folder, sizeof folder, ".");
    else snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    if (!file_exists(folder)) return ddpm_fail(DDPM_EIO, "cannot write %s: there is no folder %s; `mkdir -p %s` makes it", path, folder, folder);
    return access(folder, W_OK) == 0 ? DDPM_OK : file_fail("cannot write into", folder);
}

ddpm_status dir_make_new(const char *path, int *made)
{
    char *part = strdup(path);
    *made = 0;
    if (!part) return ddpm_fail(DDPM_ENOMEM, "no memory to make folder %s", path);
    ddpm_status s = DDPM_OK;
    for (char *p = part + 1; s == DDPM_OK && p[-1] != 0; p++) {
        if (*p != '/' && *p != 0) continue;
        const char saved = *p;
        *p = 0;
        if (mkdir(part, 0755) == 0) ++*made;
        else if (!file_is_dir(part)) s = file_fail("cannot make folder", part);
        if (s == DDPM_OK) *p = saved;
        else if (*made) dir_unmake(dirname(part), *made);
    }
    free(part);
    return s;
}

void dir_unmake(const char *path, int made)
{
    char *part = strdup(path);
    for (char *p = part; p && made > 0 && rmdir(p) == 0; made--) p = dirname(p);
    free(part);
}

ddpm_status dir_make(const char *path)
{
    int made;
    return dir_make_new(path, &made);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static ddpm_status list_entries(DIR *d, const char *path, char ***names, int *count)
{
    int room = 0;
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e) return errno ? file_fail("cannot list", path) : DDPM_OK;
        if (is_dots(e->d_name)) continue;
        if (*count == room) {
            room = room ? 2 * room : 64;
            char **grown = reallocarray(*names, (size_t)room, sizeof **names);
            if (!grown) break;
            *names = grown;
        }
        if (!((*names)[*count] = strdup(e->d_name))) break;
        ++*count;
    }
    return ddpm_fail(DDPM_ENOMEM, "no memory to list %s", path);
}

ddpm_status dir_list(const char *path, char ***names, int *count)
{
    *names = NULL;
    *count = 0;
    DIR *d = opendir(path);
    if (!d) return file_fail("cannot open folder", path);
    const ddpm_status s = list_entries(d, path, names, count);
    closedir(d);
    if (s != DDPM_OK) {
        dir_list_free(*names, *count);
        *names = NULL;
        *count = 0;
        return s;
    }
    if (*count > 1) qsort(*names, (size_t)*count, sizeof **names, compare_names);
    return DDPM_OK;
}

void dir_list_free(char **names, int count)
{
    for (int i = 0; i < count; i++) free(names[i]);
    free(names);
}

/* --- whole trees -------------------------------------------------------------- */

/* What tree_walk does with a thing that is not a folder, and with a folder after
 * its contents. `dir` is the open parent, `fd` the folder itself. */
typedef struct {
    ddpm_status (*leaf)(int dir, const char *name);
    ddpm_status (*folder)(int dir, const char *name, int fd);
} tree_actions;

static ddpm_status tree_walk(int dir, const char *name, const tree_actions *act, int depth);

static ddpm_status walk_entries(DIR *d, const char *name, const tree_actions *act, int depth)
{
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e) return errno ? file_fail("cannot list", name) : DDPM_OK;
        if (!is_dots(e->d_name)) DDPM_TRY(tree_walk(dirfd(d), e->d_name, act, depth + 1));
    }
}

/* Every step is relative to an open descriptor and refuses links, so that nobody
 * who swaps a folder for a link meanwhile can lead it outside. */
static ddpm_status tree_walk(int dir, const char *name, const tree_actions *act, int depth)
{
    if (depth > TREE_MAX_DEPTH) return ddpm_fail(DDPM_EIO, "folders are nested too deep at %s", name);
    const int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) return act->leaf(dir, name);
    if (fd < 0) return file_fail("cannot open folder", name);
    DIR *d = fdopendir(fd);
    if (!d) {
        const ddpm_status s = file_fail("cannot list", name);
        close(fd);
        return s;
    }
    ddpm_status s = walk_entries(d, name, act, depth);
    if (s == DDPM_OK) s = act->folder(dir, name, fd);
    closedir(d);
    return s;
}

/* Some file systems cannot sync a folder and say EINVAL; their renames are then as
 * durable as they get. */
static ddpm_status sync_folder_fd(int fd, const char *name)
{
    while (fsync(fd) != 0) {
        if (errno == EINVAL) return DDPM_OK;
        if (errno != EINTR) return file_fail("cannot make durable", name);
    }
    return DDPM_OK;
}

static ddpm_status sync_leaf(int dir, const char *name)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return file_fail("cannot examine", name);
    if (!S_ISREG(st.st_mode)) return DDPM_OK;
    const int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return file_fail("cannot open", name);
    const ddpm_status s = file_sync_fd(fd, name);
    close(fd);
    return s;
}

static ddpm_status sync_folder(int dir, const char *name, int fd)
{
    (void)dir;
    return sync_folder_fd(fd, name);
}

static ddpm_status remove_leaf(int dir, const char *name)
{
    if (unlinkat(dir, name, 0) != 0 && errno != ENOENT) return file_fail("cannot remove", name);
    return DDPM_OK;
}

static ddpm_status remove_folder(int dir, const char *name, int fd)
{
    (void)fd;
    if (unlinkat(dir, name, AT_REMOVEDIR) != 0 && errno != ENOENT) return file_fail("cannot remove folder", name);
    return DDPM_OK;
}

ddpm_status dir_sync_parent(const char *path)
{
    char *parent = file_parent(path);
    if (!parent) return ddpm_fail(DDPM_ENOMEM, "no memory to make %s durable", path);
    const int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ddpm_status s;
    if (fd < 0) {
        s = file_fail("cannot open folder", parent);
    } else {
        s = sync_folder_fd(fd, parent);
        close(fd);
    }
    free(parent);
    return s;
}

ddpm_status dir_publish(const char *tmp_dir, const char *final_dir)
{
    const tree_actions sync = { sync_leaf, sync_folder };
    DDPM_TRY(tree_walk(AT_FDCWD, tmp_dir, &sync, 0));
    if (rename(tmp_dir, final_dir) != 0) return file_fail("cannot rename the finished folder to", final_dir);
    return dir_sync_parent(final_dir);
}

ddpm_status dir_remove_tree(const char *parent, const char *name)
{
    if (name[0] == 0 || strchr(name, '/') || is_dots(name))
        return ddpm_fail(DDPM_EINVAL, "\"%s\" is not the name of something in %s; nothing was removed", name, parent);
    const int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return file_fail("cannot open folder", parent);
    const tree_actions removal = { remove_leaf, remove_folder };
    struct stat st;
    ddpm_status s = DDPM_OK;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) s = tree_walk(dir, name, &removal, 0);
    else if (errno != ENOENT) s = file_fail("cannot examine", name);
    close(dir);
    return s == DDPM_OK ? s : ddpm_context(s, "removing %s/%s: ", parent, name);
}

/* --- room on the disk ----------------------------------------------------------- */

ddpm_status dir_free_bytes(const char *path, uint64_t *bytes)
{
    struct statvfs v;
    if (statvfs(path, &v) != 0) return file_fail("cannot examine the file system of", path);
    *bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return DDPM_OK;
}

ddpm_status dir_need_bytes(const char *path, uint64_t bytes)
{
    uint64_t available = 0;
    DDPM_TRY(dir_free_bytes(path, &available));
    if (available >= bytes) return DDPM_OK;
    return ddpm_fail(DDPM_EIO, "disk full: %" PRIu64 " bytes are needed in %s and %" PRIu64
                     " are free; free some space and run again", bytes, path, available);
}

/* --- the lock ---------------------------------------------------------------------- */

struct run_lock { int fd; };

/* The owner's note is text from a file: keep printable characters only. */
static ddpm_status fail_busy(int fd, const char *dir)
{
    char note[200];
    const ssize_t n = pread(fd, note, sizeof note - 1, 0);
    size_t len = 0;
    while (n > 0 && len < (size_t)n && note[len] >= ' ' && note[len] <= '~') len++;
    note[len] = 0;
    return ddpm_fail(DDPM_EBUSY, "%s is in use by %s; stop it or wait until it has ended", dir,
                     len > 0 ? note : "another process");
}

static ddpm_status write_owner(int fd, const char *path)
{
    char host[65] = "";
    if (gethostname(host, sizeof host - 1) != 0) strcpy(host, "unknown");
    char note[128];
    const int len = snprintf(note, sizeof note, "process %ld on host %s\n", (long)getpid(), host);
    assert(len > 0 && (size_t)len < sizeof note);
    if (ftruncate(fd, 0) != 0) return file_fail("cannot write", path);
    return file_write_fd(fd, path, note, (size_t)len);
}

static ddpm_status lock_fd(int fd, const char *path, const char *dir)
{
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) return fail_busy(fd, dir);
        if (errno != EINTR) return file_fail("cannot lock", path);
    }
    return write_owner(fd, path);
}

ddpm_status run_lock_take(const char *dir, run_lock **lock)
{
    *lock = NULL;
    run_lock *l = calloc(1, sizeof *l);
    char *path = NULL;
    if (!l || asprintf(&path, "%s/lock", dir) < 0) {
        free(l);
        return ddpm_fail(DDPM_ENOMEM, "no memory to lock %s", dir);
    }
    l->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    ddpm_status s = l->fd < 0 ? file_fail("cannot open", path) : lock_fd(l->fd, path, dir);
    free(path);
    if (s != DDPM_OK) {
        run_lock_free(l);
        return s;
    }
    *lock = l;
    return DDPM_OK;
}

void run_lock_free(run_lock *lock)
{
    if (!lock) return;
    if (lock->fd >= 0) close(lock->fd);
    free(lock);
}
