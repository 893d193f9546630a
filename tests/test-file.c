/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files of ours: nothing foreign is followed, nothing half is left. */

#include "util/file.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <cmocka.h>

static char directory[PATH_MAX];
static int dir_fd = -EBADF;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int set_up(void **state) {
        strcpy(directory, "/tmp/test-file-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir_fd < 0 ? -1 : 0;
}

static int tear_down(void **state) {
        dir_fd = safe_close(dir_fd);
        return nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* From here on, for good, the kernel is one before 5.6. */
static int set_up_without_openat2(void **state) {
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { .len = ELEMENTSOF(filter), .filter = filter };

        if (syscall(SYS_openat2, AT_FDCWD, ".", NULL, 0) < 0 && errno == ENOSYS)
                return set_up(state);

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                return -1;
        return set_up(state);
}

static void given_file(const char *name, const char *text) {
        _cleanup_(safe_closep) int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void given_directory(const char *name) {
        assert_int_equal(mkdirat(dir_fd, name, 0755), 0);
}

static void given_link(const char *target, const char *name) {
        assert_int_equal(symlinkat(target, dir_fd, name), 0);
}

static void given_fifo(const char *name) {
        assert_int_equal(mkfifoat(dir_fd, name, 0600), 0);
}

static void given_socket(const char *name) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(safe_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir_fd, name);
        assert_int_equal(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
}

static const char *path_of(const char *name) {
        static char path[PATH_MAX * 2];

        (void) snprintf(path, sizeof(path), "%s/%s", directory, name);
        return path;
}

static void given_mount_namespace(void) {
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0) {
                print_message("no mount namespace to be had here: %s\n", strerror(errno));
                skip();
        }
}

static void given_small_tmpfs(const char *name, const char *size) {
        given_mount_namespace();

        /* The old one belongs to the old namespace, which sees none of our mounts. */
        dir_fd = safe_close(dir_fd);
        dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(dir_fd >= 0);
        given_directory(name);
        assert_int_equal(mount("tmpfs", path_of(name), "tmpfs", MS_NODEV | MS_NOSUID, size), 0);
}

static void then_file_holds(int at, const char *name, const void *data, size_t size) {
        _cleanup_(freep) char *text = NULL;
        size_t n = 0;

        assert_int_equal(file_read_beneath(at, name, 1 << 20, &text, &n), 0);
        assert_int_equal(n, size);
        assert_memory_equal(text, data, size);
        assert_int_equal(text[size], 0);
}

static void then_mode_is(int at, const char *name, mode_t mode) {
        struct stat st;

        assert_int_equal(fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(st.st_mode & 07777, mode);
}

static void then_nothing_is_called(int at, const char *name) {
        assert_int_equal(faccessat(at, name, F_OK, AT_SYMLINK_NOFOLLOW), -1);
        assert_int_equal(errno, ENOENT);
}

static void then_reading_fails(const char *name, size_t max, int error) {
        char *text = (char *) "untouched";
        size_t size = 42;

        assert_int_equal(file_read_beneath(dir_fd, name, max, &text, &size), error);
        assert_string_equal(text, "untouched");
        assert_int_equal(size, 42);
}

/* ---- opening ---- */

static void nothing_outside_is_opened(void **state) {
        given_directory("sub");
        given_file("sub/file", "x");
        given_link("/etc/passwd", "absolute");
        given_link("sub/file", "relative");
        given_link("sub", "sub-link");
        given_link("nowhere", "dangling");

        static const struct {
                const char *path;
                int result;
        } table[] = {
                { "/etc/passwd", -EXDEV },
                { "../etc/passwd", -EXDEV },
                { "..", -EXDEV },
                { "sub/../../x", -EXDEV },
                { "absolute", -ELOOP },
                { "relative", -ELOOP },
                { "sub-link", -ELOOP },
                { "sub-link/file", -ELOOP },
                { "dangling", -ELOOP },
                { "absent", -ENOENT },
                { "", -ENOENT },
                { "sub/file/x", -ENOTDIR },
                { "sub/file/", -ENOTDIR },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                print_message("# case %zu\n", i);
                assert_int_equal(file_open_beneath(dir_fd, table[i].path, O_RDONLY, 0), table[i].result);
        }
        /* O_PATH would open a symbolic link itself; ours must not, and neither may O_CREAT write through one. */
        assert_int_equal(file_open_beneath(dir_fd, "relative", O_PATH, 0), -ELOOP);
        assert_int_equal(file_open_beneath(dir_fd, "dangling", O_WRONLY | O_CREAT, 0600), -ELOOP);
        then_nothing_is_called(dir_fd, "nowhere");
}

static void magic_links_of_proc_are_not_followed(void **state) {
        _cleanup_(safe_closep) int proc = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(proc >= 0);
        assert_int_equal(file_open_beneath(proc, "cwd/.", O_RDONLY, 0), -ELOOP);
        assert_int_equal(file_open_beneath(proc, "exe", O_RDONLY, 0), -ELOOP);
}

static void what_is_beneath_is_opened_and_closed_on_exec(void **state) {
        given_directory("sub");
        given_file("sub/file", "x");

        _cleanup_(safe_closep) int fd = file_open_beneath(dir_fd, "./sub//./file", O_RDONLY, 0);

        assert_true(fd >= 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void a_mount_is_not_entered(void **state) {
        given_small_tmpfs("mounted", "size=64k");

        assert_int_equal(file_open_beneath(dir_fd, "mounted", O_RDONLY, 0), -EXDEV);
        assert_int_equal(file_open_beneath(dir_fd, "mounted/x", O_RDONLY, 0), -EXDEV);
        assert_int_equal(directory_make_beneath(dir_fd, "mounted", 0711), -EXDEV);
        assert_int_equal(umount2(path_of("mounted"), MNT_DETACH), 0);
}

/* ---- reading ---- */

static void a_file_is_read_whole(void **state) {
        static const char bytes[] = "with\0a NUL";

        given_file("empty", "");
        then_file_holds(dir_fd, "empty", "", 0);
        given_file("short", "hello\n");
        then_file_holds(dir_fd, "short", "hello\n", 6);

        assert_int_equal(file_write_atomic(dir_fd, "nul", bytes, sizeof(bytes), 0600, false), 0);
        then_file_holds(dir_fd, "nul", bytes, sizeof(bytes));
}

static void of_a_large_file_the_end_is_read(void **state) {
        given_file("f", "0123456789");

        _cleanup_(safe_closep) int fd = file_open_beneath(dir_fd, "f", O_RDONLY, 0);
        static const struct {
                size_t max;
                const char *text;
                uint64_t skipped;
        } cases[] = { { 11, "0123456789", 0 }, { 10, "0123456789", 0 }, { 9, "123456789", 1 }, { 0, "", 10 } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *text = NULL;
                uint64_t skipped = 77;
                size_t size = 77;

                assert_int_equal(file_read_tail(fd, cases[i].max, &text, &size, &skipped), 0);
                assert_string_equal(text, cases[i].text);
                assert_int_equal(size, strlen(cases[i].text));
                assert_int_equal(skipped, cases[i].skipped);
        }
}

static void a_directory_has_no_end_to_read(void **state) {
        uint64_t skipped;
        char *text;
        size_t size;

        assert_int_equal(file_read_tail(dir_fd, 10, &text, &size, &skipped), -EBADFD);
}

static void a_file_may_have_max_bytes_and_no_more(void **state) {
        _cleanup_(freep) char *text = NULL;
        size_t size;

        given_file("five", "12345");
        assert_int_equal(file_read_beneath(dir_fd, "five", 5, &text, &size), 0);
        assert_int_equal(size, 5);
        then_reading_fails("five", 4, -EFBIG);
        then_reading_fails("five", 0, -EFBIG);
}

static void what_is_no_regular_file_is_refused_at_once(void **state) {
        given_directory("directory");
        given_fifo("fifo");
        given_socket("socket");
        given_file("file", "x");
        given_link("file", "link");

        alarm(10); /* a FIFO without a writer would block */
        then_reading_fails("directory", 100, -EISDIR);
        then_reading_fails("fifo", 100, -EBADFD);
        then_reading_fails("socket", 100, -EBADFD);
        then_reading_fails("link", 100, -ELOOP);
        then_reading_fails("absent", 100, -ENOENT);
        alarm(0);
}

static void a_device_is_refused(void **state) {
        if (mknodat(dir_fd, "zero", S_IFCHR | 0600, makedev(1, 5)) < 0) {
                print_message("no device can be made here: %s\n", strerror(errno));
                skip();
        }
        then_reading_fails("zero", 100, -EBADFD);
}

static void the_kernels_files_have_no_size_and_are_read_all_the_same(void **state) {
        _cleanup_(safe_closep) int proc = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(freep) char *text = NULL;
        size_t size = 0;

        assert_true(proc >= 0);
        assert_int_equal(file_read_beneath(proc, "status", 1 << 20, &text, &size), 0);
        assert_non_null(startswith(text, "Name:"));
        assert_int_equal(strlen(text), size);

        text = mfree(text);
        assert_int_equal(file_read_beneath(proc, "smaps", 1 << 24, &text, &size), 0);
        assert_true(size > 4096); /* more than is asked for at first */
        text = mfree(text);
        assert_int_equal(file_read_beneath(proc, "smaps", 100, &text, &size), -EFBIG);
        assert_null(text);
}

static void a_memfd_is_read_from_its_start_wherever_its_offset(void **state) {
        _cleanup_(safe_closep) int fd = memfd_create("test", MFD_CLOEXEC);
        _cleanup_(freep) char *text = NULL;
        size_t size = 0;

        assert_true(fd >= 0);
        assert_int_equal(file_write_all(fd, "hello", 5), 0);
        assert_int_equal(file_read_fd(fd, 100, &text, &size), 0);
        assert_int_equal(size, 5);
        assert_string_equal(text, "hello");
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 5);
}

/* ---- writing ---- */

static void a_file_is_replaced_as_a_whole(void **state) {
        given_file("state.json", "the old text, which is longer");

        assert_int_equal(file_write_atomic(dir_fd, "state.json", "new", 3, 0600, true), 0);
        then_file_holds(dir_fd, "state.json", "new", 3);
        then_nothing_is_called(dir_fd, ".state.json.tmp");
}

static void the_mode_is_exact_whatever_the_umask(void **state) {
        mode_t mask = umask(0777);

        assert_int_equal(file_write_atomic(dir_fd, "open", "x", 1, 0664, false), 0);
        assert_int_equal(file_write_atomic(dir_fd, "closed", "x", 1, 0400, false), 0);
        umask(mask);
        then_mode_is(dir_fd, "open", 0664);
        then_mode_is(dir_fd, "closed", 0400);
}

static void what_a_crash_left_behind_is_in_nobodys_way(void **state) {
        given_file(".state.json.tmp", "half a te");

        assert_int_equal(file_write_atomic(dir_fd, "state.json", "new", 3, 0600, false), 0);
        then_file_holds(dir_fd, "state.json", "new", 3);
        then_nothing_is_called(dir_fd, ".state.json.tmp");
}

static void no_link_is_written_through(void **state) {
        given_file("victim", "precious");
        given_link("victim", "state.json");
        given_link("victim", ".state.json.tmp");

        assert_int_equal(file_write_atomic(dir_fd, "state.json", "new", 3, 0600, false), 0);
        then_file_holds(dir_fd, "victim", "precious", 8);
        then_file_holds(dir_fd, "state.json", "new", 3);
}

static void a_reader_keeps_the_text_it_opened(void **state) {
        _cleanup_(safe_closep) int fd = -EBADF;
        char text[16] = "";

        given_file("state.json", "old");
        fd = openat(dir_fd, "state.json", O_RDONLY | O_CLOEXEC);
        assert_int_equal(file_write_atomic(dir_fd, "state.json", "new", 3, 0600, false), 0);
        assert_int_equal(read(fd, text, sizeof(text)), 3);
        assert_string_equal(text, "old");
}

static void only_a_plain_name_is_written(void **state) {
        static const char *const names[] = { "", ".", "..", "a/b", "/a", "../a", "a/" };
        char longest[NAME_MAX + 1];

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(file_write_atomic(dir_fd, names[i], "x", 1, 0600, false), -EINVAL);

        /* The temporary file's name is five bytes longer. */
        memset(longest, 'x', sizeof(longest));
        longest[NAME_MAX - 4] = 0;
        assert_int_equal(file_write_atomic(dir_fd, longest, "x", 1, 0600, false), -ENAMETOOLONG);
        longest[NAME_MAX - 5] = 0;
        assert_int_equal(file_write_atomic(dir_fd, longest, "x", 1, 0600, false), 0);
}

static void where_no_file_can_be_put_nothing_is_left(void **state) {
        given_directory("state.json");

        assert_int_equal(file_write_atomic(dir_fd, "state.json", "new", 3, 0600, false), -EISDIR);
        then_nothing_is_called(dir_fd, ".state.json.tmp");
}

static void a_full_disk_changes_nothing(void **state) {
        _cleanup_(safe_closep) int fd = -EBADF;
        _cleanup_(freep) char *large = calloc(1, 1 << 20);

        given_small_tmpfs("full", "size=64k");
        fd = open(path_of("full"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(file_write_atomic(fd, "state.json", "old", 3, 0600, true), 0);

        /* Space for a part of it, and then for nothing at all. */
        assert_int_equal(file_write_atomic(fd, "state.json", large, 1 << 20, 0600, true), -ENOSPC);
        then_file_holds(fd, "state.json", "old", 3);
        then_nothing_is_called(fd, ".state.json.tmp");
        for (int i = 0; i < 15; i++) {
                char name[32];

                (void) snprintf(name, sizeof(name), "filler%d", i);
                assert_int_equal(file_write_atomic(fd, name, large, 4096, 0600, false), 0);
        }
        assert_int_equal(file_write_atomic(fd, "state.json", "new", 3, 0600, false), -ENOSPC);
        assert_int_equal(file_write_atomic(fd, "other", "new", 3, 0600, false), -ENOSPC);
        then_file_holds(fd, "state.json", "old", 3);
        then_nothing_is_called(fd, ".state.json.tmp");
        then_nothing_is_called(fd, "other");
        then_nothing_is_called(fd, ".other.tmp");

        /* And once there is space again, all is well. */
        assert_int_equal(unlinkat(fd, "filler0", 0), 0);
        assert_int_equal(file_write_atomic(fd, "state.json", "new", 3, 0600, true), 0);
        then_file_holds(fd, "state.json", "new", 3);

        fd = safe_close(fd);
        assert_int_equal(umount2(path_of("full"), MNT_DETACH), 0);
}

static void a_full_table_of_inodes_changes_nothing_either(void **state) {
        _cleanup_(safe_closep) int fd = -EBADF;

        given_small_tmpfs("full", "nr_inodes=2"); /* the root, and one file */
        fd = open(path_of("full"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(file_write_atomic(fd, "state.json", "old", 3, 0600, false), 0);
        assert_int_equal(file_write_atomic(fd, "state.json", "new", 3, 0600, false), -ENOSPC);
        then_file_holds(fd, "state.json", "old", 3);

        fd = safe_close(fd);
        assert_int_equal(umount2(path_of("full"), MNT_DETACH), 0);
}

static void a_pipe_takes_all_that_is_written(void **state) {
        _cleanup_(safe_closep) int in = -EBADF, out = -EBADF;
        char text[8] = "";
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        in = fds[0];
        out = fds[1];
        assert_int_equal(file_write_all(out, "hello", 5), 0);
        assert_int_equal(file_write_all(out, "", 0), 0);
        assert_int_equal(read(in, text, sizeof(text)), 5);
        assert_string_equal(text, "hello");
        assert_int_equal(file_write_all(in, "x", 1), -EBADF);
}

/* ---- directories ---- */

static void directories_are_made_down_to_the_last(void **state) {
        _cleanup_(safe_closep) int fd = -EBADF, again = -EBADF;
        mode_t mask = umask(0077);
        char path[sizeof(directory) + 16];

        (void) snprintf(path, sizeof(path), "%s/a//b/c/", directory);
        fd = directory_open_or_make(path, 0711);
        umask(mask);
        assert_true(fd >= 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        then_mode_is(dir_fd, "a", 0711);
        then_mode_is(dir_fd, "a/b", 0711);
        then_mode_is(dir_fd, "a/b/c", 0711);

        /* One that is there stays as it is. */
        again = directory_open_or_make(path, 0700);
        assert_true(again >= 0);
        then_mode_is(dir_fd, "a/b/c", 0711);
        assert_int_equal(file_write_atomic(again, "x", "x", 1, 0600, false), 0);
}

static void the_last_directory_must_be_a_real_one(void **state) {
        _cleanup_(safe_closep) int fd = -EBADF;
        static const struct {
                const char *name;
                int result;
        } table[] = { { "file", -ENOTDIR }, { "file/x", -ENOTDIR }, { "link", -ENOTDIR }, { "link/", -ENOTDIR }, { "dangling", -ENOTDIR } };

        given_file("file", "x");
        given_directory("real");
        given_link("real", "link");
        given_link("nowhere", "dangling");

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                print_message("# case %zu\n", i);
                assert_int_equal(directory_open_or_make(path_of(table[i].name), 0711), table[i].result);
        }
        then_nothing_is_called(dir_fd, "nowhere");
        assert_int_equal(directory_open_or_make(path_of("dangling/x"), 0711), -ENOENT);
        assert_int_equal(directory_open_or_make("relative/path", 0711), -EINVAL);
        assert_int_equal(directory_open_or_make("", 0711), -EINVAL);

        /* A symbolic link on the way, /var/run say, is the admin's business. */
        fd = directory_open_or_make(path_of("link/below"), 0711);
        assert_true(fd >= 0);
        then_mode_is(dir_fd, "real/below", 0711);
}

static void the_root_directory_is_there(void **state) {
        _cleanup_(safe_closep) int fd = directory_open_or_make("/", 0700);

        assert_true(fd >= 0);
}

static void a_directory_is_made_once_with_its_exact_mode(void **state) {
        mode_t mask = umask(0777);

        assert_int_equal(directory_make_beneath(dir_fd, "ns", 0711), 1);
        umask(mask);
        then_mode_is(dir_fd, "ns", 0711);
        assert_int_equal(directory_make_beneath(dir_fd, "ns", 0700), 0);
        then_mode_is(dir_fd, "ns", 0711);
}

static void what_is_no_directory_is_not_taken_for_one(void **state) {
        static const char *const names[] = { "", ".", "..", "a/b", "/a" };

        given_file("file", "x");
        given_directory("real");
        given_link("real", "link");
        given_fifo("fifo");

        assert_int_equal(directory_make_beneath(dir_fd, "file", 0711), -ENOTDIR);
        assert_int_equal(directory_make_beneath(dir_fd, "fifo", 0711), -ENOTDIR);
        assert_int_equal(directory_make_beneath(dir_fd, "link", 0711), -ELOOP);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(directory_make_beneath(dir_fd, names[i], 0711), -EINVAL);
}

static void a_record_of_the_kernels_is_read_at_once(void **state) {
        char text[4096], pid[32], small[4];

        (void) snprintf(pid, sizeof(pid), "%d (", getpid());
        assert_true(file_read_record(AT_FDCWD, "/proc/self/stat", text, sizeof(text)) == (ssize_t) strlen(text));
        assert_ptr_equal(strstr(text, pid), text);
        assert_int_equal(text[strlen(text) - 1], '\n');

        assert_int_equal(file_read_record(AT_FDCWD, "/proc/self/stat", small, sizeof(small)), -EFBIG);
        assert_int_equal(file_read_record(AT_FDCWD, "/proc/self/nothing", text, sizeof(text)), -ENOENT);
        assert_int_equal(file_read_record(AT_FDCWD, "/proc/self", text, sizeof(text)), -EISDIR);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
                TEST(nothing_outside_is_opened),
                TEST(magic_links_of_proc_are_not_followed),
                TEST(what_is_beneath_is_opened_and_closed_on_exec),
                TEST(a_mount_is_not_entered),
                TEST(a_file_is_read_whole),
                TEST(a_file_may_have_max_bytes_and_no_more),
                TEST(of_a_large_file_the_end_is_read),
                TEST(a_directory_has_no_end_to_read),
                TEST(a_record_of_the_kernels_is_read_at_once),
                TEST(what_is_no_regular_file_is_refused_at_once),
                TEST(a_device_is_refused),
                TEST(the_kernels_files_have_no_size_and_are_read_all_the_same),
                TEST(a_memfd_is_read_from_its_start_wherever_its_offset),
                TEST(a_file_is_replaced_as_a_whole),
                TEST(the_mode_is_exact_whatever_the_umask),
                TEST(what_a_crash_left_behind_is_in_nobodys_way),
                TEST(no_link_is_written_through),
                TEST(a_reader_keeps_the_text_it_opened),
                TEST(only_a_plain_name_is_written),
                TEST(where_no_file_can_be_put_nothing_is_left),
                TEST(a_full_disk_changes_nothing),
                TEST(a_full_table_of_inodes_changes_nothing_either),
                TEST(a_pipe_takes_all_that_is_written),
                TEST(directories_are_made_down_to_the_last),
                TEST(the_last_directory_must_be_a_real_one),
                TEST(the_root_directory_is_there),
                TEST(a_directory_is_made_once_with_its_exact_mode),
                TEST(what_is_no_directory_is_not_taken_for_one),

                /* The same once more, as far as openat2() has a part in it. These come last: there is no way back. */
#define TEST_WITHOUT_OPENAT2(f) { "without_openat2_" #f, f, set_up_without_openat2, tear_down, NULL }
                TEST_WITHOUT_OPENAT2(nothing_outside_is_opened),
                TEST_WITHOUT_OPENAT2(magic_links_of_proc_are_not_followed),
                TEST_WITHOUT_OPENAT2(what_is_beneath_is_opened_and_closed_on_exec),
                TEST_WITHOUT_OPENAT2(a_mount_is_not_entered),
                TEST_WITHOUT_OPENAT2(a_file_is_read_whole),
                TEST_WITHOUT_OPENAT2(a_file_may_have_max_bytes_and_no_more),
                TEST_WITHOUT_OPENAT2(what_is_no_regular_file_is_refused_at_once),
                TEST_WITHOUT_OPENAT2(a_device_is_refused),
                TEST_WITHOUT_OPENAT2(the_kernels_files_have_no_size_and_are_read_all_the_same),
                TEST_WITHOUT_OPENAT2(a_file_is_replaced_as_a_whole),
                TEST_WITHOUT_OPENAT2(the_mode_is_exact_whatever_the_umask),
                TEST_WITHOUT_OPENAT2(what_a_crash_left_behind_is_in_nobodys_way),
                TEST_WITHOUT_OPENAT2(no_link_is_written_through),
                TEST_WITHOUT_OPENAT2(a_reader_keeps_the_text_it_opened),
                TEST_WITHOUT_OPENAT2(only_a_plain_name_is_written),
                TEST_WITHOUT_OPENAT2(where_no_file_can_be_put_nothing_is_left),
                TEST_WITHOUT_OPENAT2(a_full_disk_changes_nothing),
                TEST_WITHOUT_OPENAT2(a_full_table_of_inodes_changes_nothing_either),
                TEST_WITHOUT_OPENAT2(a_directory_is_made_once_with_its_exact_mode),
                TEST_WITHOUT_OPENAT2(what_is_no_directory_is_not_taken_for_one),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
