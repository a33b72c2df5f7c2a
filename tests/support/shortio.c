/* Loaded before libc (LD_PRELOAD) by tests/faults/short.rs: reads and writes that really transfer less than was asked
 * for, or are interrupted first, as POSIX allows at any time. SHORTIO=storm: each call, both; SHORTIO=N: the N-th call
 * of the process transfers one byte. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;
static _Thread_local int interrupted;

/* How much of `size` to transfer; -1: nothing, a signal came first. */
static long much(size_t size) {
    const char *mode = getenv("SHORTIO");
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (!mode || size == 0)
        return (long)size;
    if (strcmp(mode, "storm") != 0)
        return atol(mode) == n ? 1 : (long)size;
    if ((interrupted = !interrupted)) {
        errno = EINTR;
        return -1;
    }
    long part = 1 + (n * 7919) % 4099;
    return part < (long)size ? part : (long)size;
}

#define SHORT(size, call)                                                                                              \
    do {                                                                                                               \
        long part = much(size);                                                                                        \
        return part < 0 ? -1 : (call);                                                                                 \
    } while (0)

ssize_t read(int fd, void *to, size_t size) { SHORT(size, syscall(SYS_read, fd, to, part)); }
ssize_t write(int fd, const void *from, size_t size) { SHORT(size, syscall(SYS_write, fd, from, part)); }
ssize_t pread64(int fd, void *to, size_t size, off_t at) { SHORT(size, syscall(SYS_pread64, fd, to, part, at)); }
ssize_t pwrite64(int fd, const void *from, size_t size, off_t at) {
    SHORT(size, syscall(SYS_pwrite64, fd, from, part, at));
}
ssize_t pread(int fd, void *to, size_t size, off_t at) { return pread64(fd, to, size, at); }
ssize_t pwrite(int fd, const void *from, size_t size, off_t at) { return pwrite64(fd, from, size, at); }
ssize_t recv(int fd, void *to, size_t size, int flags) {
    SHORT(size, syscall(SYS_recvfrom, fd, to, part, flags, NULL, NULL));
}
ssize_t send(int fd, const void *from, size_t size, int flags) {
    SHORT(size, syscall(SYS_sendto, fd, from, part, flags, NULL, 0));
}
/* The first part only: that is short, too. */
ssize_t readv(int fd, const struct iovec *to, int parts) {
    return parts > 0 ? read(fd, to[0].iov_base, to[0].iov_len) : 0;
}
ssize_t writev(int fd, const struct iovec *from, int parts) {
    return parts > 0 ? write(fd, from[0].iov_base, from[0].iov_len) : 0;
}
