/* Makes calls of the operating system fail, for a program that runs with this library preloaded.
 *
 * Counts the calls of each kind that concern files below one directory (madvise: all calls), and lets the one of a given
 * number fail, or all from it on. What was injected, and at the end how many calls there were, is written to a report.
 *
 *   SHIM_DIR     the directory, absolute
 *   SHIM_REPORT  the report: a line "injected" for each fault, and "KIND CALLS" for each kind at the end
 *   SHIM_KIND    which call: open, read, pread, write, pwrite, fsync, fdatasync, ftruncate, rename, unlink, mkdir, mmap, madvise,
 *                flock, fchmod, stat, readdir, close
 *   SHIM_WHEN    from which call on, counted from 1
 *   SHIM_FOREVER set: each call from there on fails; otherwise only that one
 *   SHIM_ERRNO   the error, as a number; 0: write and pwrite take half of the bytes; mmap maps a private copy, which looks like
 *                success and keeps nothing (a lie that the test must notice)
 *
 *   SHIM_CLOCK   set: the wall clock jumps by days and decades, back and forth, from one reading to the next
 *
 * Sees what goes through the C library. Calls that a program makes by itself (rustix: fallocate, lseek) it doesn't see. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum kind {
    OPEN, READ, PREAD, WRITE, PWRITE, FSYNC, FDATASYNC, FTRUNCATE, RENAME, UNLINK, MKDIR, MMAP, MADVISE, FLOCK, FCHMOD, STAT,
    READDIR, CLOSE, KINDS
};
static const char *const names[KINDS] = {
    "open", "read", "pread", "write", "pwrite", "fsync", "fdatasync", "ftruncate", "rename", "unlink", "mkdir", "mmap",
    "madvise", "flock", "fchmod", "stat", "readdir", "close"
};

#define DESCRIPTORS 65536
static atomic_char ours[DESCRIPTORS];
static atomic_long calls[KINDS];
static const char *dir;
static size_t dir_length;
static int failing = -1, code, forever, report = -1, jumping;
static long when = LONG_MAX;

__attribute__((constructor)) static void begin(void) {
    const char *kind = getenv("SHIM_KIND"), *number = getenv("SHIM_WHEN"), *error = getenv("SHIM_ERRNO");
    const char *path = getenv("SHIM_REPORT");
    jumping = getenv("SHIM_CLOCK") != NULL;
    dir = getenv("SHIM_DIR");
    if (!dir || !path) return;
    dir_length = strlen(dir);
    report = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    for (int each = 0; kind && each < KINDS; each++)
        if (!strcmp(kind, names[each])) failing = each;
    if (number) when = atol(number);
    if (error) code = atoi(error);
    forever = getenv("SHIM_FOREVER") != NULL;
}

static void tell(const char *line, size_t length) {
    if (report >= 0 && syscall(SYS_write, report, line, length) < 0) abort();
}

__attribute__((destructor)) static void end(void) {
    char line[64];
    for (int each = 0; each < KINDS; each++) {
        int length = snprintf(line, sizeof line, "%s %ld\n", names[each], atomic_load(&calls[each]));
        tell(line, (size_t)length);
    }
}

/* Counts a call; whether it is one that fails. */
static int hit(enum kind kind) {
    long call = atomic_fetch_add(&calls[kind], 1) + 1;
    if ((int)kind != failing || (forever ? call < when : call != when)) return 0;
    tell("injected\n", 9);
    return 1;
}

static int below(const char *path) {
    return dir && !strncmp(path, dir, dir_length) && (path[dir_length] == 0 || path[dir_length] == '/');
}

static int is_ours(int file) { return file >= 0 && file < DESCRIPTORS && atomic_load(&ours[file]); }

static void mark(int file, int is) {
    if (file >= 0 && file < DESCRIPTORS) atomic_store(&ours[file], (char)is);
}

#define REAL(name) ((__typeof__(&name))real(&real_##name, #name))
static void *real(_Atomic(void *) *slot, const char *name) {
    void *found = atomic_load(slot);
    if (!found) {
        found = dlsym(RTLD_NEXT, name);
        atomic_store(slot, found);
    }
    return found;
}
#define SLOT(name) static _Atomic(void *) real_##name
#define FAIL(kind, mine, failure) if ((mine) && hit(kind)) { errno = code; return failure; }

static int opened(int file, const char *path) {
    if (file >= 0) mark(file, below(path));
    return file;
}

static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; }

SLOT(open); SLOT(open64); SLOT(openat); SLOT(openat64);
#define OPENS(name)                                                                \
    int name(const char *path, int flags, ...) {                                   \
        va_list rest; va_start(rest, flags); mode_t mode = mode_of(flags, rest); va_end(rest); \
        FAIL(OPEN, below(path), -1)                                                \
        return opened(REAL(name)(path, flags, mode), path);                        \
    }
OPENS(open) OPENS(open64)
#define OPENS_AT(name)                                                             \
    int name(int at, const char *path, int flags, ...) {                           \
        va_list rest; va_start(rest, flags); mode_t mode = mode_of(flags, rest); va_end(rest); \
        FAIL(OPEN, below(path), -1)                                                \
        return opened(REAL(name)(at, path, flags, mode), path);                    \
    }
OPENS_AT(openat) OPENS_AT(openat64)

SLOT(close);
int close(int file) {
    int mine = is_ours(file);
    mark(file, 0);
    int closed = REAL(close)(file);
    /* The kernel closes a file also where it tells of an error. */
    FAIL(CLOSE, mine, -1)
    return closed;
}

SLOT(read);
ssize_t read(int file, void *bytes, size_t length) {
    FAIL(READ, is_ours(file), -1)
    return REAL(read)(file, bytes, length);
}
SLOT(pread64);
ssize_t pread64(int file, void *bytes, size_t length, off64_t offset) {
    FAIL(PREAD, is_ours(file), -1)
    return REAL(pread64)(file, bytes, length, offset);
}
/* Half of the bytes, where the error is 0. */
SLOT(write);
ssize_t write(int file, const void *bytes, size_t length) {
    if (is_ours(file) && hit(WRITE)) {
        if (code) { errno = code; return -1; }
        length = (length + 1) / 2;
    }
    return REAL(write)(file, bytes, length);
}
SLOT(pwrite64);
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    if (is_ours(file) && hit(PWRITE)) {
        if (code) { errno = code; return -1; }
        length = (length + 1) / 2;
    }
    return REAL(pwrite64)(file, bytes, length, offset);
}

SLOT(fsync);
int fsync(int file) { FAIL(FSYNC, is_ours(file), -1) return REAL(fsync)(file); }
SLOT(fdatasync);
int fdatasync(int file) { FAIL(FDATASYNC, is_ours(file), -1) return REAL(fdatasync)(file); }
SLOT(ftruncate64);
int ftruncate64(int file, off64_t length) { FAIL(FTRUNCATE, is_ours(file), -1) return REAL(ftruncate64)(file, length); }
SLOT(flock);
int flock(int file, int operation) { FAIL(FLOCK, is_ours(file), -1) return REAL(flock)(file, operation); }
SLOT(fchmod);
int fchmod(int file, mode_t mode) { FAIL(FCHMOD, is_ours(file), -1) return REAL(fchmod)(file, mode); }
SLOT(rename);
int rename(const char *from, const char *to) { FAIL(RENAME, below(to), -1) return REAL(rename)(from, to); }
SLOT(unlink);
int unlink(const char *path) { FAIL(UNLINK, below(path), -1) return REAL(unlink)(path); }
SLOT(mkdir);
int mkdir(const char *path, mode_t mode) { FAIL(MKDIR, below(path), -1) return REAL(mkdir)(path, mode); }
SLOT(statx);
int statx(int at, const char *path, int flags, unsigned mask, struct statx *told) {
    /* Rust's library asks with no path at all whether there is such a call; volatile, since the header says that can't be. */
    const char *volatile given = path;
    FAIL(STAT, given && (below(path) || (!*path && is_ours(at))), -1)
    return REAL(statx)(at, path, flags, mask, told);
}
SLOT(opendir);
DIR *opendir(const char *path) {
    DIR *opened = REAL(opendir)(path);
    if (opened) mark(dirfd(opened), below(path));
    return opened;
}
SLOT(readdir64);
struct dirent64 *readdir64(DIR *listed) {
    FAIL(READDIR, is_ours(dirfd(listed)), NULL)
    return REAL(readdir64)(listed);
}
SLOT(madvise);
int madvise(void *from, size_t length, int advice) { FAIL(MADVISE, dir != NULL, -1) return REAL(madvise)(from, length, advice); }

SLOT(mmap); SLOT(mmap64);
#define MAPS(name, offset_t)                                                       \
    void *name(void *from, size_t length, int access, int flags, int file, offset_t offset) { \
        if (!(flags & MAP_ANONYMOUS) && is_ours(file) && hit(MMAP)) {              \
            if (code) { errno = code; return MAP_FAILED; }                         \
            flags = (flags & ~(MAP_SHARED | MAP_SHARED_VALIDATE)) | MAP_PRIVATE;   \
        }                                                                          \
        return REAL(name)(from, length, access, flags, file, offset);              \
    }
MAPS(mmap, off_t) MAPS(mmap64, off64_t)

SLOT(clock_gettime);
int clock_gettime(clockid_t clock, struct timespec *told) {
    static const long days[] = {0, 0, 1, -1, 0, 10950, 3, -25000, -1, 2, 0};
    static atomic_ulong readings;
    int failed = REAL(clock_gettime)(clock, told);
    if (!failed && jumping && clock == CLOCK_REALTIME)
        told->tv_sec += 86400 * days[atomic_fetch_add(&readings, 1) % (sizeof days / sizeof *days)];
    return failed;
}
