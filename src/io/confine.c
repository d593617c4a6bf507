#include "io/confine.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KEPT = 3 };

static bool keep_only(int *fd)
{
    if (*fd != KEPT && dup2(*fd, KEPT) < 0) return false;
    *fd = KEPT;
    const int null = open("/dev/null", O_RDWR);
    if (null < 0) return false;
    for (int i = 0; i < KEPT; i++)
        if (dup2(null, i) < 0) return false;
    return close_range(KEPT + 1, ~0U, 0) == 0;
}

static bool limit(__rlimit_resource_t what, rlim_t value)
{
    const struct rlimit l = { value, value };
    return setrlimit(what, &l) == 0;
}

/* Bytes of address space that are in use; sanitizers reserve terabytes. 0: unknown. */
static rlim_t address_space(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f) return 0;
    const int n = fscanf(f, "%llu", &pages);
    fclose(f);
    return n == 1 ? (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) : 0;
}

/* A handler of the parent's, or of a sanitizer, would run in a damaged process. */
static void default_signals(void)
{
    sigset_t none;
    for (int i = 1; i < NSIG; i++) signal(i, i == SIGINT || i == SIGTERM || i == SIGHUP ? SIG_IGN : SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

bool confine_process(int *fd, size_t memory, unsigned seconds)
{
    const pid_t parent = getppid();
    const rlim_t used = address_space();
    default_signals();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent || !keep_only(fd) || !used) return false;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && limit(RLIMIT_AS, used + memory) && limit(RLIMIT_CPU, seconds) && limit(RLIMIT_FSIZE, 0) &&
           limit(RLIMIT_CORE, 0);
}

#if defined __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#ifdef ARCHITECTURE
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(what) BPF_STMT(BPF_RET | BPF_K, what)
#define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), ANSWER(SECCOMP_RET_ALLOW)

bool confine_calls(void)
{
    /* Another architecture's calls have other numbers, and so have x32's, which are all above. */
    struct sock_filter rules[] = {
        LOAD(arch),        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0), ANSWER(SECCOMP_RET_KILL_PROCESS),
        LOAD(nr),          ALLOW(__NR_write),         ALLOW(__NR_exit_group), ALLOW(__NR_brk),
        ALLOW(__NR_mmap),  ALLOW(__NR_munmap),        ALLOW(__NR_mremap),     ALLOW(__NR_madvise),
        ALLOW(__NR_mprotect), ALLOW(__NR_futex),      ALLOW(__NR_restart_syscall), ANSWER(SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog program = { .len = sizeof rules / sizeof *rules, .filter = rules };
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}
#else
bool confine_calls(void) { return false; }
#endif
