/*
 * Lets Debian's user-mode Linux run on processors with AMX.
 *
 * Linux 6.1's user mode saves a process's floating-point registers into a buffer whose size it fixed when it was compiled, and
 * writes them back with the same size. The host refuses a write that is not the whole of its own format (EFAULT, xstateregs_set
 * in arch/x86/kernel/fpu/regset.c), and with AMX that format has 11 KiB. So, preloaded into the user-mode kernel, this ptrace()
 * completes such a write with what the registers hold already: the tiles, which nothing in the guest uses.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

typedef long (*ptrace_function)(enum __ptrace_request, ...);

long ptrace(enum __ptrace_request request, ...) {
    static ptrace_function next;
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);
    if (!next)
        next = (ptrace_function)dlsym(RTLD_NEXT, "ptrace");
    if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE) {
        static char whole[65536];
        struct iovec *given = data;
        struct iovec full = { whole, sizeof whole };
        if (next(PTRACE_GETREGSET, pid, address, &full) == 0 && full.iov_len > given->iov_len) {
            memcpy(whole, given->iov_base, given->iov_len);
            return next(PTRACE_SETREGSET, pid, address, &full);
        }
    }
    return next(request, pid, address, data);
}
