/* Breaks the calls by which a process changes what is on a disk, whoever makes them: Python, HDF5,
 * torch. Loaded with LD_PRELOAD; see crash_harness.py. Counted are calls on files below a folder,
 * from crash_arm on; the one of a given number (or all from it on, in mode FULL) is broken. Noted is
 * also what a power failure would show: a file renamed before its writes were synced. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, KILL, TORN, FAIL, FULL, SHORT };
static char root[PATH_MAX];
static size_t root_length;
static int mode = OFF, number;
static long target;
static atomic_long calls;
enum { RENAMED_UNSYNCED = 1, SYNC_FAILED = 2 };
static atomic_int noted;
static unsigned char unsynced[1 << 16]; /* by the last bits of the inode */

void crash_arm(const char *folder, long at, int how, int error) {
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root);
    target = at, number = error, atomic_store(&calls, 0), atomic_store(&noted, 0);
    memset(unsynced, 0, sizeof unsynced), mode = how;
}
long crash_calls(void) { return atomic_load(&calls); }
int crash_noted(void) { return atomic_load(&noted); }

static int below(const char *path) { return strncmp(path, root, root_length) == 0; }
static int fd_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return below(path);
}
static int at_below(int dir, const char *path) {
    return path[0] == '/' || dir == AT_FDCWD ? below(path) : fd_below(dir);
}
static void mark(int fd, int dirty) {
    struct stat s;
    if (mode != OFF && fd_below(fd) && fstat(fd, &s) == 0) unsynced[s.st_ino & 0xffff] = dirty;
}
static void note_renaming(int dir, const char *path) {
    struct stat s;
    if (mode != OFF && fstatat(dir, path, &s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(s.st_mode) &&
        unsynced[s.st_ino & 0xffff])
        atomic_fetch_or(&noted, RENAMED_UNSYNCED);
}
static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}
/* What is to become of this call: 0 nothing, 1 fail, 2 do it and die, 3 half of it, 4 half, die. */
static int fate(int counts, int writes) {
    if (mode == OFF || !counts) return 0;
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (mode == FULL) return n >= target && writes ? (errno = ENOSPC, 1) : 0;
    if (n != target) return 0;
    if (mode == KILL) die();
    if (mode == FAIL) return errno = number, 1;
    if (mode == SHORT) return writes == 2 ? 3 : 0;
    return writes == 2 ? 4 : 2;
}
#define REAL(name) ((__typeof__(&name))({ static void *f; if (!f) f = dlsym(RTLD_NEXT, #name); f; }))
#define PLAIN(counts, writes, call) do { \
    int f = fate(counts, writes); \
    if (f == 1) return -1; \
    __typeof__(call) result = (call); \
    if (f == 2 || f == 4) die(); \
    return result; } while (0)
#define WRITING(fd, size, call, half) do { \
    int f = fate(fd_below(fd), 2); \
    if (f == 1) return -1; \
    mark(fd, 1); \
    if (f >= 3 && (size) > 1) { ssize_t r = (half); if (f == 4) die(); return r; } \
    ssize_t result = (call); \
    if (f == 2 || f == 4) die(); \
    return result; } while (0)

ssize_t write(int fd, const void *data, size_t n) {
    WRITING(fd, n, REAL(write)(fd, data, n), REAL(write)(fd, data, n / 2));
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    WRITING(fd, n, REAL(pwrite)(fd, data, n, at), REAL(pwrite)(fd, data, n / 2, at));
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    WRITING(fd, n, REAL(pwrite64)(fd, data, n, at), REAL(pwrite64)(fd, data, n / 2, at));
}
ssize_t writev(int fd, const struct iovec *v, int n) {
    WRITING(fd, n, REAL(writev)(fd, v, n), REAL(writev)(fd, v, n / 2));
}
#define SYNCING(fd, call) do { \
    int f = fate(fd_below(fd), 0); \
    if (f == 1) return atomic_fetch_or(&noted, SYNC_FAILED), -1; \
    int result = (call); \
    mark(fd, 0); \
    if (f == 2) die(); \
    return result; } while (0)
int fsync(int fd) { SYNCING(fd, REAL(fsync)(fd)); }
int fdatasync(int fd) { SYNCING(fd, REAL(fdatasync)(fd)); }
int ftruncate(int fd, off_t n) { PLAIN(fd_below(fd), 1, REAL(ftruncate)(fd, n)); }
int ftruncate64(int fd, off64_t n) { PLAIN(fd_below(fd), 1, REAL(ftruncate64)(fd, n)); }
int rename(const char *a, const char *b) {
    note_renaming(AT_FDCWD, a);
    PLAIN(below(b), 0, REAL(rename)(a, b));
}
int renameat(int d, const char *a, int e, const char *b) {
    note_renaming(d, a);
    PLAIN(at_below(e, b), 0, REAL(renameat)(d, a, e, b));
}
int unlink(const char *path) { PLAIN(below(path), 0, REAL(unlink)(path)); }
int unlinkat(int dir, const char *path, int flags) {
    PLAIN(at_below(dir, path), 0, REAL(unlinkat)(dir, path, flags));
}
int rmdir(const char *path) { PLAIN(below(path), 0, REAL(rmdir)(path)); }
int mkdir(const char *path, mode_t m) { PLAIN(below(path), 1, REAL(mkdir)(path, m)); }
int mkdirat(int dir, const char *path, mode_t m) {
    PLAIN(at_below(dir, path), 1, REAL(mkdirat)(dir, path, m));
}
#define OPENING(name, dir, call) do { \
    mode_t m = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list l; va_start(l, flags); m = va_arg(l, int); va_end(l); } \
    PLAIN((flags & (O_CREAT | O_TRUNC)) && at_below(dir, path), 1, call); } while (0)
int open(const char *path, int flags, ...) {
    OPENING(open, AT_FDCWD, REAL(open)(path, flags, m));
}
int open64(const char *path, int flags, ...) {
    OPENING(open64, AT_FDCWD, REAL(open64)(path, flags, m));
}
int openat(int dir, const char *path, int flags, ...) {
    OPENING(openat, dir, REAL(openat)(dir, path, flags, m));
}
int openat64(int dir, const char *path, int flags, ...) {
    OPENING(openat64, dir, REAL(openat64)(dir, path, flags, m));
}
