#include "signals.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_AGAIN = 75 };

static volatile sig_atomic_t stop_signal, save_wanted;

static void say(const char *text)
{
    const ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static void on_stop(int number)
{
    if (number == SIGINT && stop_signal) _exit(128 + SIGINT);
    if (number == SIGINT) say("\nstopping after this step; interrupt again to leave at once\n");
    if (!stop_signal) stop_signal = number;
}

static void on_save(int number)
{
    (void)number;
    save_wanted = 1;
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction a = { .sa_handler = handler, .sa_flags = SA_RESTART };
    sigemptyset(&a.sa_mask);
    sigaction(number, &a, NULL);
}

void signals_install(void)
{
    handle(SIGINT, on_stop);
    handle(SIGTERM, on_stop);
    handle(SIGUSR1, on_stop);
    handle(SIGUSR2, on_save);
    handle(SIGHUP, isatty(STDIN_FILENO) ? on_stop : SIG_IGN);
}

run_request signals_request(void *unused)
{
    (void)unused;
    if (stop_signal) return RUN_SAVE_AND_STOP;
    if (!save_wanted) return RUN_GO_ON;
    save_wanted = 0;
    return RUN_SAVE;
}

int signals_exit_status(void)
{
    const int number = stop_signal;
    return number && number != SIGUSR1 ? 128 + number : EXIT_AGAIN;
}
