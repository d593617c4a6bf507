#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

typedef struct { int count; log_level level; char text[LOG_MAX]; } seen;

static void note(void *ctx, log_level level, const char *message)
{
    seen *s = ctx;
    s->count++;
    s->level = level;
    snprintf(s->text, sizeof s->text, "%s", message);
}

static void test_levels(void **state)
{
    (void)state;
    seen s = { 0 };
    log_set(note, &s, LOG_WARN);
    log_info("no");
    log_debug("no");
    assert_int_equal(s.count, 0);
    log_warn("%d of %s", 3, "x");
    assert_string_equal(s.text, "3 of x");
    assert_int_equal(s.level, LOG_WARN);
    log_error("e");
    assert_int_equal(s.level, LOG_ERROR);
    log_set(note, &s, LOG_DEBUG);
    log_debug("d");
    assert_int_equal(s.count, 3);

    char big[2 * LOG_MAX];
    memset(big, 'a', sizeof big);
    big[sizeof big - 1] = '\0';
    log_info("%s", big);
    assert_int_equal(strlen(s.text), LOG_MAX - 1);
    log_set(log_stderr, NULL, LOG_INFO);
}

/* Run `act` with stderr redirected to the writing end of a pipe. */
static void with_stderr(int fd, void (*act)(const char *), const char *argument)
{
    fflush(stderr);
    const int saved = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    act(argument);
    dup2(saved, STDERR_FILENO);
    close(saved);
}

static void say_warning(const char *text) { log_warn("%s", text); }

/* A library says nothing unless it is asked to. */
static void test_no_sink_says_nothing(void **state)
{
    (void)state;
    int ends[2];
    char got;
    assert_int_equal(pipe(ends), 0);
    log_set(NULL, NULL, LOG_DEBUG);
    with_stderr(ends[1], say_warning, "nobody asked");
    log_set(log_stderr, NULL, LOG_INFO);
    close(ends[1]);
    assert_int_equal(read(ends[0], &got, 1), 0);
    close(ends[0]);
}

static void test_control_bytes_are_escaped(void **state)
{
    (void)state;
    static const struct { const char *in, *out; } cases[] = {
        { "plain", "warning: plain\n" },
        { "a\033[31m\nb\x7f", "warning: a\\x1b[31m\\x0ab\\x7f\n" },
        { "gr\xc3\xbc\xc3\x9f", "warning: gr\xc3\xbc\xc3\x9f\n" },
        { "\xe2\x80\x9cq\xe2\x80\x9d", "warning: \xe2\x80\x9cq\xe2\x80\x9d\n" },
        { "c1 \xc2\x9b" "2J \x9b", "warning: c1 \xc2\\x9b2J \\x9b\n" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int ends[2];
        char got[256] = "";
        assert_int_equal(pipe(ends), 0);
        with_stderr(ends[1], say_warning, cases[i].in);
        close(ends[1]);
        const ssize_t n = read(ends[0], got, sizeof got - 1);
        close(ends[0]);
        assert_true(n > 0);
        assert_string_equal(got, cases[i].out);
    }
}

/* Without protection the first write would end this process by SIGPIPE. */
static void test_reader_gone(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    with_stderr(ends[1], say_warning, "nobody listens");
    close(ends[1]);
    sigset_t pending;
    sigpending(&pending);
    assert_int_equal(sigismember(&pending, SIGPIPE), 0);
    const int null = open("/dev/null", O_RDONLY);
    with_stderr(null, say_warning, "not writable");
    close(null);
}

static void test_full_pipe_does_not_block(void **state)
{
    (void)state;
    int ends[2];
    char filler[4096] = { 0 };
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    while (write(ends[1], filler, sizeof filler) > 0) { }
    fcntl(ends[1], F_SETFL, 0);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    alarm(10);                                   /* a blocked write ends the test */
    with_stderr(ends[1], say_warning, "no room");
    alarm(0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true(end.tv_sec - start.tv_sec < 5);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels), cmocka_unit_test(test_no_sink_says_nothing), cmocka_unit_test(test_control_bytes_are_escaped),
        cmocka_unit_test(test_reader_gone), cmocka_unit_test(test_full_pipe_does_not_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
