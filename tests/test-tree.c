/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Removing trees: everything that is in them, and nothing that is not. Decoys stand wherever a careless walk would
 * come by. */

#include "world.h"

#include "host/tree.h"
#include "util/instrument.h"

#include <dlfcn.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* --- somebody else ---------------------------------------------------------------------------------------------- */

/* What happens at the worst of moments: right before the walk goes back up; and right before it removes something. */
static void (*before_ascent)(int fd);
static bool somebody_is_quicker;
static bool somebody_is_lured; /* into doing what is not his business */

int unlinkat(int fd, const char *name, int flags) {
        int (*libc_unlinkat)(int, const char *, int) = (int (*)(int, const char *, int)) dlsym(RTLD_NEXT, "unlinkat");

        if (somebody_is_lured)
                (void) close(socket(AF_INET, SOCK_STREAM, 0));
        if (somebody_is_quicker)
                (void) libc_unlinkat(fd, name, flags);
        return libc_unlinkat(fd, name, flags);
}

/* --- valgrind --------------------------------------------------------------------------------------------------- */

/* valgrind, up to 3.19 at least, does not know openat2(). So that it can look at the rest, plain openat() takes
 * its place there: without the guards, whose cases are left out then. */
static bool openat2_is_emulated;

static bool openat2_is_missing(void) {
        struct open_how how = { .flags = O_PATH | O_CLOEXEC };
        long (*libc_syscall)(long, ...) = (long (*)(long, ...)) dlsym(RTLD_NEXT, "syscall");
        long fd = libc_syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how));

        if (fd >= 0)
                (void) close((int) fd);
        return fd < 0 && errno == ENOSYS;
}

/* Like libc's own it takes six arguments, however many there are, which a sanitizer would call an error. */
__attribute__((no_sanitize("address", "undefined"))) long syscall(long number, ...) {
        static long (*libc_syscall)(long, ...);
        long a[6];
        va_list ap;

        va_start(ap, number);
        for (size_t i = 0; i < ELEMENTSOF(a); i++)
                a[i] = va_arg(ap, long);
        va_end(ap);

        if (number == SYS_openat2 && before_ascent && streq((const char *) a[1], ".."))
                before_ascent((int) a[0]);
        if (number == SYS_openat2 && openat2_is_emulated) {
                const struct open_how *how = (const struct open_how *) a[2];

                return openat((int) a[0], (const char *) a[1], (int) how->flags | O_NOFOLLOW, (mode_t) how->mode);
        }
        if (!libc_syscall)
                libc_syscall = (long (*)(long, ...)) dlsym(RTLD_NEXT, "syscall");
        return libc_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void needs_openat2(void) {
        if (openat2_is_emulated) {
                print_message("there is no openat2() here\n");
                skip();
        }
}

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

static int given_folder_fd(World *world) {
        int fd = open(world->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static void given_directory(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);

        assert_int_equal(mkdir(path, 0700), 0);
}

static void given_plain_file(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);

        given_file(path, "content", 0600);
}

static void given_link(World *world, const char *target, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);

        assert_int_equal(symlink(target, path), 0);
}

static bool is_there(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);
        struct stat st;

        return lstat(path, &st) >= 0;
}

/* A directory beside the tree, with something in it that must survive. */
static void given_decoy(World *world) {
        given_directory(world, "decoy");
        given_directory(world, "decoy/below");
        given_plain_file(world, "decoy/precious");
        given_plain_file(world, "decoy/below/precious");
}

static void then_the_decoy_is_whole(World *world) {
        assert_true(is_there(world, "decoy/precious"));
        assert_true(is_there(world, "decoy/below/precious"));
}

static int when_removed(World *world, const char *name) {
        _cleanup_(safe_closep) int fd = given_folder_fd(world);

        return tree_remove(fd, name);
}

/* A chain of directories below each other, made without long paths. */
static void given_deep_tree(World *world, const char *name, unsigned depth) {
        int fd, next;

        fd = given_folder_fd(world);
        for (unsigned i = 0; i < depth; i++) {
                const char *here = i == 0 ? name : "deeper-and-deeper";

                assert_int_equal(mkdirat(fd, here, 0700), 0);
                next = openat(fd, here, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(next >= 0);
                (void) close(fd);
                fd = next;
        }
        next = openat(fd, "at-the-bottom", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(next >= 0);
        (void) close(next);
        (void) close(fd);
}

/* --- what is removed -------------------------------------------------------------------------------------------- */

static void test_a_tree_with_all_kinds_of_files_goes(void **state) {
        _cleanup_(freep) char *fifo = NULL, *link_path = NULL, *file = NULL;
        World *world = *state;

        given_directory(world, "tree");
        given_directory(world, "tree/empty");
        given_directory(world, "tree/a");
        given_directory(world, "tree/a/b");
        given_directory(world, "tree/a/c");
        given_plain_file(world, "tree/a/b/file");
        given_plain_file(world, "tree/.hidden");
        given_plain_file(world, "tree/with\nnewline");
        given_plain_file(world, "beside");
        given_link(world, "nowhere", "tree/a/dangling");
        fifo = world_path(world, "tree/fifo");
        assert_int_equal(mkfifo(fifo, 0600), 0);
        file = world_path(world, "beside");
        link_path = world_path(world, "tree/hard-link");
        assert_int_equal(link(file, link_path), 0);

        assert_int_equal(when_removed(world, "tree"), 0);
        assert_false(is_there(world, "tree"));
        assert_true(is_there(world, "beside"));
}

static void test_a_single_file_goes_as_well(void **state) {
        World *world = *state;

        given_plain_file(world, "file");
        assert_int_equal(when_removed(world, "file"), 0);
        assert_false(is_there(world, "file"));
}

static void test_what_is_not_there_is_gone_already(void **state) {
        assert_int_equal(when_removed(*state, "nothing-of-that-name"), 0);
}

static void test_only_a_plain_name_will_do(void **state) {
        static const char *const names[] = { "", ".", "..", "decoy/below", "/", "decoy/", "../decoy" };
        World *world = *state;

        given_decoy(world);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(safe_closep) int fd = given_folder_fd(world);

                assert_int_equal(tree_remove(fd, names[i]), -EINVAL);
                assert_int_equal(tree_remove_start(world->reaper, fd, names[i], NULL, NULL), -EINVAL);
        }
        then_the_decoy_is_whole(world);
}

static void test_many_entries_go(void **state) {
        World *world = *state;

        given_directory(world, "tree");
        for (unsigned i = 0; i < 20; i++) {
                char name[64];

                (void) snprintf(name, sizeof(name), "tree/%u", i);
                given_directory(world, name);
                for (unsigned k = 0; k < 40; k++) {
                        (void) snprintf(name, sizeof(name), "tree/%u/%s-%u", i, k % 2 ? "file" : "directory", k);
                        if (k % 2)
                                given_plain_file(world, name);
                        else
                                given_directory(world, name);
                }
        }
        for (unsigned i = 0; i < 1500; i++) {
                char name[64];

                (void) snprintf(name, sizeof(name), "tree/a-file-with-quite-a-long-name-%u", i);
                given_plain_file(world, name);
        }
        assert_int_equal(when_removed(world, "tree"), 0);
        assert_false(is_there(world, "tree"));
}

static void test_depth_costs_neither_stack_nor_descriptors(void **state) {
        struct rlimit files, files_few, stack, stack_small;
        World *world = *state;
        int r;

        given_deep_tree(world, "tree", 10000);

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
        assert_int_equal(getrlimit(RLIMIT_STACK, &stack), 0);
        files_few = files;
        files_few.rlim_cur = 64;
        stack_small = stack;
        stack_small.rlim_cur = 1024 * 1024;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &files_few), 0);
        assert_int_equal(setrlimit(RLIMIT_STACK, &stack_small), 0);
        r = when_removed(world, "tree");
        assert_int_equal(setrlimit(RLIMIT_STACK, &stack), 0);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);

        assert_int_equal(r, 0);
        assert_false(is_there(world, "tree"));
}

/* --- what is not ------------------------------------------------------------------------------------------------ */

static void test_a_symbolic_link_is_removed_and_never_followed(void **state) {
        _cleanup_(freep) char *absolute = NULL;
        World *world = *state;

        given_decoy(world);
        given_directory(world, "tree");
        given_directory(world, "tree/a");
        given_link(world, "../decoy", "tree/relative");
        given_link(world, "../../decoy/below", "tree/a/relative");
        absolute = world_path(world, "decoy");
        given_link(world, absolute, "tree/a/absolute");
        given_link(world, ".", "tree/a/loop");
        given_link(world, "..", "tree/a/up");

        assert_int_equal(when_removed(world, "tree"), 0);
        assert_false(is_there(world, "tree"));
        then_the_decoy_is_whole(world);

        /* The name itself may be one. */
        given_link(world, "decoy", "tree");
        assert_int_equal(when_removed(world, "tree"), 0);
        assert_false(is_there(world, "tree"));
        then_the_decoy_is_whole(world);
}

/* Swaps a directory of the tree with a link to the decoy, and another with one from outside, as fast as it can. */
static void swap_for_ever(World *world) {
        _cleanup_(safe_closep) int fd = given_folder_fd(world);

        for (;;) {
                (void) renameat2(fd, "tree/a/b", fd, "link", RENAME_EXCHANGE);
                (void) renameat2(fd, "tree/a", fd, "tree/a/../c", 0);
                (void) renameat2(fd, "tree/c/b/d", fd, "outside", 0);
                (void) renameat2(fd, "tree/c", fd, "tree/a", 0);
                (void) mkdirat(fd, "tree/a", 0700);
                (void) mkdirat(fd, "tree/a/b", 0700);
                (void) mkdirat(fd, "tree/a/b/d", 0700);
                (void) mkdirat(fd, "tree/a/b/d/e", 0700);
                (void) renameat2(fd, "outside", fd, "tree/a/b/outside", 0);
                (void) symlinkat("../../../decoy", fd, "tree/a/b/trap");
        }
}

static void test_a_tree_that_is_changed_meanwhile_leads_nowhere_else(void **state) {
        World *world = *state;
        pid_t swapper;
        int r;

        needs_openat2();

        given_decoy(world);
        given_link(world, "decoy", "link");
        given_directory(world, "tree");
        swapper = fork_child();
        if (swapper == 0) {
                swap_for_ever(world);
                _exit(1);
        }
        assert_true(swapper > 0);

        /* What comes out of it is a matter of luck, but it comes to an end. */
        for (uint64_t end = clock_get_monotonic() + 2 * USEC_PER_SEC; clock_get_monotonic() < end;) {
                r = when_removed(world, "tree");
                assert_true(r <= 0);
        }
        assert_int_equal(kill(swapper, SIGKILL), 0);
        assert_int_equal(waitpid(swapper, NULL, 0), swapper);
        then_the_decoy_is_whole(world);

        assert_int_equal(when_removed(world, "tree"), 0);
        assert_int_equal(when_removed(world, "outside"), 0);
        assert_int_equal(when_removed(world, "link"), 0);
        then_the_decoy_is_whole(world);
}

/* Moves the directory that the walk is in to the decoy. */
static World *mover_world;

static void move_to_the_decoy(int fd) {
        _cleanup_(freep) char *to = world_path(mover_world, "decoy/moved");
        char from[PATH_MAX] = {}, link_path[64];

        before_ascent = NULL;
        (void) snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", fd);
        assert_true(readlink(link_path, from, sizeof(from) - 1) > 0);
        assert_int_equal(rename(from, to), 0);
}

/* The decoy has the same names as the tree: whoever takes one for the other, removes them there. */
static void test_who_is_moved_away_finds_back_and_does_no_harm_where_he_was(void **state) {
        enum { SIBLINGS = 10 };
        World *world = *state;
        char name[64];

        given_decoy(world);
        given_directory(world, "tree");
        for (unsigned i = 0; i < SIBLINGS; i++) {
                (void) snprintf(name, sizeof(name), "decoy/sibling-%u", i);
                given_directory(world, name);
                (void) snprintf(name, sizeof(name), "decoy/sibling-%u/precious", i);
                given_plain_file(world, name);
                (void) snprintf(name, sizeof(name), "tree/sibling-%u", i);
                given_directory(world, name);
                (void) snprintf(name, sizeof(name), "tree/sibling-%u/file", i);
                given_plain_file(world, name);
        }

        mover_world = world;
        before_ascent = move_to_the_decoy;
        assert_int_equal(when_removed(world, "tree"), 0);
        assert_null(before_ascent);

        assert_false(is_there(world, "tree"));
        assert_true(is_there(world, "decoy/moved"));
        then_the_decoy_is_whole(world);
        for (unsigned i = 0; i < SIBLINGS; i++) {
                (void) snprintf(name, sizeof(name), "decoy/sibling-%u/precious", i);
                assert_true(is_there(world, name));
        }
}

/* The same, and the tree itself as well, with another of its name in its place: no way leads back at all. */
static void move_the_tree_and_put_another_there(int fd) {
        _cleanup_(freep) char *from = world_path(mover_world, "tree"), *to = world_path(mover_world, "decoy/tree");

        move_to_the_decoy(fd);
        assert_int_equal(rename(from, to), 0);
        given_directory(mover_world, "tree");
        given_plain_file(mover_world, "tree/file");
}

static void test_a_tree_that_is_exchanged_meanwhile_goes_in_its_new_shape(void **state) {
        World *world = *state;

        given_decoy(world);
        given_directory(world, "tree");
        given_directory(world, "tree/a");
        given_plain_file(world, "tree/a/file");
        mover_world = world;
        before_ascent = move_the_tree_and_put_another_there;
        assert_int_equal(when_removed(world, "tree"), 0);
        assert_null(before_ascent);
        assert_false(is_there(world, "tree"));
        then_the_decoy_is_whole(world);
}

/* Fills the directory again that has just been emptied. */
static unsigned n_refills;

static void refill(int fd) {
        int file;

        if (n_refills == 0)
                return;
        n_refills--;
        file = openat(fd, "one-more", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(file >= 0);
        (void) close(file);
}

static void test_what_is_put_in_meanwhile_goes_as_well_but_not_for_ever(void **state) {
        World *world = *state;

        given_directory(world, "tree");
        given_directory(world, "tree/a");
        given_plain_file(world, "tree/a/file");
        before_ascent = refill;
        n_refills = 100;
        assert_int_equal(when_removed(world, "tree"), 0);
        assert_int_equal(n_refills, 0);
        assert_false(is_there(world, "tree"));

        /* Who never stops wins in the end: it is a child process that we let work for him. */
        given_directory(world, "tree");
        given_directory(world, "tree/a");
        given_plain_file(world, "tree/a/file");
        n_refills = 1000000;
        assert_int_equal(when_removed(world, "tree"), -ENOTEMPTY);
        assert_true(is_there(world, "tree/a/one-more"));
        before_ascent = NULL;
}

static void test_what_somebody_else_removes_first_is_no_error(void **state) {
        World *world = *state;
        int r;

        given_directory(world, "tree");
        given_directory(world, "tree/empty");
        given_directory(world, "tree/a");
        given_plain_file(world, "tree/a/file");
        given_plain_file(world, "tree/file");
        somebody_is_quicker = true;
        r = when_removed(world, "tree");
        somebody_is_quicker = false;
        assert_int_equal(r, 0);
        assert_false(is_there(world, "tree"));
}

/* The directory that the walk is in is moved away while it is there: up from it is somewhere else. */
static void move_out_for_ever(World *world) {
        _cleanup_(safe_closep) int fd = given_folder_fd(world);

        for (;;)
                if (renameat2(fd, "tree/in", fd, "decoy/in", 0) >= 0)
                        (void) renameat2(fd, "decoy/in", fd, "tree/in", 0);
}

static void test_a_directory_moved_away_under_our_feet_does_not_take_us_along(void **state) {
        enum { SIBLINGS = 40 };
        World *world = *state;
        pid_t mover;

        needs_openat2();

        /* The decoy has the same names as the tree: whoever takes one for the other, removes them there. */
        given_decoy(world);
        for (unsigned i = 0; i < SIBLINGS; i++) {
                char name[64];

                (void) snprintf(name, sizeof(name), "decoy/sibling-%u", i);
                given_directory(world, name);
                (void) snprintf(name, sizeof(name), "decoy/sibling-%u/precious", i);
                given_plain_file(world, name);
        }

        for (unsigned round = 0; round < 10; round++) {
                given_directory(world, "tree");
                given_directory(world, "tree/in");
                for (unsigned i = 0; i < SIBLINGS; i++) {
                        char name[64];

                        (void) snprintf(name, sizeof(name), "tree/sibling-%u", i);
                        given_directory(world, name);
                }
                for (unsigned i = 0; i < 100; i++) {
                        char name[64];

                        (void) snprintf(name, sizeof(name), "tree/in/%u", i);
                        given_directory(world, name);
                        (void) snprintf(name, sizeof(name), "tree/in/%u/file", i);
                        given_plain_file(world, name);
                }

                mover = fork_child();
                if (mover == 0) {
                        move_out_for_ever(world);
                        _exit(1);
                }
                assert_true(mover > 0);
                assert_true(when_removed(world, "tree") <= 0);
                assert_int_equal(kill(mover, SIGKILL), 0);
                assert_int_equal(waitpid(mover, NULL, 0), mover);

                then_the_decoy_is_whole(world);
                for (unsigned i = 0; i < SIBLINGS; i++) {
                        char name[64];

                        (void) snprintf(name, sizeof(name), "decoy/sibling-%u/precious", i);
                        assert_true(is_there(world, name));
                }
                assert_int_equal(when_removed(world, "tree"), 0);
                {
                        _cleanup_(freep) char *path = world_path(world, "decoy");
                        _cleanup_(safe_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                        assert_int_equal(tree_remove(fd, "in"), 0);
                }
        }
}

static void test_entries_that_vanish_meanwhile_are_no_error(void **state) {
        World *world = *state;
        pid_t other;
        int status;

        /* Two at the same tree. */
        for (unsigned round = 0; round < 5; round++) {
                given_directory(world, "tree");
                for (unsigned i = 0; i < 100; i++) {
                        char name[64];

                        (void) snprintf(name, sizeof(name), "tree/%u", i);
                        given_directory(world, name);
                        (void) snprintf(name, sizeof(name), "tree/%u/file", i);
                        given_plain_file(world, name);
                }

                other = fork_child();
                if (other == 0)
                        _exit(-when_removed(world, "tree"));
                assert_true(other > 0);
                assert_int_equal(when_removed(world, "tree"), 0);
                assert_int_equal(waitpid(other, &status, 0), other);
                assert_int_equal(status, 0);
                assert_false(is_there(world, "tree"));
        }
}

static void test_what_cannot_be_removed_stays_alone(void **state) {
        _cleanup_(freep) char *path = NULL;
        int fd, flags = FS_IMMUTABLE_FL, none = 0;
        World *world = *state;

        given_directory(world, "tree");
        given_directory(world, "tree/a");
        given_directory(world, "tree/b");
        given_directory(world, "tree/b/c");
        given_plain_file(world, "tree/a/file");
        given_plain_file(world, "tree/b/c/immutable");
        given_plain_file(world, "tree/b/c/file");
        path = world_path(world, "tree/b/c/immutable");
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0) {
                (void) close(fd);
                print_message("files cannot be made immutable here\n");
                skip();
        }

        assert_int_equal(when_removed(world, "tree"), -EPERM);
        assert_false(is_there(world, "tree/a"));
        assert_false(is_there(world, "tree/b/c/file"));
        assert_true(is_there(world, "tree/b/c/immutable"));

        assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &none), 0);
        assert_int_equal(close(fd), 0);
        assert_int_equal(when_removed(world, "tree"), 0);
        assert_false(is_there(world, "tree"));
}

/* In a mount namespace of our own, where the rest of the program stays; so this case is the last one. */
static void test_mounts_are_left_alone_and_so_is_what_is_in_them(void **state) {
        _cleanup_(freep) char *bind = NULL, *deep = NULL, *memory = NULL, *file = NULL, *decoy = NULL,
                              *precious = NULL, *top = NULL;
        World *world = *state;
        int r;

        needs_openat2();
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
                print_message("no mount namespace of our own: needs root\n");
                skip();
        }

        given_decoy(world);
        given_directory(world, "tree");
        given_directory(world, "tree/bind");
        given_directory(world, "tree/a");
        given_directory(world, "tree/a/b");
        given_directory(world, "tree/a/b/bind");
        given_directory(world, "tree/memory");
        given_directory(world, "tree/gone");
        given_plain_file(world, "tree/a/gone");
        given_plain_file(world, "tree/a/b/gone");
        given_plain_file(world, "tree/file");
        decoy = world_path(world, "decoy");
        precious = world_path(world, "decoy/precious");
        top = world_path(world, "tree");
        bind = world_path(world, "tree/bind");
        deep = world_path(world, "tree/a/b/bind");
        memory = world_path(world, "tree/memory");
        file = world_path(world, "tree/file");
        assert_int_equal(mount(decoy, bind, NULL, MS_BIND, NULL), 0);
        assert_int_equal(mount(decoy, deep, NULL, MS_BIND, NULL), 0);
        assert_int_equal(mount("tmpfs", memory, "tmpfs", 0, "size=1m"), 0);
        assert_int_equal(mount(precious, file, NULL, MS_BIND, NULL), 0);
        given_plain_file(world, "tree/memory/precious");

        r = when_removed(world, "tree");
        assert_true(r == -EBUSY || r == -EXDEV);
        then_the_decoy_is_whole(world);
        assert_true(is_there(world, "tree/bind/precious"));
        assert_true(is_there(world, "tree/a/b/bind/below/precious"));
        assert_true(is_there(world, "tree/memory/precious"));
        assert_true(is_there(world, "tree/file"));
        assert_false(is_there(world, "tree/gone"));
        assert_false(is_there(world, "tree/a/gone"));
        assert_false(is_there(world, "tree/a/b/gone"));

        assert_int_equal(umount2(file, 0) | umount2(memory, 0) | umount2(deep, 0) | umount2(bind, 0), 0);

        /* The tree itself may be one. */
        assert_int_equal(mount(decoy, top, NULL, MS_BIND, NULL), 0);
        r = when_removed(world, "tree");
        assert_true(r == -EBUSY || r == -EXDEV);
        then_the_decoy_is_whole(world);
        assert_int_equal(umount2(top, 0), 0);

        assert_int_equal(when_removed(world, "tree"), 0);
        assert_false(is_there(world, "tree"));
        then_the_decoy_is_whole(world);
}

/* --- in a child process ----------------------------------------------------------------------------------------- */

typedef struct Removed {
        bool called;
        int result;
} Removed;

static void removed_on_done(void *userdata, int result) {
        Removed *d = userdata;

        assert_false(d->called);
        d->called = true;
        d->result = result;
}

static void test_a_child_removes_and_the_loop_tells(void **state) {
        World *world = *state;
        Removed d = {};
        int fd;

        given_decoy(world);
        given_deep_tree(world, "tree", 50);
        given_link(world, "../decoy", "tree/link");

        /* Nobody needs the descriptor afterwards. */
        fd = given_folder_fd(world);
        assert_int_equal(tree_remove_start(world->reaper, fd, "tree", removed_on_done, &d), 0);
        assert_int_equal(close(fd), 0);
        assert_false(d.called);

        world_run_until_set(world, &d.called);
        assert_int_equal(d.result, 0);
        assert_false(is_there(world, "tree"));
        then_the_decoy_is_whole(world);
}

static void test_a_child_tells_why_it_failed(void **state) {
        World *world = *state;
        Removed d = {};
        int fd;

        /* A descriptor that is no directory. */
        given_plain_file(world, "file");
        {
                _cleanup_(freep) char *path = world_path(world, "file");

                fd = open(path, O_RDONLY | O_CLOEXEC);
        }
        assert_true(fd >= 0);
        assert_int_equal(tree_remove_start(world->reaper, fd, "tree", removed_on_done, &d), 0);
        world_run_until_set(world, &d.called);
        assert_int_equal(d.result, -ENOTDIR);
        assert_int_equal(close(fd), 0);
}

static void test_a_child_that_is_killed_has_failed(void **state) {
        World *world = *state;
        pid_t child = 0;
        Removed d = {};
        FILE *f;
        int fd;

        fd = given_folder_fd(world);
        assert_int_equal(tree_remove_start(world->reaper, fd, "nothing", removed_on_done, &d), 0);
        assert_int_equal(close(fd), 0);

        f = fopen("/proc/thread-self/children", "re");
        assert_non_null(f);
        assert_int_equal(fscanf(f, "%d", &child), 1);
        (void) fclose(f);
        assert_int_equal(kill(child, SIGKILL), 0);
        world_run_until_set(world, &d.called);

        /* Unless it was quicker. */
        assert_true(d.result == -ECANCELED || d.result == 0);
}

static void test_a_child_that_does_something_else_is_killed_and_that_is_told(void **state) {
        _cleanup_(safe_closep) int log = -EBADF, saved = -EBADF;
        char text[1024] = {};
        World *world = *state;
        Removed d = {};
        int fd;

        if (HAVE_SANITIZER || is_under_valgrind()) {
                print_message("there is no filter for system calls under a tool that makes some of its own\n");
                skip();
        }

        given_directory(world, "tree");
        given_plain_file(world, "tree/file");
        fd = given_folder_fd(world);
        log = memfd_create("log", MFD_CLOEXEC);
        saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        assert_true(log >= 0 && saved >= 0);
        assert_true(dup2(log, STDERR_FILENO) >= 0);
        somebody_is_lured = true;
        assert_int_equal(tree_remove_start(world->reaper, fd, "tree", removed_on_done, &d), 0);
        somebody_is_lured = false;
        world_run_until_set(world, &d.called);
        assert_true(dup2(saved, STDERR_FILENO) >= 0);

        assert_int_equal(close(fd), 0);
        assert_int_equal(d.result, -ECANCELED);
        assert_true(is_there(world, "tree/file"));
        assert_true(pread(log, text, sizeof(text) - 1, 0) > 0);
        assert_non_null(strstr(text, "the directory tree was killed"));
        assert_non_null(strstr(text, "sandbox"));
        assert_int_equal(when_removed(world, "tree"), 0);
}

/* Names at every level that lead to the decoy now, and to a directory of the tree a moment later. */
#define LEVELS 12

static void swap_at_every_level_for_ever(World *world) {
        _cleanup_(safe_closep) int fd = given_folder_fd(world);
        _cleanup_(freep) char *decoy = world_path(world, "decoy");

        for (unsigned round = 0;; round++) {
                char path[LEVELS * 8] = "tree", link[LEVELS * 8 + 8], back[LEVELS * 8 + 8];

                for (unsigned i = 0; i < LEVELS; i++) {
                        (void) mkdirat(fd, path, 0700);
                        (void) snprintf(link, sizeof(link), "%s/%u-link", path, i);
                        (void) symlinkat(decoy, fd, link);
                        (void) snprintf(back, sizeof(back), "%s/%u-back", path, i);
                        (void) symlinkat("..", fd, back);
                        (void) snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%u", i);
                        (void) mkdirat(fd, path, 0700);
                        (void) renameat2(fd, link, fd, path, RENAME_EXCHANGE);
                        if ((round + i) % 3 == 0)
                                (void) renameat2(fd, link, fd, path, RENAME_EXCHANGE);
                        if ((round + i) % 7 == 0)
                                (void) renameat2(fd, path, fd, "decoy/moved", 0); /* the tree itself goes astray */
                        else if ((round + i) % 7 == 3)
                                (void) renameat2(fd, "decoy/moved", fd, path, 0);
                }
        }
}

static void test_links_and_moves_at_every_level_do_not_lead_a_child_astray(void **state) {
        World *world = *state;
        unsigned n = 0;
        pid_t swapper;
        int fd;

        needs_openat2();
        given_decoy(world);
        given_directory(world, "tree");
        swapper = fork_child();
        if (swapper == 0) {
                swap_at_every_level_for_ever(world);
                _exit(1);
        }

        fd = given_folder_fd(world);
        for (uint64_t end = clock_get_monotonic() + 2 * USEC_PER_SEC; clock_get_monotonic() < end; n++) {
                Removed d = {};

                assert_int_equal(tree_remove_start(world->reaper, fd, "tree", removed_on_done, &d), 0);
                world_run_until_set(world, &d.called);
                assert_int_not_equal(d.result, -ECANCELED); /* nothing it met was more than it may deal with */
        }
        assert_true(n > 10);
        assert_int_equal(kill(swapper, SIGKILL), 0);
        world_run_until_no_children(world);
        then_the_decoy_is_whole(world);

        assert_int_equal(when_removed(world, "tree"), 0);
        then_the_decoy_is_whole(world);
        assert_int_equal(close(fd), 0);
}

static void test_nobody_need_ask_for_the_result(void **state) {
        World *world = *state;
        int fd;

        given_directory(world, "tree");
        fd = given_folder_fd(world);
        assert_int_equal(tree_remove_start(world->reaper, fd, "tree", NULL, NULL), 0);
        assert_int_equal(close(fd), 0);
        world_run_until_no_children(world);
        assert_false(is_there(world, "tree"));
}

static void test_a_reaper_that_goes_first_leaks_nothing_and_calls_nobody(void **state) {
        World *world = *state;
        Removed d = {};
        int fd;

        given_directory(world, "tree");
        fd = given_folder_fd(world);
        assert_int_equal(tree_remove_start(world->reaper, fd, "tree", removed_on_done, &d), 0);
        assert_int_equal(close(fd), 0);
        world->reaper = reaper_free(world->reaper);
        assert_true(waitpid(-1, NULL, 0) > 0);
        assert_false(d.called);
        assert_false(is_there(world, "tree"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_a_tree_with_all_kinds_of_files_goes),
                CASE(test_a_single_file_goes_as_well),
                CASE(test_what_is_not_there_is_gone_already),
                CASE(test_only_a_plain_name_will_do),
                CASE(test_many_entries_go),
                CASE(test_depth_costs_neither_stack_nor_descriptors),
                CASE(test_a_symbolic_link_is_removed_and_never_followed),
                CASE(test_a_tree_that_is_changed_meanwhile_leads_nowhere_else),
                CASE(test_a_directory_moved_away_under_our_feet_does_not_take_us_along),
                CASE(test_who_is_moved_away_finds_back_and_does_no_harm_where_he_was),
                CASE(test_a_tree_that_is_exchanged_meanwhile_goes_in_its_new_shape),
                CASE(test_what_is_put_in_meanwhile_goes_as_well_but_not_for_ever),
                CASE(test_what_somebody_else_removes_first_is_no_error),
                CASE(test_entries_that_vanish_meanwhile_are_no_error),
                CASE(test_what_cannot_be_removed_stays_alone),
                CASE(test_a_child_removes_and_the_loop_tells),
                CASE(test_a_child_tells_why_it_failed),
                CASE(test_a_child_that_is_killed_has_failed),
                CASE(test_a_child_that_does_something_else_is_killed_and_that_is_told),
                CASE(test_links_and_moves_at_every_level_do_not_lead_a_child_astray),
                CASE(test_nobody_need_ask_for_the_result),
                CASE(test_a_reaper_that_goes_first_leaks_nothing_and_calls_nobody),
                CASE(test_mounts_are_left_alone_and_so_is_what_is_in_them),
        };

        openat2_is_emulated = openat2_is_missing();
        return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
