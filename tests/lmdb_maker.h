/* lmdb_maker.h - small LMDB databases, made with liblmdb itself. */
#ifndef DDPM_TESTS_LMDB_MAKER_H
#define DDPM_TESTS_LMDB_MAKER_H

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "io/file.h"

typedef struct { const char *key; const void *value; size_t len; } lmdb_pair;

/* Puts the pairs in the order given into the new folder `path`. The map is larger than a machine's memory, as LSUN's is. */
static inline bool lmdb_make(const char *path, const lmdb_pair *pairs, int count)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi db;
    int error = dir_make(path) != DDPM_OK || mdb_env_create(&env);
    if (!error) error = mdb_env_set_mapsize(env, (size_t)1 << 40);
    if (!error) error = mdb_env_open(env, path, MDB_NOSYNC, 0644);
    if (!error) error = mdb_txn_begin(env, NULL, 0, &txn);
    if (!error) error = mdb_dbi_open(txn, NULL, 0, &db);
    for (int i = 0; i < count && !error; i++) {
        MDB_val key = { strlen(pairs[i].key), (void *)(uintptr_t)pairs[i].key }, value = { pairs[i].len, (void *)(uintptr_t)pairs[i].value };
        error = mdb_put(txn, db, &key, &value, 0);
    }
    if (!error) error = mdb_txn_commit(txn);
    if (!error) mdb_env_close(env);
    return !error;
}

#endif
