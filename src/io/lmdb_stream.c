#include "io/lmdb_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/file.h"
#include "io/file_parts.h"
#include "io/lmdb_child.h"

enum { MAX_VALUE = 1 << 29 };

struct lmdb_stream {
    char *folder;
    int pipe;                /* -1: closed */
    pid_t child;             /* 0: none, or its end is known */
    int end;                 /* of the child, as waitpid says it */
    int64_t count, next;
    uint64_t left;           /* bytes of values that a file of this size can still hold */
};

static ddpm_status no_memory(const char *folder) { return ddpm_fail(DDPM_ENOMEM, "no memory to read %s", folder); }

/* The caller frees. */
static char *data_file(const char *folder)
{
    char *path = NULL;
    return asprintf(&path, "%s/data.mdb", folder) < 0 ? NULL : path;
}

bool lmdb_is_folder(const char *path)
{
    char *file = data_file(path);
    const bool is = file && file_exists(file) && !file_is_dir(file);
    free(file);
    return is;
}

/* --- the reader's life ------------------------------------------------------------------------ */

static void child_end(lmdb_stream *s)
{
    if (s->child) {
        kill(s->child, SIGKILL);
        while (waitpid(s->child, &s->end, 0) < 0 && errno == EINTR) continue;
    }
    s->child = 0;
}

/* Descriptors that no other program this process starts inherits. */
static ddpm_status child_start(lmdb_stream *s, size_t size)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return file_fail("no pipe for the reader of", s->folder);
    s->pipe = ends[0];
    s->child = fork();
    if (s->child == 0) lmdb_child_run(s->folder, size, ends[1]);
    close(ends[1]);
    if (s->child > 0) return DDPM_OK;
    s->child = 0;
    return ddpm_fail(DDPM_EFAIL, "the system refuses a process for reading %s: %s", s->folder, strerror(errno));
}

/* --- what goes wrong -------------------------------------------------------------------------- */

static ddpm_status damaged(const lmdb_stream *s, const char *why)
{
    return ddpm_fail(DDPM_EFORMAT, "%s: the database is damaged at record %lld: %s; fetch or unpack it again", s->folder, (long long)s->next, why);
}

/* The reader stopped in the middle. Waits for it, so that its signal is the one that ended it. */
static ddpm_status reader_died(lmdb_stream *s)
{
    char why[96];
    if (s->child) while (waitpid(s->child, &s->end, 0) < 0 && errno == EINTR) continue;
    s->child = 0;
    if (WIFSIGNALED(s->end)) snprintf(why, sizeof why, "reading it ended with signal %d (%s)", WTERMSIG(s->end), strsignal(WTERMSIG(s->end)));
    else snprintf(why, sizeof why, "reading it ended too early");
    return damaged(s, why);
}

/* Only what concerns the folder as a whole is not damage: a wrong page number, for one, makes the system refuse memory. */
static ddpm_status reader_failed(const lmdb_stream *s, int64_t error)
{
    if (error == EACCES || error == ENOENT || error == EIO || error == EPERM)
        return ddpm_fail(DDPM_EIO, "cannot read %s: %s", s->folder, strerror((int)error));
    if (error == MDB_VERSION_MISMATCH || error == MDB_INVALID)
        return ddpm_fail(DDPM_EFORMAT, "%s/data.mdb is no LMDB database of this version, or its first page is damaged", s->folder);
    return damaged(s, mdb_strerror((int)error));
}

/* --- frames ------------------------------------------------------------------------------------ */

static ddpm_status receive(lmdb_stream *s, void *bytes, size_t len)
{
    size_t done;
    DDPM_TRY(file_read_fd(s->pipe, s->folder, bytes, len, &done));
    return done == len ? DDPM_OK : reader_died(s);
}

/* A value cannot be longer than what the file has left, nor can there be more of them than entries. */
static ddpm_status receive_record(lmdb_stream *s, int64_t size, uint8_t **bytes, size_t *len)
{
    if (s->next >= s->count) return damaged(s, "there are more records than it says");
    if (size < 0 || (uint64_t)size > s->left) return damaged(s, "the record is longer than the file");
    if (size > MAX_VALUE) return damaged(s, "the record is longer than any picture");
    uint8_t *value = malloc((size_t)size + 1);
    if (!value) return no_memory(s->folder);
    const ddpm_status status = receive(s, value, (size_t)size);
    if (status != DDPM_OK) {
        free(value);
        return status;
    }
    s->left -= (uint64_t)size;
    s->next++;
    *bytes = value;
    *len = (size_t)size;
    return DDPM_OK;
}

ddpm_status lmdb_stream_next(lmdb_stream *s, uint8_t **bytes, size_t *len)
{
    lmdb_frame f;
    *bytes = NULL;
    *len = 0;
    DDPM_TRY(receive(s, &f, sizeof f));
    switch (f.kind) {
    case LMDB_RECORD:   return receive_record(s, f.value, bytes, len);
    case LMDB_END:      return s->next == s->count ? DDPM_OK : damaged(s, "there are fewer records than it says");
    case LMDB_FAILED:   return reader_failed(s, f.value);
    case LMDB_UNSORTED: return damaged(s, "its keys are not in order");
    default:            return damaged(s, "its reader sends nonsense");
    }
}

/* --- opening ------------------------------------------------------------------------------------ */

static ddpm_status receive_count(lmdb_stream *s)
{
    lmdb_frame f;
    DDPM_TRY(receive(s, &f, sizeof f));
    if (f.kind == LMDB_FAILED) return reader_failed(s, f.value);
    s->count = f.value;
    return f.kind == LMDB_OPENED && f.value >= 0 && (uint64_t)f.value <= s->left ? DDPM_OK : damaged(s, "it says that it has more records than bytes");
}

static ddpm_status open_folder(lmdb_stream *s)
{
    struct stat st;
    char *file = data_file(s->folder);
    if (!file) return no_memory(s->folder);
    const bool there = stat(file, &st) == 0;
    const ddpm_status status = there ? DDPM_OK : file_fail("cannot open", file);
    free(file);
    DDPM_TRY(status);
    if (!S_ISREG(st.st_mode)) return ddpm_fail(DDPM_EFORMAT, "%s/data.mdb is not a regular file", s->folder);
    s->left = (uint64_t)st.st_size;
    DDPM_TRY(child_start(s, (size_t)st.st_size));
    return receive_count(s);
}

ddpm_status lmdb_stream_open(const char *folder, lmdb_stream **s)
{
    *s = NULL;
    lmdb_stream *made = calloc(1, sizeof *made);
    if (!made) return no_memory(folder);
    made->pipe = -1;
    made->folder = strdup(folder);
    const ddpm_status status = made->folder ? open_folder(made) : no_memory(folder);
    if (status == DDPM_OK) *s = made;
    else lmdb_stream_close(made);
    return status;
}

int64_t lmdb_stream_count(const lmdb_stream *s) { return s->count; }

void lmdb_stream_close(lmdb_stream *s)
{
    if (!s) return;
    child_end(s);
    if (s->pipe >= 0) close(s->pipe);
    free(s->folder);
    free(s);
}
