 /* Simulates a failing disk. Preloaded before the system's library, it makes
 * writes and syncs of files below $FAULTY_DISK_FOLDER fail or block, as the
 * file $FAULTY_DISK_CONTROL says. That file holds two numbers, one for writes
 * and one for syncs: 0 (succeed), an errno (fail with it), or -1 (block until
 * the file changes). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WRITES, SYNCS };

 /* Reads the control file; 0 if it cannot be read. */
static int fault(int which) {
    const char *path = getenv("FAULTY_DISK_CONTROL");
    char text[64] = "";
    int faults[2] = {0, 0};
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0) : -1;
    if (fd < 0)
        return 0;
    if (syscall(SYS_read, fd, text, sizeof text - 1) > 0)
        sscanf(text, "%d %d", &faults[WRITES], &faults[SYNCS]);
    syscall(SYS_close, fd);
    return faults[which];
}

static int is_ours(int fd) {
    const char *folder = getenv("FAULTY_DISK_FOLDER");
    char link[64], path[4096];
    ssize_t length;
    if (!folder)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

 /* Returns 0 if the call may proceed, else -1 with errno set. */
static int meet_fault(int fd, int which) {
    int error;
    if (!is_ours(fd))
        return 0;
    while ((error = fault(which)) < 0)
        usleep(1000);
    errno = error;
    return error ? -1 : 0;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t length) {
    return meet_fault(fd, WRITES) ? -1 : NEXT(write)(fd, data, length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    return meet_fault(fd, WRITES) ? -1 : NEXT(pwrite)(fd, data, length, at);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    return meet_fault(fd, WRITES) ? -1 : NEXT(pwrite64)(fd, data, length, at);
}

int fsync(int fd) {
    return meet_fault(fd, SYNCS) ? -1 : NEXT(fsync)(fd);
}

int fdatasync(int fd) {
    return meet_fault(fd, SYNCS) ? -1 : NEXT(fdatasync)(fd);
}
