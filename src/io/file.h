/* file.h - files and folders that are either complete or not there.
 *
 * Reading maps or copies whole regular files. Writing goes to "<path>.tmp-<pid>"
 * in the same folder, is fsynced and renamed over the target, and the folder is
 * fsynced: a crash, a kill or a full disk at any instant leaves the old file or
 * the new one, never a mixture. A failed fsync counts as "not written" and is not
 * retried. EINTR and short writes are handled here and nowhere else.
 *
 * Failures of the system are DDPM_EIO; the sentence names the path, and for a full
 * disk how many bytes were wanted and how many are free. */
#ifndef DDPM_IO_FILE_H
#define DDPM_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Sentence from errno: "WHAT PATH: reason"; returns DDPM_EIO. */
ddpm_status file_fail(const char *what, const char *path);

/* --- reading --------------------------------------------------------------- */

/* A regular file mapped for reading. `data` is never NULL after success, also
 * when size == 0. The file must not be truncated by others while it is mapped. */
typedef struct {
    const uint8_t *data;
    size_t size;
} file_map;

/* Errors: DDPM_EIO (cannot open), DDPM_EFORMAT (a folder, a device, a pipe). */
ddpm_status file_map_open(const char *path, file_map *map);
void        file_map_close(file_map *map);           /* zeroed or NULL is fine */

/* Read a regular file whole; the caller frees *bytes, which has a 0 byte after its
 * *len bytes. Larger than `max_bytes`: DDPM_EFORMAT, before any allocation. */
ddpm_status file_read_all(const char *path, size_t max_bytes, uint8_t **bytes, size_t *len);

bool file_exists(const char *path);                  /* anything of that name   */
bool file_is_dir(const char *path);                  /* follows symbolic links  */
bool file_has_ending(const char *path, const char *ending);   /* ".png", in any case     */

/* Could a file be written there? What would fail after all the work can fail before it. EINVAL: it is a folder;
 * EIO: the folder around it is not there or cannot be written into. */
ddpm_status file_check_target(const char *path);

/* --- writing --------------------------------------------------------------- */

/* A file being written under its temporary name. Exactly one of finish and abort
 * must follow a successful open; both free the writer, also when they fail. One
 * writer per path and process at a time. A path that is a folder, a device or
 * anything else that is not a regular file is refused, never replaced. */
typedef struct file_writer file_writer;

ddpm_status file_writer_open(const char *path, file_writer **w);
/* Append. After a failure only abort (or finish, which then fails too) is left. */
ddpm_status file_writer_write(file_writer *w, const void *data, size_t len);
/* Make it durable and visible under its name. On failure nothing is left behind
 * and an older file of that name is untouched, except that when only the last step,
 * the fsync of the folder, fails, the new file is there but may not survive a crash. */
ddpm_status file_writer_finish(file_writer *w);
void        file_writer_abort(file_writer *w);       /* NULL ok                 */
uint64_t    file_writer_offset(const file_writer *w);/* bytes written so far    */
/* Other bytes in place of some that were written: a header that is known at the end. */
ddpm_status file_writer_replace(file_writer *w, uint64_t offset, const void *data, size_t len);

/* open, write, finish. */
ddpm_status file_write_atomic(const char *path, const void *data, size_t len);

/* Append `len` bytes in one write to a log, creating it with mode 0644; no fsync.
 * A symbolic link as last component is refused. */
ddpm_status file_append(const char *path, const void *data, size_t len);

/* --- folders ---------------------------------------------------------------- */

/* mkdir -p, mode 0755. Existing folders are fine. */
ddpm_status dir_make(const char *path);

/* The same, all of them or none; *made counts the new folders. dir_unmake is the way back: it removes so many from
 * PATH upwards, as long as they are empty, and leaves the last sentence alone. */
ddpm_status dir_make_new(const char *path, int *made);
void        dir_unmake(const char *path, int made);

/* fsync every file and folder below `tmp_dir`, rename it to `final_dir` (same file
 * system, must not exist or be an empty folder) and fsync the parent. */
ddpm_status dir_publish(const char *tmp_dir, const char *final_dir);

/* Remove `name` and everything below it. `name` is one component (no '/', not "."
 * or "..") of the folder `parent`; symbolic links are removed, never followed.
 * Something that does not exist is success. */
ddpm_status dir_remove_tree(const char *parent, const char *name);

/* Names in a folder without "." and "..", sorted by bytes; freed by dir_list_free. */
ddpm_status dir_list(const char *path, char ***names, int *count);
void        dir_list_free(char **names, int count);

/* Bytes an ordinary user may still write on the file system of `path`. */
ddpm_status dir_free_bytes(const char *path, uint64_t *bytes);

/* DDPM_EIO "disk full: ..." unless the file system of `path` has `bytes` free. */
ddpm_status dir_need_bytes(const char *path, uint64_t bytes);

/* --- one process per run folder ---------------------------------------------- */

typedef struct run_lock run_lock;

/* Take DIR/lock (flock; pid and host written into it). Held until run_lock_free or
 * the end of the process; children of fork() share it, exec closes it. Taken by
 * somebody else: DDPM_EBUSY, naming the owner. */
ddpm_status run_lock_take(const char *dir, run_lock **lock);
void        run_lock_free(run_lock *lock);           /* NULL ok                 */

#endif
