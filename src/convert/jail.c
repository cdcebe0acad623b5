/* jail.c - see jail.h. Only main calls it, before any byte of the model is read. */
#include "convert/jail.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void limit(int what, uint64_t value)
{
    struct rlimit r;
    if (getrlimit(what, &r) != 0)
        return;
    if (r.rlim_max == RLIM_INFINITY || value < r.rlim_max)
        r.rlim_max = value;
    r.rlim_cur = value < r.rlim_max ? value : r.rlim_max;
    setrlimit(what, &r);
}

#if defined __x86_64__
#define JAIL_ARCH AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define JAIL_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef JAIL_ARCH
#define DENY(number)                                                                               \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                           \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EACCES & SECCOMP_RET_DATA))

static void no_network(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, JAIL_ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EACCES & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef __x86_64__ /* the x32 calls have numbers of their own */
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EACCES & SECCOMP_RET_DATA)),
#endif
        DENY(SYS_socket),
        DENY(SYS_socketpair),
        DENY(SYS_connect),
        DENY(SYS_execve),
        DENY(SYS_execveat),
        DENY(SYS_ptrace),
        DENY(SYS_bpf),
        DENY(SYS_io_uring_setup),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
#else
static void no_network(void)
{
}
#endif

/* The sanitizers reserve terabytes of addresses and start a symbolizer. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define JAIL_OFF 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define JAIL_OFF 1
#endif
#endif

void jail_enter(uint64_t memory_bytes, uint64_t cpu_seconds)
{
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_CPU, cpu_seconds + 2); /* at the hard limit comes SIGKILL */
    struct rlimit time;
    if (getrlimit(RLIMIT_CPU, &time) == 0 && cpu_seconds < time.rlim_cur) {
        time.rlim_cur = cpu_seconds; /* at the soft one SIGXCPU, which says what it was */
        setrlimit(RLIMIT_CPU, &time);
    }
#ifndef JAIL_OFF
    limit(RLIMIT_AS, memory_bytes);
    no_network();
#else
    (void)memory_bytes;
    (void)no_network;
#endif
}
