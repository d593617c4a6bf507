/* Nothing here can rely on what it reads, so it only reads: no judgement that the parent needs is made here. */
#include "io/lmdb_child.h"

#include <errno.h>
#include <lmdb.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "io/confine.h"

enum { SLACK_BYTES = 64 << 20, SLACK_SECONDS = 5, BYTES_A_SECOND = 8 << 20, MAX_KEY = 512, PAGE = 4096 };

static void send_bytes(int out, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        const ssize_t n = write(out, p, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) _exit(1);                        /* nobody listens any more */
        p += n;
        len -= (size_t)n;
    }
}

static void send_frame(int out, lmdb_frame_kind kind, int64_t value)
{
    const lmdb_frame f = { kind, value };
    send_bytes(out, &f, sizeof f);
}

_Noreturn static void fail(int out, int error)
{
    send_frame(out, LMDB_FAILED, error);
    _exit(1);
}

/* The last key, kept because its page may not be there any more when the next one is seen. */
typedef struct { size_t len; char bytes[MAX_KEY]; } last_key;

static bool key_follows(last_key *last, const MDB_val *key)
{
    const size_t shorter = key->mv_size < last->len ? key->mv_size : last->len;
    const int order = shorter ? memcmp(key->mv_data, last->bytes, shorter) : 0;
    if (key->mv_size == 0 || key->mv_size > MAX_KEY || order < 0 || (order == 0 && key->mv_size <= last->len)) return false;
    last->len = key->mv_size;
    memcpy(last->bytes, key->mv_data, key->mv_size);
    return true;
}

static void send_records(int out, MDB_cursor *cursor)
{
    last_key last = { 0 };
    MDB_val key, value;
    int error;
    while (!(error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
        if (!key_follows(&last, &key)) {
            send_frame(out, LMDB_UNSORTED, 0);
            _exit(1);
        }
        send_frame(out, LMDB_RECORD, (int64_t)value.mv_size);
        send_bytes(out, value.mv_data, value.mv_size);
    }
    if (error != MDB_NOTFOUND) fail(out, error);
    send_frame(out, LMDB_END, 0);
}

/* The map's size in the file may be anything; usual databases claim a terabyte. */
static int open_environment(const char *folder, size_t size, MDB_env **env)
{
    int error = mdb_env_create(env);
    if (!error) error = mdb_env_set_mapsize(*env, (size + PAGE - 1) / PAGE * PAGE);
    return error ? error : mdb_env_open(*env, folder, MDB_RDONLY | MDB_NOLOCK, 0);
}

_Noreturn void lmdb_child_run(const char *folder, size_t size, int out)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi db;
    MDB_stat stat;
    MDB_cursor *cursor;
    if (!confine_process(&out, size + SLACK_BYTES, SLACK_SECONDS + (unsigned)(size / BYTES_A_SECOND))) fail(out, errno ? errno : EPERM);
    int error = open_environment(folder, size, &env);
    confine_calls();          /* where there is no filter, the limits and the process of its own remain */
    if (!error) error = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (!error) error = mdb_dbi_open(txn, NULL, 0, &db);
    if (!error) error = mdb_stat(txn, db, &stat);
    if (!error) error = mdb_cursor_open(txn, db, &cursor);
    if (error) fail(out, error);
    send_frame(out, LMDB_OPENED, (int64_t)stat.ms_entries);
    send_records(out, cursor);
    _exit(0);
}
