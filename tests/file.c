/* Files and folders: atomic replacement, what is refused, trees, the lock. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/file.h"

/* Each test runs in a fresh folder, which is the current one. */
typedef struct {
    char name[32];
    int home;
} place;

static int enter(void **state)
{
    place *p = calloc(1, sizeof *p);
    if (!p) return -1;
    strcpy(p->name, "/tmp/ddpm-file-XXXXXX");
    p->home = open(".", O_RDONLY | O_DIRECTORY);
    *state = p;
    return mkdtemp(p->name) && chdir(p->name) == 0 ? 0 : -1;
}

static int leave(void **state)
{
    place *p = *state;
    const int back = fchdir(p->home);
    close(p->home);
    const ddpm_status s = dir_remove_tree("/tmp", p->name + strlen("/tmp/"));
    free(p);
    return back == 0 && s == DDPM_OK ? 0 : -1;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void assert_content(const char *path, const char *text)
{
    char have[256] = "";
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    have[fread(have, 1, sizeof have - 1, f)] = 0;
    fclose(f);
    assert_string_equal(have, text);
}

static void assert_said(const char *part)
{
    if (!strstr(ddpm_last_error(), part)) fail_msg("\"%s\" does not say \"%s\"", ddpm_last_error(), part);
}

static int entries(const char *path)
{
    char **names;
    int count;
    assert_int_equal(dir_list(path, &names, &count), DDPM_OK);
    dir_list_free(names, count);
    return count;
}

static void reads_regular_files_only(void **state)
{
    (void)state;
    put("a", "hello");
    put("empty", "");
    assert_int_equal(mkdir("folder", 0755), 0);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    file_map m;
    assert_int_equal(file_map_open("a", &m), DDPM_OK);
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "hello", 5);
    file_map_close(&m);
    file_map_close(&m);
    assert_int_equal(file_map_open("empty", &m), DDPM_OK);
    assert_true(m.data && m.size == 0);
    file_map_close(&m);
    uint8_t *bytes;
    size_t len;
    assert_int_equal(file_read_all("a", 5, &bytes, &len), DDPM_OK);
    assert_int_equal(len, 5);
    assert_string_equal((char *)bytes, "hello");
    free(bytes);
    assert_int_equal(file_read_all("a", 4, &bytes, &len), DDPM_EFORMAT);
    assert_said("more than the 4");
    assert_int_equal(file_read_all("missing", 4, &bytes, &len), DDPM_EIO);
    assert_said("missing");
    static const char *const odd[] = { "folder", "pipe", "/dev/null" };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(file_read_all(odd[i], 9, &bytes, &len), DDPM_EFORMAT);
        assert_int_equal(file_map_open(odd[i], &m), DDPM_EFORMAT);
    }
    assert_true(file_exists("pipe") && !file_exists("nothing"));
    assert_true(file_is_dir("folder") && !file_is_dir("a"));
}

static void replaces_atomically(void **state)
{
    (void)state;
    assert_int_equal(file_write_atomic("x", "old", 3), DDPM_OK);
    struct stat before, after;
    stat("x", &before);
    file_writer *w;
    assert_int_equal(file_writer_open("x", &w), DDPM_OK);
    assert_int_equal(file_writer_write(w, "ne", 2), DDPM_OK);
    assert_int_equal(file_writer_write(w, "w", 1), DDPM_OK);
    assert_int_equal(file_writer_offset(w), 3);
    assert_content("x", "old");
    assert_int_equal(file_writer_finish(w), DDPM_OK);
    assert_content("x", "new");
    stat("x", &after);
    assert_true(before.st_ino != after.st_ino);
    assert_int_equal(file_writer_open("x", &w), DDPM_OK);
    assert_int_equal(file_writer_write(w, "lost", 4), DDPM_OK);
    file_writer_abort(w);
    file_writer_abort(NULL);
    assert_content("x", "new");
    assert_int_equal(entries("."), 1);
    assert_int_equal(file_write_atomic("no/such/folder", "a", 1), DDPM_EIO);
}

static void replaces_what_was_written(void **state)
{
    (void)state;
    file_writer *w;
    assert_int_equal(file_writer_open("x", &w), DDPM_OK);
    assert_int_equal(file_writer_write(w, "????body", 8), DDPM_OK);
    assert_int_equal(file_writer_replace(w, 1, "ead", 3), DDPM_OK);
    assert_int_equal(file_writer_replace(w, 0, "h", 1), DDPM_OK);
    assert_int_equal(file_writer_write(w, "tail", 4), DDPM_OK);
    assert_int_equal(file_writer_offset(w), 12);
    assert_int_equal(file_writer_finish(w), DDPM_OK);
    assert_content("x", "headbodytail");
}

static void keeps_the_old_file_when_writing_fails(void **state)
{
    (void)state;
    put("x", "old");
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit saved, small;
    getrlimit(RLIMIT_FSIZE, &saved);
    small = saved;
    small.rlim_cur = 4096;
    setrlimit(RLIMIT_FSIZE, &small);
    char *big = calloc(1, 10000);
    assert_non_null(big);
    const ddpm_status whole = file_write_atomic("x", big, 10000);
    file_writer *w;
    assert_int_equal(file_writer_open("x", &w), DDPM_OK);
    const ddpm_status part = file_writer_write(w, big, 10000);
    const ddpm_status again = file_writer_write(w, big, 1);
    const ddpm_status finish = file_writer_finish(w);
    setrlimit(RLIMIT_FSIZE, &saved);
    signal(SIGXFSZ, SIG_DFL);
    free(big);
    assert_int_equal(whole, DDPM_EIO);
    assert_int_equal(part, DDPM_EIO);
    assert_int_equal(again, DDPM_EIO);
    assert_int_equal(finish, DDPM_EIO);
    assert_content("x", "old");
    assert_int_equal(entries("."), 1);
}

static void tells_a_full_disk(void **state)
{
    (void)state;
    assert_int_equal(file_append("/dev/full", "abc", 3), DDPM_EIO);
    assert_said("disk full");
    assert_said("/dev/full needs 3 more bytes");
    assert_int_equal(dir_need_bytes(".", 1), DDPM_OK);
    assert_int_equal(dir_need_bytes(".", UINT64_MAX), DDPM_EIO);
    assert_said("disk full: 18446744073709551615 bytes are needed");
    uint64_t n;
    assert_int_equal(dir_free_bytes("nowhere", &n), DDPM_EIO);
}

static void refuses_what_is_not_a_file(void **state)
{
    (void)state;
    assert_int_equal(mkdir("folder", 0755), 0);
    assert_int_equal(symlink("/dev/null", "link"), 0);
    static const char *const odd[] = { "folder", "link", "/dev/null" };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(file_write_atomic(odd[i], "a", 1), DDPM_EIO);
        assert_said("not a regular file");
    }
    struct stat st;
    stat("/dev/null", &st);
    assert_true(S_ISCHR(st.st_mode));
}

static void does_not_write_through_planted_links(void **state)
{
    (void)state;
    put("victim", "untouched");
    char tmp[64];
    snprintf(tmp, sizeof tmp, "x.tmp-%ld", (long)getpid());
    assert_int_equal(symlink("victim", tmp), 0);
    assert_int_equal(file_write_atomic("x", "new", 3), DDPM_OK);
    assert_content("victim", "untouched");
    assert_content("x", "new");
    assert_int_equal(symlink("victim", "log"), 0);
    assert_int_equal(file_append("log", "a", 1), DDPM_EIO);
    assert_int_equal(symlink("victim", "lock"), 0);
    run_lock *l;
    assert_int_equal(run_lock_take(".", &l), DDPM_EIO);
    assert_content("victim", "untouched");
}

static void appends(void **state)
{
    (void)state;
    assert_int_equal(file_append("log", "one\n", 4), DDPM_OK);
    assert_int_equal(file_append("log", "two\n", 4), DDPM_OK);
    assert_content("log", "one\ntwo\n");
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
}

enum { PIPED = 1 << 20 };

/* A slow reader that checks that every byte arrives once and in order. */
static void drain(void)
{
    const int fd = open("pipe", O_RDONLY);
    uint8_t part[8192];
    size_t at = 0;
    bool ok = true;
    for (ssize_t n; (n = read(fd, part, sizeof part)) > 0;) {
        for (ssize_t i = 0; i < n; i++) ok &= part[i] == (uint8_t)((at + (size_t)i) * 31 >> 3);
        at += (size_t)n;
        usleep(1000);
    }
    _exit(ok && at == PIPED ? 0 : 1);
}

static void survives_signals_and_short_writes(void **state)
{
    (void)state;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    const pid_t child = fork();
    if (child == 0) drain();
    uint8_t *bytes = malloc(PIPED);
    assert_non_null(bytes);
    for (size_t i = 0; i < PIPED; i++) bytes[i] = (uint8_t)(i * 31 >> 3);
    const struct sigaction interrupting = { .sa_handler = on_alarm };
    sigaction(SIGALRM, &interrupting, NULL);
    const struct itimerval often = { { 0, 700 }, { 0, 700 } }, never = { 0 };
    setitimer(ITIMER_REAL, &often, NULL);
    const ddpm_status s = file_append("pipe", bytes, PIPED);
    setitimer(ITIMER_REAL, &never, NULL);
    free(bytes);
    int ended;
    waitpid(child, &ended, 0);
    assert_int_equal(s, DDPM_OK);
    assert_int_equal(ended, 0);
}

static void new_folders_are_taken_back(void **state)
{
    int made;
    (void)state;
    assert_int_equal(dir_make("old"), DDPM_OK);
    assert_int_equal(dir_make_new("old/new/er//", &made), DDPM_OK);
    assert_int_equal(made, 2);
    dir_unmake("old/new/er//", made);
    assert_false(file_exists("old/new"));
    assert_true(file_is_dir("old"));
    assert_int_equal(dir_make_new("old", &made), DDPM_OK);
    assert_int_equal(made, 0);
    dir_unmake("old", made);
    assert_true(file_is_dir("old"));
    assert_int_equal(dir_make_new("old/new/er", &made), DDPM_OK);
    put("old/new/kept", "");
    dir_unmake("old/new/er", made);                           /* only what is empty */
    assert_false(file_exists("old/new/er"));
    assert_true(file_exists("old/new/kept"));
    char name[300] = "new/";                                  /* longer than a name may be */
    memset(name + 4, 'n', sizeof name - 5);
    name[sizeof name - 1] = 0;
    assert_int_equal(dir_make_new(name, &made), DDPM_EIO);
    assert_false(file_exists("new"));
}

static void makes_and_lists_folders(void **state)
{
    (void)state;
    assert_int_equal(dir_make("a/b//c/"), DDPM_OK);
    assert_int_equal(dir_make("a/b/c"), DDPM_OK);
    assert_true(file_is_dir("a/b/c"));
    put("f", "");
    assert_int_equal(dir_make("f/g"), DDPM_EIO);
    assert_int_equal(dir_make("f"), DDPM_EIO);
    put("a/z", "");
    put("a/Z", "");
    char **names;
    int count;
    assert_int_equal(dir_list("a", &names, &count), DDPM_OK);
    assert_int_equal(count, 3);
    assert_string_equal(names[0], "Z");
    assert_string_equal(names[1], "b");
    assert_string_equal(names[2], "z");
    dir_list_free(names, count);
    assert_int_equal(dir_list("none", &names, &count), DDPM_EIO);
    assert_null(names);
}

static void publishes_folders(void **state)
{
    (void)state;
    assert_int_equal(dir_make("tmp/unet"), DDPM_OK);
    put("tmp/unet/w", "1");
    assert_int_equal(dir_publish("tmp", "final"), DDPM_OK);
    assert_content("final/unet/w", "1");
    assert_false(file_exists("tmp"));
    assert_int_equal(dir_make("tmp"), DDPM_OK);
    assert_int_equal(dir_publish("tmp", "final"), DDPM_EIO);
    assert_content("final/unet/w", "1");
    assert_int_equal(dir_publish("nothing", "final2"), DDPM_EIO);
}

static void removes_only_below(void **state)
{
    (void)state;
    assert_int_equal(dir_make("run/old/unet"), DDPM_OK);
    assert_int_equal(dir_make("precious"), DDPM_OK);
    put("precious/data", "keep");
    put("run/old/unet/w", "1");
    assert_int_equal(symlink("../../precious", "run/old/link"), 0);
    assert_int_equal(symlink("../precious", "run/link"), 0);
    static const char *const wrong[] = { "", ".", "..", "../precious", "old/unet", "/tmp" };
    for (int i = 0; i < 6; i++) assert_int_equal(dir_remove_tree("run", wrong[i]), DDPM_EINVAL);
    assert_int_equal(dir_remove_tree("run", "old"), DDPM_OK);
    assert_int_equal(dir_remove_tree("run", "link"), DDPM_OK);
    assert_int_equal(dir_remove_tree("run", "old"), DDPM_OK);
    assert_int_equal(entries("run"), 0);
    assert_content("precious/data", "keep");
}

/* 0: the lock was given, 1: refused naming `owner`, 2: anything else. */
static int try_lock(pid_t owner)
{
    char name[48];
    snprintf(name, sizeof name, "process %ld on host", (long)owner);
    run_lock *l;
    const ddpm_status s = run_lock_take("run", &l);
    if (s == DDPM_OK) run_lock_free(l);
    return s == DDPM_OK ? 0 : s == DDPM_EBUSY && strstr(ddpm_last_error(), name) ? 1 : 2;
}

static int try_lock_in_child(void)
{
    const pid_t owner = getpid();
    const pid_t child = fork();
    if (child == 0) _exit(try_lock(owner));
    int ended;
    waitpid(child, &ended, 0);
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
}

static void locks_out_a_second_process(void **state)
{
    (void)state;
    assert_int_equal(dir_make("run"), DDPM_OK);
    run_lock *l;
    assert_int_equal(run_lock_take("run", &l), DDPM_OK);
    assert_int_equal(try_lock_in_child(), 1);
    assert_int_equal(try_lock(getpid()), 1);
    run_lock_free(l);
    assert_int_equal(try_lock_in_child(), 0);
    run_lock_free(NULL);
    assert_int_equal(run_lock_take("none", &l), DDPM_EIO);
}

static void a_killed_owner_releases(void **state)
{
    (void)state;
    assert_int_equal(dir_make("run"), DDPM_OK);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        run_lock *l;
        const char done = run_lock_take("run", &l) == DDPM_OK;
        if (write(ready[1], &done, 1) == 1) pause();
        _exit(0);
    }
    char done = 0;
    assert_int_equal(read(ready[0], &done, 1), 1);
    assert_int_equal(done, 1);
    assert_int_equal(try_lock(child), 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(try_lock(child), 0);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, enter, leave)
    const struct CMUnitTest tests[] = {
        TEST(reads_regular_files_only), TEST(replaces_atomically), TEST(replaces_what_was_written), TEST(keeps_the_old_file_when_writing_fails),
        TEST(tells_a_full_disk), TEST(refuses_what_is_not_a_file), TEST(does_not_write_through_planted_links),
        TEST(appends), TEST(survives_signals_and_short_writes), TEST(makes_and_lists_folders), TEST(new_folders_are_taken_back),
        TEST(publishes_folders), TEST(removes_only_below), TEST(locks_out_a_second_process),
        TEST(a_killed_owner_releases)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
