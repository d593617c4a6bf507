#include "io/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "io/file_parts.h"

ddpm_status file_fail(const char *what, const char *path)
{
    return ddpm_fail(DDPM_EIO, "%s %s: %s", what, path, strerror(errno));
}

/* --- reading --------------------------------------------------------------- */

/* O_NONBLOCK: opening a pipe that nobody writes to must fail below, not hang. */
static ddpm_status open_regular(const char *path, int *fd, size_t *size)
{
    do *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (*fd < 0 && errno == EINTR);
    if (*fd < 0) return file_fail("cannot open", path);
    struct stat st;
    ddpm_status s = DDPM_OK;
    if (fstat(*fd, &st) != 0) s = file_fail("cannot examine", path);
    else if (!S_ISREG(st.st_mode)) s = ddpm_fail(DDPM_EFORMAT, "%s is not a regular file", path);
    else if ((uintmax_t)st.st_size > SIZE_MAX - 1) s = ddpm_fail(DDPM_EFORMAT, "%s is too large", path);
    else *size = (size_t)st.st_size;
    if (s != DDPM_OK) close(*fd);
    return s;
}

ddpm_status file_map_open(const char *path, file_map *map)
{
    *map = (file_map){ (const uint8_t *)"", 0 };
    int fd;
    size_t size;
    DDPM_TRY(open_regular(path, &fd, &size));
    if (size > 0) {
        void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            const ddpm_status s = file_fail("cannot map", path);
            close(fd);
            return s;
        }
        *map = (file_map){ data, size };
    }
    close(fd);
    return DDPM_OK;
}

void file_map_close(file_map *map)
{
    if (!map) return;
    if (map->size > 0) munmap((void *)(uintptr_t)map->data, map->size);
    *map = (file_map){ NULL, 0 };
}

ddpm_status file_read_fd(int fd, const char *path, void *bytes, size_t size, size_t *done)
{
    *done = 0;
    while (*done < size) {
        const ssize_t n = read(fd, (uint8_t *)bytes + *done, size - *done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return file_fail("cannot read", path);
        if (n == 0) return DDPM_OK;
        *done += (size_t)n;
    }
    return DDPM_OK;
}

static ddpm_status read_exactly(int fd, const char *path, uint8_t *bytes, size_t size)
{
    size_t done;
    DDPM_TRY(file_read_fd(fd, path, bytes, size, &done));
    return done == size ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s became shorter while it was read: %zu of %zu bytes", path, done, size);
}

ddpm_status file_read_all(const char *path, size_t max_bytes, uint8_t **bytes, size_t *len)
{
    *bytes = NULL;
    *len = 0;
    int fd;
    size_t size;
    DDPM_TRY(open_regular(path, &fd, &size));
    ddpm_status s;
    uint8_t *buffer = NULL;
    if (size > max_bytes)
        s = ddpm_fail(DDPM_EFORMAT, "%s has %zu bytes, more than the %zu expected at most", path, size, max_bytes);
    else if (!(buffer = malloc(size + 1)))
        s = ddpm_fail(DDPM_ENOMEM, "no memory for the %zu bytes of %s", size, path);
    else
        s = read_exactly(fd, path, buffer, size);
    close(fd);
    if (s != DDPM_OK) {
        free(buffer);
        return s;
    }
    buffer[size] = 0;
    *bytes = buffer;
    *len = size;
    return DDPM_OK;
}

bool file_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool file_has_ending(const char *path, const char *ending)
{
    const size_t n = strlen(path), m = strlen(ending);
    return n >= m && !strcasecmp(path + n - m, ending);
}

/* --- writing --------------------------------------------------------------- */

struct file_writer {
    int fd;
    bool failed;
    uint64_t offset;
    char *path, *tmp;
};

ddpm_status file_fail_write(const char *path, uint64_t wanted)
{
    const int error = errno;
    if (error != ENOSPC && error != EDQUOT)
        return ddpm_fail(DDPM_EIO, "cannot write %s: %s", path, strerror(error));
    char *parent = file_parent(path);
    uint64_t available = 0;
    if (!parent || dir_free_bytes(parent, &available) != DDPM_OK) available = 0;
    free(parent);
    return ddpm_fail(DDPM_EIO, "disk full: writing %s needs %" PRIu64 " more bytes and %" PRIu64
                     " are free (%s); free some space and run again", path, wanted, available, strerror(error));
}

ddpm_status file_write_fd(int fd, const char *path, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    size_t done = 0;
    while (done < len) {
        const ssize_t n = write(fd, bytes + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return file_fail_write(path, len - done);
        done += (size_t)n;
    }
    return DDPM_OK;
}

ddpm_status file_sync_fd(int fd, const char *path)
{
    while (fsync(fd) != 0)
        if (errno != EINTR) return file_fail_write(path, 0);
    return DDPM_OK;
}

char *file_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static void writer_free(file_writer *w)
{
    if (w->fd >= 0) close(w->fd);
    free(w->path);
    free(w->tmp);
    free(w);
}

/* Renaming over /dev/null or a pipe would replace it for everybody. */
static ddpm_status check_target(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return ddpm_fail(DDPM_EIO, "cannot write %s: it exists and is not a regular file; choose another name", path);
    return DDPM_OK;
}

/* A file of the temporary name can only be left over from a process of the same
 * number that died, or planted; either way it must not be written through. */
static int open_new(const char *tmp)
{
    for (int attempt = 0;; attempt++) {
        const int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd >= 0 || attempt > 8) return fd;
        if (errno == EEXIST && unlink(tmp) != 0) return -1;
        if (errno != EEXIST && errno != EINTR) return -1;
    }
}

ddpm_status file_writer_open(const char *path, file_writer **w)
{
    *w = NULL;
    DDPM_TRY(check_target(path));
    file_writer *nw = calloc(1, sizeof *nw);
    if (!nw) return ddpm_fail(DDPM_ENOMEM, "no memory to write %s", path);
    nw->fd = -1;
    nw->path = strdup(path);
    if (asprintf(&nw->tmp, "%s.tmp-%ld", path, (long)getpid()) < 0) nw->tmp = NULL;
    if (!nw->path || !nw->tmp) {
        writer_free(nw);
        return ddpm_fail(DDPM_ENOMEM, "no memory to write %s", path);
    }
    nw->fd = open_new(nw->tmp);
    if (nw->fd < 0) {
        const ddpm_status s = file_fail("cannot create", nw->tmp);
        writer_free(nw);
        return s;
    }
    *w = nw;
    return DDPM_OK;
}

ddpm_status file_writer_write(file_writer *w, const void *data, size_t len)
{
    assert(w && (data || len == 0));
    if (w->failed) return ddpm_fail(DDPM_EIO, "%s: an earlier write failed", w->path);
    const ddpm_status s = file_write_fd(w->fd, w->path, data, len);
    if (s != DDPM_OK) w->failed = true;
    else w->offset += len;
    return s;
}

uint64_t file_writer_offset(const file_writer *w)
{
    return w->offset;
}

ddpm_status file_writer_replace(file_writer *w, uint64_t offset, const void *data, size_t len)
{
    assert(offset <= w->offset && len <= w->offset - offset);
    if (w->failed) return ddpm_fail(DDPM_EIO, "%s: an earlier write failed", w->path);
    ddpm_status s = lseek(w->fd, (off_t)offset, SEEK_SET) < 0 ? file_fail_write(w->path, len) : file_write_fd(w->fd, w->path, data, len);
    if (s == DDPM_OK && lseek(w->fd, (off_t)w->offset, SEEK_SET) < 0) s = file_fail_write(w->path, 0);
    w->failed = s != DDPM_OK;
    return s;
}

static ddpm_status writer_publish(file_writer *w)
{
    if (w->failed) return ddpm_fail(DDPM_EIO, "%s: an earlier write failed", w->path);
    DDPM_TRY(file_sync_fd(w->fd, w->path));
    const int closed = close(w->fd);
    w->fd = -1;
    if (closed != 0 && errno != EINTR) return file_fail_write(w->path, 0);
    if (rename(w->tmp, w->path) != 0) return file_fail("cannot rename the finished file to", w->path);
    free(w->tmp);
    w->tmp = NULL;
    return dir_sync_parent(w->path);
}

ddpm_status file_writer_finish(file_writer *w)
{
    const ddpm_status s = writer_publish(w);
    if (w->tmp) unlink(w->tmp);
    writer_free(w);
    return s;
}

void file_writer_abort(file_writer *w)
{
    if (!w) return;
    unlink(w->tmp);
    writer_free(w);
}

ddpm_status file_write_atomic(const char *path, const void *data, size_t len)
{
    file_writer *w;
    DDPM_TRY(file_writer_open(path, &w));
    const ddpm_status s = file_writer_write(w, data, len);
    if (s != DDPM_OK) {
        file_writer_abort(w);
        return s;
    }
    return file_writer_finish(w);
}

ddpm_status file_append(const char *path, const void *data, size_t len)
{
    int fd;
    do fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return file_fail("cannot open", path);
    const ddpm_status s = file_write_fd(fd, path, data, len);
    close(fd);
    return s;
}
