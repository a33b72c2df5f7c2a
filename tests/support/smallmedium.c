/* Loaded before libc (LD_PRELOAD) by tests/faults/read_back.rs: a medium with less room than it claims. What is written
 * to a `.partial` file at or after offset CAPACITY is swallowed, and said to be written. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

ssize_t pwrite64(int fd, const void *from, size_t size, off_t at) {
    const char *capacity = getenv("CAPACITY");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    if (!capacity || !strstr(path, ".partial") || at + (off_t)size <= atol(capacity))
        return syscall(SYS_pwrite64, fd, from, size, at);
    if (at < atol(capacity))
        syscall(SYS_pwrite64, fd, from, (size_t)(atol(capacity) - at), at);
    return (ssize_t)size;
}
ssize_t pwrite(int fd, const void *from, size_t size, off_t at) { return pwrite64(fd, from, size, at); }
