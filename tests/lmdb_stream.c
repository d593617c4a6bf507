/* Databases made with liblmdb: order and count, and that no damage to their file reaches the process that reads them.
 *
 *   build/tests/lmdb_stream all     changes every byte of a small database, not only some; minutes */
#include "io/lmdb_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lmdb_maker.h"

enum { RECORDS = 20, LARGEST = 4100, STRIDE = 331, PAGE_SIZE = 4096 };

static char root[] = "/tmp/ddpm-lmdb-XXXXXX";
static size_t stride = STRIDE;

static const char *at(const char *below)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", root, below);
    return path;
}

/* Value i has a length and bytes of its own; some take pages of their own. */
static size_t value_len(int i) { return (size_t)(i * 997 % LARGEST); }
static uint8_t value_byte(int i, size_t k) { return (uint8_t)(i * 31 + (int)k * 7); }

/* Values 0 to RECORDS - 1 under keys in that order, inserted in another. */
static void make_numbered(const char *below)
{
    static char keys[RECORDS][16];
    static uint8_t values[RECORDS][LARGEST];
    lmdb_pair pairs[RECORDS];
    for (int n = 0; n < RECORDS; n++) {
        const int i = n * 17 % RECORDS;
        snprintf(keys[i], sizeof keys[i], "%c%07d", i < RECORDS / 2 ? 'A' : 'b', i);
        for (size_t k = 0; k < value_len(i); k++) values[i][k] = value_byte(i, k);
        pairs[n] = (lmdb_pair){ keys[i], values[i], value_len(i) };
    }
    assert_true(lmdb_make(at(below), pairs, RECORDS));
}

/* Reads to the end or the first failure; *n values were right. */
static ddpm_status drain(const char *folder, bool check, int64_t *n)
{
    lmdb_stream *s = NULL;
    *n = 0;
    ddpm_status status = lmdb_stream_open(folder, &s);
    if (status == DDPM_OK && check) assert_int_equal(lmdb_stream_count(s), RECORDS);
    for (uint8_t *bytes = NULL; status == DDPM_OK; free(bytes), ++*n) {
        size_t len;
        status = lmdb_stream_next(s, &bytes, &len);
        if (status != DDPM_OK || !bytes) break;
        if (!check) continue;
        assert_int_equal(len, value_len((int)*n));
        for (size_t k = 0; k < len; k++) assert_int_equal(bytes[k], value_byte((int)*n, k));
    }
    lmdb_stream_close(s);
    return status;
}

static void test_values_come_in_the_order_of_their_keys(void **state)
{
    (void)state;
    int64_t n;
    make_numbered("whole");
    assert_int_equal(drain(at("whole"), true, &n), DDPM_OK);
    assert_int_equal(n, RECORDS);
    assert_true(lmdb_make(at("empty"), NULL, 0));
    assert_int_equal(drain(at("empty"), false, &n), DDPM_OK);
    assert_int_equal(n, 0);
}

static void test_closed_in_the_middle(void **state)
{
    (void)state;
    lmdb_stream *s;
    uint8_t *bytes;
    size_t len;
    assert_int_equal(lmdb_stream_open(at("whole"), &s), DDPM_OK);
    assert_int_equal(lmdb_stream_next(s, &bytes, &len), DDPM_OK);
    free(bytes);
    lmdb_stream_close(s);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);          /* no child is left */
    lmdb_stream_close(NULL);
}

/* A line of /proc/PID/status of the only child. */
static void child_line(const char *key, char line[128])
{
    char path[64];
    int pid;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &pid), 1);
    fclose(f);
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    assert_non_null(f = fopen(path, "r"));
    do assert_non_null(fgets(line, 128, f));
    while (strncmp(line, key, strlen(key)));
    fclose(f);
}

/* A value that no pipe holds, so that the reader waits. */
static void test_the_reader_is_confined(void **state)
{
    (void)state;
    static const uint8_t large[1 << 21];
    const lmdb_pair pair = { "large", large, sizeof large };
    lmdb_stream *s;
    char line[128];
    assert_true(lmdb_make(at("large"), &pair, 1));
    assert_int_equal(lmdb_stream_open(at("large"), &s), DDPM_OK);
    child_line("NoNewPrivs:", line);
    assert_string_equal(line, "NoNewPrivs:\t1\n");
#if defined __x86_64__ || defined __aarch64__
    child_line("Seccomp:", line);
    assert_string_equal(line, "Seccomp:\t2\n");
#endif
    lmdb_stream_close(s);
}

static void test_what_is_no_database(void **state)
{
    (void)state;
    int64_t n;
    assert_false(lmdb_is_folder(root));
    assert_true(lmdb_is_folder(at("whole")));
    assert_int_equal(drain(at("nowhere"), false, &n), DDPM_EIO);
    dir_make(at("text"));
    file_write_atomic(at("text/data.mdb"), "no pages", 8);
    assert_int_equal(drain(at("text"), false, &n), DDPM_EFORMAT);
    file_write_atomic(at("text/data.mdb"), "", 0);
    assert_int_equal(drain(at("text"), false, &n), DDPM_EFORMAT);
}

/* --- damage ------------------------------------------------------------------------------------ */

static int open_descriptors(void)
{
    char **names = NULL;
    int n = 0;
    assert_int_equal(dir_list("/proc/self/fd", &names, &n), DDPM_OK);
    dir_list_free(names, n);
    return n;
}

/* Without the syncs of file_write_atomic, which would be most of the time. */
static void write_plainly(const char *path, const uint8_t *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* What is read of a damaged database is a whole one of other bytes, or a refusal that names it. */
static void check_damaged(const uint8_t *bytes, size_t len, int *refused)
{
    int64_t n;
    write_plainly(at("damaged/data.mdb"), bytes, len);
    const ddpm_status s = drain(at("damaged"), false, &n);
    if (s == DDPM_OK) return;
    ++*refused;
    if (s != DDPM_EFORMAT || !strstr(ddpm_last_error(), root)) fail_msg("status %d: %s", (int)s, ddpm_last_error());
}

static void test_changed_bytes(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t len;
    int refused = 0;
    assert_int_equal(dir_make(at("damaged")), DDPM_OK);
    assert_int_equal(file_read_all(at("whole/data.mdb"), 1 << 24, &bytes, &len), DDPM_OK);
    const int before = open_descriptors();
    for (size_t i = 0; i < len; i += stride) {
        bytes[i] ^= 0xff;
        check_damaged(bytes, len, &refused);
        bytes[i] ^= 0xff;
    }
    print_message("%d of %zu changed bytes of %zu were noticed\n", refused, (len + stride - 1) / stride, len);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    free(bytes);
}

/* Heads of pages hold the numbers that liblmdb believes: the meta pages, the root, a branch and the leaves. */
static void test_changed_heads_of_pages(void **state)
{
    (void)state;
    enum { HEAD = 24 };
    uint8_t *bytes;
    size_t len;
    int refused = 0;
    assert_int_equal(file_read_all(at("whole/data.mdb"), 1 << 24, &bytes, &len), DDPM_OK);
    for (size_t page = 0; page < len; page += PAGE_SIZE)
        for (size_t i = page + 8; i < page + HEAD; i += stride < STRIDE ? 1 : 3) {
            const uint8_t kept = bytes[i];
            bytes[i] = (uint8_t)~kept;
            check_damaged(bytes, len, &refused);
            bytes[i] = kept;
        }
    assert_true(refused > 10);
    free(bytes);
}

/* --- damage made to measure ---------------------------------------------------------------------- */

/* Pages have their flags at 10 and the places of their nodes from 16. A node begins with the length of its value, or in
 * a branch with the number of a page. */
enum { BRANCH = 1, LEAF = 2, PAGE_FLAGS = 10, PAGE_NODES = 16 };

static uint8_t *find_page(uint8_t *bytes, size_t len, int flags)
{
    for (size_t at_page = 2 * PAGE_SIZE; at_page < len; at_page += PAGE_SIZE)
        if (bytes[at_page + PAGE_FLAGS] == flags && !bytes[at_page + PAGE_FLAGS + 1]) return bytes + at_page;
    fail_msg("no page with the flags %d", flags);
    return NULL;
}

static uint8_t *node(uint8_t *page, int i)
{
    uint16_t offset;
    memcpy(&offset, page + PAGE_NODES + 2 * i, sizeof offset);
    return page + offset;
}

static void assert_refused(const uint8_t *bytes, size_t len, const char *says)
{
    int64_t n;
    write_plainly(at("damaged/data.mdb"), bytes, len);
    assert_int_equal(drain(at("damaged"), false, &n), DDPM_EFORMAT);
    if (!strstr(ddpm_last_error(), says)) fail_msg("no \"%s\" in: %s", says, ddpm_last_error());
}

static void test_a_leaf_that_comes_twice_and_a_length_beyond_the_file(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t len;
    assert_int_equal(file_read_all(at("whole/data.mdb"), 1 << 24, &bytes, &len), DDPM_OK);
    uint8_t *branch = find_page(bytes, len, BRANCH), kept[4];
    memcpy(kept, node(branch, 1), sizeof kept);
    memcpy(node(branch, 1), node(branch, 0), sizeof kept);
    assert_refused(bytes, len, "keys are not in order");
    memcpy(node(branch, 1), kept, sizeof kept);
    memcpy(node(find_page(bytes, len, LEAF), 0), "\xff\xff\xff\x7f", sizeof kept);
    assert_refused(bytes, len, "longer than the file");
    free(bytes);
}

/* The number of entries, in both meta pages: behind the page's head, the meta head and the description of free pages. */
static void test_a_wrong_number_of_entries(void **state)
{
    (void)state;
    enum { ENTRIES = 16 + 24 + 48 + 32 };
    static const struct { int64_t entries; const char *says; } CASES[] = {
        { RECORDS - 1, "more records than it says" }, { RECORDS + 1, "fewer records than it says" }, { -1, "more records than bytes" }, { INT64_MAX, "more records than bytes" },
    };
    uint8_t *bytes;
    size_t len;
    assert_int_equal(file_read_all(at("whole/data.mdb"), 1 << 24, &bytes, &len), DDPM_OK);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        for (int page = 0; page < 2; page++) memcpy(bytes + page * PAGE_SIZE + ENTRIES, &CASES[i].entries, sizeof CASES[i].entries);
        assert_refused(bytes, len, CASES[i].says);
    }
    free(bytes);
}

static void test_shortened(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t len;
    int refused = 0, cuts = 0;
    assert_int_equal(file_read_all(at("whole/data.mdb"), 1 << 24, &bytes, &len), DDPM_OK);
    for (size_t cut = 0; cut < len; cut += len / 24 + 1, cuts++) check_damaged(bytes, cut, &refused);
    print_message("%d of %d shortened files were noticed\n", refused, cuts);
    assert_true(refused >= cuts - 2);        /* the last pages may be free ones */
    free(bytes);
}

static void test_the_sentence_says_which_record(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t len;
    int64_t n;
    assert_int_equal(file_read_all(at("whole/data.mdb"), 1 << 24, &bytes, &len), DDPM_OK);
    assert_int_equal(file_write_atomic(at("damaged/data.mdb"), bytes, len / 2), DDPM_OK);
    free(bytes);
    assert_int_equal(drain(at("damaged"), false, &n), DDPM_EFORMAT);
    char want[64];
    snprintf(want, sizeof want, "damaged at record %lld", (long long)n);
    if (!strstr(ddpm_last_error(), want)) fail_msg("%s in: %s", want, ddpm_last_error());
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return dir_remove_tree("/tmp", root + strlen("/tmp/")) == DDPM_OK ? 0 : -1;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "all")) stride = 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_come_in_the_order_of_their_keys),
        cmocka_unit_test(test_closed_in_the_middle),
        cmocka_unit_test(test_the_reader_is_confined),
        cmocka_unit_test(test_what_is_no_database),
        cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_changed_heads_of_pages),
        cmocka_unit_test(test_a_leaf_that_comes_twice_and_a_length_beyond_the_file),
        cmocka_unit_test(test_a_wrong_number_of_entries),
        cmocka_unit_test(test_shortened),
        cmocka_unit_test(test_the_sentence_says_which_record),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
