// A processor that says it has no more than AVX2.
//
// Libraries ask the processor itself, by the instruction `cpuid`, and most have no setting that
// would hold them back. Linux can have that instruction fail, as an access to memory that is not
// there does. Then the handler below answers in its place, and no other may take that place, as
// compilers would. Threads and forks inherit it, other programs load this library anew. Before it,
// libc has chosen how to copy memory; and a thread that blocks SIGSEGV ends the process by `cpuid`.
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

typedef int Set(int, const struct sigaction*, struct sigaction*);
typedef sighandler_t Signal(int, sighandler_t);

// Libc's own, behind that of this file.
static int set_action(int signal, const struct sigaction* action, struct sigaction* before) {
    return ((Set*)dlsym(RTLD_NEXT, "sigaction"))(signal, action, before);
}

static int let(unsigned long may) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, may); }

// What leaf 7 says beyond AVX2, by Intel's manual, volume 2A, `cpuid`.
static const unsigned EBX = 1u << 16 | 1u << 17 | 1u << 21 | 3u << 26 | 1u << 28 | 3u << 30;
static const unsigned ECX = 1u << 1 | 1u << 6 | 3u << 8 | 3u << 10 | 1u << 12 | 1u << 14;
static const unsigned EDX = 3u << 2 | 1u << 8 | 7u << 22 | 1u << 25;

static void answer(int number, siginfo_t* info, void* context) {
    greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
    const unsigned char* code = (const unsigned char*)registers[REG_RIP];
    if (info->si_code != SI_KERNEL || code[0] != 0x0F || code[1] != 0xA2) {
        set_action(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
        if (info->si_code <= 0) raise(number);  // it was sent
        return;  // to a true fault, which ends the process now
    }
    const unsigned leaf = registers[REG_RAX], part = registers[REG_RCX];
    unsigned a, b, c, d;
    let(1);
    __cpuid_count(leaf, part, a, b, c, d);
    let(0);
    if (leaf == 7 && part == 0) {
        b &= ~EBX;
        c &= ~ECX;
        d &= ~EDX;
    } else if (leaf == 7 || leaf == 0x1D || leaf == 0x1E || leaf == 0x24) {
        a = b = c = d = 0;  // AVX-VNNI and later, AMX, AVX10
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

int sigaction(int signal, const struct sigaction* action, struct sigaction* before) {
    return set_action(signal, signal == SIGSEGV ? NULL : action, before);
}

sighandler_t signal(int signal, sighandler_t handler) {
    Signal* set = (Signal*)dlsym(RTLD_NEXT, "signal");
    return signal == SIGSEGV ? SIG_DFL : set(signal, handler);
}

__attribute__((constructor)) static void begin(void) {
    set_action(SIGSEGV, &(struct sigaction){.sa_sigaction = answer, .sa_flags = SA_SIGINFO}, NULL);
    if (let(0)) {
        perror("this processor or system can't have cpuid fail");
        exit(1);
    }
}
