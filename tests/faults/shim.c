/* Faults in the calls by which a process changes a disk: it dies at the N-th one, or the call fails.
 *
 * One counter over all threads (strace counts per call and thread, and misses some). Orders come as
 * FAULT_SHIM="action=kill;at=7;calls=fsync,rename;path=/outputs/;errno=5;every=1;log=FILE", from the environment
 * when the library is loaded or from fault_shim_order() in a forked child.
 *   action  count | kill | torn (a write writes half of its bytes, then the process dies) | stop (SIGSTOP) | errno
 *   at      which counted call, from 1; 0: none (errno with every=1: from that call on)
 *   calls   names that count, comma separated; none: all that change something (open counts only when named
 *           or when it makes a file)
 *   path    only calls whose path holds this text
 *   log     one line a counted call: number, name, path
 * Standard streams and files outside of the process's own (pipes, /dev) do not count.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, COUNT, KILL, TORN, FAIL, STOP };

static atomic_long counter;
static int action = OFF, error_number = 0, every = 0, log_handle = -1;
static long at = 0;
static char calls[512], wanted[512];

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static int field(const char *text, const char *name, char *out, size_t size) {
    size_t length = strlen(name);
    for (const char *p = text; p && *p; p = strchr(p, ';') ? strchr(p, ';') + 1 : NULL) {
        if (strncmp(p, name, length) == 0 && p[length] == '=') {
            size_t n = strcspn(p + length + 1, ";");
            if (n >= size) n = size - 1;
            memcpy(out, p + length + 1, n);
            out[n] = 0;
            return 1;
        }
    }
    out[0] = 0;
    return 0;
}

void fault_shim_order(const char *text) {
    char value[512];
    action = OFF;
    field(text, "action", value, sizeof value);
    int next = !strcmp(value, "count") ? COUNT : !strcmp(value, "kill") ? KILL
             : !strcmp(value, "torn") ? TORN : !strcmp(value, "stop") ? STOP
             : !strcmp(value, "errno") ? FAIL : OFF;
    field(text, "at", value, sizeof value);
    at = atol(value);
    field(text, "errno", value, sizeof value);
    error_number = atoi(value);
    field(text, "every", value, sizeof value);
    every = atoi(value);
    field(text, "calls", calls, sizeof calls);
    field(text, "path", wanted, sizeof wanted);
    if (log_handle >= 0) syscall(SYS_close, log_handle);
    log_handle = -1;
    if (field(text, "log", value, sizeof value)) {
        int low = syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        log_handle = syscall(SYS_fcntl, low, F_DUPFD_CLOEXEC, 900);
        if (log_handle >= 0) syscall(SYS_close, low); else log_handle = low;
    }
    atomic_store(&counter, 0);
    action = next;
}

__attribute__((constructor)) static void start(void) {
    const char *text = getenv("FAULT_SHIM");
    if (text && *text) fault_shim_order(text);
}

static int named(const char *name) {
    size_t length = strlen(name);
    for (const char *p = calls; *p;) {
        size_t n = strcspn(p, ",");
        if (n == length && strncmp(p, name, n) == 0) return 1;
        p += n + (p[n] == ',');
    }
    return 0;
}

/* 0: go on; otherwise what to do now. Dies by itself for KILL. */
static int counted(const char *name, const char *path, int only_if_named) {
    if (action == OFF) return 0;
    if (calls[0] ? !named(name) : only_if_named) return 0;
    if (wanted[0] && !strstr(path, wanted)) return 0;
    long n = atomic_fetch_add(&counter, 1) + 1;
    int now = at > 0 && (n == at || (every && n > at));
    if (log_handle >= 0) {
        char line[1400];
        int length = snprintf(line, sizeof line, "%ld %s %s%s\n", n, name, path, now ? " <- here" : "");
        syscall(SYS_write, log_handle, line, length);
    }
    if (!now) return 0;
    if (action == KILL) die();
    if (action == STOP) syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP); /* here, not a little later */
    return action;
}

static int by_handle(const char *name, int handle) {
    if (action == OFF || handle < 3 || handle == log_handle) return 0;
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    if (path[0] != '/' || strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0) return 0;
    return counted(name, path, 0);
}

static int by_paths(const char *name, const char *first, const char *second) {
    char both[1100];
    if (action == OFF) return 0;
    snprintf(both, sizeof both, "%s%s%s", first ? first : "", second ? " " : "", second ? second : "");
    return counted(name, both, 0);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define FAILING(what) do { if ((what) == FAIL) { errno = error_number; return -1; } } while (0)

#define WRITES(function, parameters, types, fd, half, ...) \
    ssize_t function parameters { \
        REAL(ssize_t, #function, types); \
        int what = by_handle(#function, fd); \
        if (what == TORN) { half; die(); } \
        FAILING(what); \
        return real(__VA_ARGS__); \
    }
#define C ,
WRITES(write, (int fd, const void *b, size_t n), int C const void * C size_t, fd, (void)!real(fd, b, n / 2), fd, b, n)
WRITES(pwrite, (int fd, const void *b, size_t n, off_t o), int C const void * C size_t C off_t, fd,
       (void)!real(fd, b, n / 2, o), fd, b, n, o)
WRITES(pwrite64, (int fd, const void *b, size_t n, off64_t o), int C const void * C size_t C off64_t, fd,
       (void)!real(fd, b, n / 2, o), fd, b, n, o)
WRITES(writev, (int fd, const struct iovec *v, int n), int C const struct iovec * C int, fd,
       (void)!real(fd, v, n > 1 ? n / 2 : n), fd, v, n)
WRITES(pwritev, (int fd, const struct iovec *v, int n, off_t o), int C const struct iovec * C int C off_t, fd,
       (void)!real(fd, v, n > 1 ? n / 2 : n, o), fd, v, n, o)
WRITES(pwritev64, (int fd, const struct iovec *v, int n, off64_t o), int C const struct iovec * C int C off64_t, fd,
       (void)!real(fd, v, n > 1 ? n / 2 : n, o), fd, v, n, o)
WRITES(copy_file_range, (int in, off64_t *i, int fd, off64_t *o, size_t n, unsigned f),
       int C off64_t * C int C off64_t * C size_t C unsigned, fd, (void)!real(in, i, fd, o, n / 2, f), in, i, fd, o, n, f)
WRITES(sendfile, (int fd, int in, off_t *o, size_t n), int C int C off_t * C size_t, fd,
       (void)!real(fd, in, o, n / 2), fd, in, o, n)
WRITES(sendfile64, (int fd, int in, off64_t *o, size_t n), int C int C off64_t * C size_t, fd,
       (void)!real(fd, in, o, n / 2), fd, in, o, n)

#define HANDLES(function, parameters, types, ...) \
    int function parameters { \
        REAL(int, #function, types); \
        int what = by_handle(#function, fd); \
        if (what == TORN) die(); \
        FAILING(what); \
        return real(__VA_ARGS__); \
    }
HANDLES(fsync, (int fd), int, fd)
HANDLES(fdatasync, (int fd), int, fd)
HANDLES(ftruncate, (int fd, off_t n), int C off_t, fd, n)
HANDLES(ftruncate64, (int fd, off64_t n), int C off64_t, fd, n)
HANDLES(fallocate, (int fd, int m, off_t o, off_t n), int C int C off_t C off_t, fd, m, o, n)
HANDLES(fallocate64, (int fd, int m, off64_t o, off64_t n), int C int C off64_t C off64_t, fd, m, o, n)
HANDLES(fchmod, (int fd, mode_t m), int C mode_t, fd, m)

#define PATHS(function, parameters, types, first, second, ...) \
    int function parameters { \
        REAL(int, #function, types); \
        int what = by_paths(#function, first, second); \
        if (what == TORN) die(); \
        FAILING(what); \
        return real(__VA_ARGS__); \
    }
PATHS(rename, (const char *a, const char *b), const char * C const char *, a, b, a, b)
PATHS(renameat, (int d, const char *a, int e, const char *b), int C const char * C int C const char *, a, b, d, a, e, b)
PATHS(renameat2, (int d, const char *a, int e, const char *b, unsigned f),
      int C const char * C int C const char * C unsigned, a, b, d, a, e, b, f)
PATHS(unlink, (const char *a), const char *, a, NULL, a)
PATHS(unlinkat, (int d, const char *a, int f), int C const char * C int, a, NULL, d, a, f)
PATHS(rmdir, (const char *a), const char *, a, NULL, a)
PATHS(mkdir, (const char *a, mode_t m), const char * C mode_t, a, NULL, a, m)
PATHS(mkdirat, (int d, const char *a, mode_t m), int C const char * C mode_t, a, NULL, d, a, m)
PATHS(link, (const char *a, const char *b), const char * C const char *, a, b, a, b)
PATHS(linkat, (int d, const char *a, int e, const char *b, int f),
      int C const char * C int C const char * C int, a, b, d, a, e, b, f)
PATHS(symlink, (const char *a, const char *b), const char * C const char *, a, b, a, b)
PATHS(chmod, (const char *a, mode_t m), const char * C mode_t, a, NULL, a, m)
PATHS(fchmodat, (int d, const char *a, mode_t m, int f), int C const char * C mode_t C int, a, NULL, d, a, m, f)
PATHS(truncate, (const char *a, off_t n), const char * C off_t, a, NULL, a, n)
PATHS(truncate64, (const char *a, off64_t n), const char * C off64_t, a, NULL, a, n)

static int opened(const char *path, int flags) {
    struct stat about;
    if (action == OFF) return 0;
    int changes = (flags & O_TRUNC) || ((flags & O_CREAT) && syscall(SYS_newfstatat, AT_FDCWD, path, &about, 0) != 0);
    return counted("open", path, !changes);
}

#define MODE mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
#define OPENS(function) \
    int function(const char *path, int flags, ...) { \
        MODE REAL(int, #function, const char *, int, ...); \
        int what = opened(path, flags); \
        if (what == TORN) die(); \
        FAILING(what); \
        return real(path, flags, mode); \
    }
#define OPENSAT(function) \
    int function(int folder, const char *path, int flags, ...) { \
        MODE REAL(int, #function, int, const char *, int, ...); \
        int what = opened(path, flags); \
        if (what == TORN) die(); \
        FAILING(what); \
        return real(folder, path, flags, mode); \
    }
OPENS(open)
OPENS(open64)
OPENSAT(openat)
OPENSAT(openat64)
