/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mounts on a rootfs: real ones, in a mount namespace of the test's own, so that the host never sees them. */

#include "world.h"

#include "host/mount-options.h"
#include "host/mounts.h"
#include "util/instrument.h"
#include "util/strv.h"
#include "util/text.h"

#include <dlfcn.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#define LAYERS 200
#define LONG_ENOUGH (30 * USEC_PER_SEC)

/* --- the kernel, as it may be ----------------------------------------------------------------------------------- */

/* In memory that the child sees as well. */
typedef struct Kernel {
        volatile bool mount_hangs;
        volatile unsigned umount_usec;
        volatile unsigned n_umounts;
        volatile bool has_no_fsopen;
        volatile bool has_no_mount_setattr;
        volatile bool mount_setattr_fails;
        volatile bool does_not_kill;
        volatile bool mount_is_lured; /* into doing what is not its business */
        volatile bool swap_asked, swap_done;
} Kernel;

static Kernel *kernel;

int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data) {
        int (*libc_mount)(const char *, const char *, const char *, unsigned long, const void *) = (int (*)(
                const char *, const char *, const char *, unsigned long, const void *)) dlsym(RTLD_NEXT, "mount");

        while (kernel->mount_hangs)
                (void) usleep(5000);
        if (kernel->mount_is_lured)
                (void) close(socket(AF_INET, SOCK_STREAM, 0));
        return libc_mount(source, target, type, flags, data);
}

int umount2(const char *target, int flags) {
        int (*libc_umount2)(const char *, int) = (int (*)(const char *, int)) dlsym(RTLD_NEXT, "umount2");

        kernel->n_umounts++;
        for (unsigned waited = 0; waited < kernel->umount_usec; waited += 5000)
                (void) usleep(5000);
        return libc_umount2(target, flags);
}

int fsopen(const char *type, unsigned flags) {
        int (*libc_fsopen)(const char *, unsigned) = (int (*)(const char *, unsigned)) dlsym(RTLD_NEXT, "fsopen");

        if (kernel->has_no_fsopen) {
                errno = ENOSYS;
                return -1;
        }
        return libc_fsopen(type, flags);
}

int mount_setattr(int fd, const char *path, unsigned flags, struct mount_attr *attr, size_t size) {
        int (*libc_mount_setattr)(int, const char *, unsigned, struct mount_attr *, size_t) = (int (*)(
                int, const char *, unsigned, struct mount_attr *, size_t)) dlsym(RTLD_NEXT, "mount_setattr");

        if (kernel->has_no_mount_setattr || kernel->mount_setattr_fails) {
                errno = kernel->mount_setattr_fails ? EPERM : ENOSYS;
                return -1;
        }
        return libc_mount_setattr(fd, path, flags, attr, size);
}

int kill(pid_t pid, int sig) {
        int (*libc_kill)(pid_t, int) = (int (*)(pid_t, int)) dlsym(RTLD_NEXT, "kill");

        return kernel->does_not_kill ? 0 : libc_kill(pid, sig);
}

/* valgrind, up to 3.19 at least, does not know openat2(). So that it can look at the rest, plain openat() takes its
 * place there: without the guards, whose cases are left out then. */
static bool openat2_is_emulated;

/* As on a kernel that does not have it. */
static bool openat2_is_missing;

/* What somebody does, once, right before the folder that a mount is in is opened. */
static void (*before_open)(const char *path);

/* Like libc's own it takes six arguments, however many there are, which a sanitizer would call an error. */
__attribute__((no_sanitize("address", "undefined"))) long syscall(long number, ...) {
        static long (*libc_syscall)(long, ...);
        long a[6];
        va_list ap;

        va_start(ap, number);
        for (size_t i = 0; i < ELEMENTSOF(a); i++)
                a[i] = va_arg(ap, long);
        va_end(ap);

        if (number == SYS_openat2 && before_open)
                before_open((const char *) a[1]);
        if (number == SYS_openat2 && openat2_is_missing) {
                errno = ENOSYS;
                return -1;
        }
        if (number == SYS_openat2 && openat2_is_emulated) {
                const struct open_how *how = (const struct open_how *) a[2];

                return openat((int) a[0], (const char *) a[1], (int) how->flags, (mode_t) how->mode);
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

/* --- the world -------------------------------------------------------------------------------------------------- */

static bool may_mount;

static int group_begin(void **state) {
        struct open_how how = { .flags = O_PATH | O_CLOEXEC };
        long fd;

        kernel = mmap(NULL, sizeof(*kernel), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(kernel != MAP_FAILED);
        may_mount = unshare(CLONE_NEWNS) >= 0 && mount("none", "/", "", MS_REC | MS_PRIVATE, NULL) >= 0;

        fd = syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how));
        openat2_is_emulated = fd < 0 && errno == ENOSYS;
        safe_close((int) fd);
        return 0;
}

/* The temporary directory is a tmpfs, which can be below an overlay, and has nothing to do with any other. */
static int mounts_begin(void **state) {
        World *world;

        (void) world_begin(state);
        world = *state;
        *kernel = (Kernel) {};
        if (may_mount)
                assert_int_equal(mount("tmpfs", world->folder, "tmpfs", 0, "mode=0755"), 0);
        return 0;
}

static int mounts_end(void **state) {
        World *world = *state;

        *kernel = (Kernel) {};
        before_open = NULL;
        world_run_until_no_children(world);
        if (may_mount)
                assert_int_equal(umount2(world->folder, MNT_DETACH), 0);
        return world_end(state);
}

static void needs_mounts(void) {
        if (!may_mount) {
                print_message("needs root and a mount namespace\n");
                skip();
        }
}

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

static void given_folder(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);

        assert_int_equal(mkdir(path, 0755), 0);
}

static void given_text(World *world, const char *name, const char *text) {
        _cleanup_(freep) char *path = world_path(world, name);

        given_file(path, text, 0644);
}

static void given_link(World *world, const char *target, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);

        assert_int_equal(symlink(target, path), 0);
}

static void given_tmpfs(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);

        assert_int_equal(mount("tmpfs", path, "tmpfs", 0, NULL), 0);
}

static bool is_there(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);
        struct stat st;

        return lstat(path, &st) >= 0;
}

static int when_written(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);
        _cleanup_(safe_closep) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        return fd < 0 ? -errno : 0;
}

/* The line of the newest mount on that very path, or NULL. */
static char *find_mount(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name), *wanted = NULL, *line = NULL;
        char *found = NULL;
        size_t size = 0;
        FILE *f;

        assert_true(asprintf(&wanted, " %s ", path) > 0);
        f = fopen("/proc/self/mountinfo", "re");
        assert_non_null(f);
        while (getline(&line, &size, f) >= 0)
                if (strstr(line, wanted)) {
                        free(found);
                        found = strdup(line);
                        assert_non_null(found);
                }
        (void) fclose(f);
        return found;
}

static bool is_mounted(World *world, const char *name) {
        _cleanup_(freep) char *line = find_mount(world, name);

        return line;
}

/* How many mounts there are at or below 'name'. */
static unsigned count_mounts(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name), *wanted = NULL, *line = NULL;
        unsigned n = 0;
        size_t size = 0;
        FILE *f;

        assert_true(asprintf(&wanted, " %s", path) > 0);
        f = fopen("/proc/self/mountinfo", "re");
        assert_non_null(f);
        while (getline(&line, &size, f) >= 0) {
                const char *at = strstr(line, wanted);

                n += at && (at[strlen(wanted)] == ' ' || at[strlen(wanted)] == '/');
        }
        (void) fclose(f);
        return n;
}

static void add_array(Mounts *m, const char *type, const char *source, const char *target, char *const *options) {
        assert_int_equal(mounts_add(m, type, source, target, options), 0);
}

#define add(m, type, source, target, ...) \
        add_array(m, type, source, target, (char *[]) { __VA_OPT__(__VA_ARGS__, ) NULL })

typedef struct Outcome {
        MountsJob *job;
        bool finished;
        int error;
        char *text;
} Outcome;

static void outcome_done(Outcome *o) {
        mounts_job_free(o->job);
        free(o->text);
        *o = (Outcome) {};
}

static void outcome_on_finished(void *userdata, int error, const char *text) {
        Outcome *o = userdata;

        assert_false(o->finished);
        assert_true((error == 0) == (text == NULL));
        o->finished = true;
        o->error = error;
        o->text = text ? strdup(text) : NULL;

        /* As an owner may do. */
        o->job = mounts_job_free(o->job);
}

static void given_making(World *world, const Mounts *m, uint64_t timeout_usec, Outcome *o) {
        _cleanup_(freep) char *rootfs = world_path(world, "rootfs");

        *o = (Outcome) {};
        assert_int_equal(
                mounts_make(&o->job, world->event, world->reaper, rootfs, m, timeout_usec, outcome_on_finished, o),
                0);
}

static void given_undoing(World *world, const char *name, uint64_t timeout_usec, Outcome *o) {
        _cleanup_(freep) char *rootfs = world_path(world, name);

        *o = (Outcome) {};
        assert_int_equal(
                mounts_undo(&o->job, world->event, world->reaper, rootfs, timeout_usec, outcome_on_finished, o), 0);
}

static void when_made(World *world, const Mounts *m, Outcome *o) {
        given_making(world, m, LONG_ENOUGH, o);
        world_run_until_set(world, &o->finished);
}

static void then_it_is_made(World *world, const Mounts *m) {
        _cleanup_(outcome_done) Outcome o = {};

        when_made(world, m, &o);
        if (o.error < 0)
                print_error("%s\n", o.text);
        assert_int_equal(o.error, 0);
}

static void then_it_is_not_made(World *world, const Mounts *m, int error, const char *words) {
        _cleanup_(outcome_done) Outcome o = {};

        when_made(world, m, &o);
        assert_int_equal(o.error, error);
        if (!strstr(o.text, words))
                print_error("%s\n", o.text);
        assert_non_null(strstr(o.text, words));
}

static int when_undone(World *world, const char *name) {
        _cleanup_(outcome_done) Outcome o = {};

        given_undoing(world, name, LONG_ENOUGH, &o);
        world_run_until_set(world, &o.finished);
        if (o.error < 0)
                print_message("%s\n", o.text);
        return o.error;
}

static void then_it_is_undone(World *world) {
        assert_int_equal(when_undone(world, "rootfs"), 0);
        assert_int_equal(count_mounts(world, "rootfs"), 0);
}

/* What else there is to do in the loop, every 10 ms; after 'n' times 'fd' is closed. */
typedef struct Ticker {
        sd_event_source *source;
        unsigned ticks;
        unsigned n;
        int fd;
} Ticker;

static int ticker_on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        Ticker *t = userdata;

        if (++t->ticks == t->n)
                t->fd = safe_close(t->fd);
        assert_true(sd_event_source_set_time_relative(source, 10 * USEC_PER_MSEC) >= 0);
        return 0;
}

static void given_ticker(World *world, Ticker *t, unsigned n, int fd) {
        *t = (Ticker) { .n = n, .fd = fd };
        assert_true(sd_event_add_time_relative(world->event, &t->source, CLOCK_MONOTONIC, 10 * USEC_PER_MSEC, 1,
                                               ticker_on_tick, t) >= 0);
        assert_true(sd_event_source_set_enabled(t->source, SD_EVENT_ON) >= 0);
}

static void ticker_done(Ticker *t) {
        sd_event_source_disable_unref(t->source);
        safe_close(t->fd);
}

/* --- options ---------------------------------------------------------------------------------------------------- */

static void test_options_are_sorted(void **state) {
        char *const options[] = { (char *) "defaults",
                                  (char *) "rbind",
                                  (char *) "nosuid,nodev,,size=64k",
                                  (char *) "noexec",
                                  (char *) "exec",
                                  (char *) "rslave",
                                  (char *) "shared",
                                  (char *) "ro",
                                  (char *) "context=\"a:b:c0,c1\"",
                                  (char *) "lowerdir=/a\\,b",
                                  (char *) "loop",
                                  (char *) "",
                                  NULL };
        _cleanup_(mount_options_done) MountOptions o = {};
        _cleanup_(freep) char *reason = NULL, *data = NULL;

        assert_int_equal(mount_options_parse(&o, options, &reason), 0);
        assert_int_equal(o.flags, MS_BIND | MS_REC | MS_NOSUID | MS_NODEV | MS_RDONLY);
        assert_int_equal(o.n_propagation, 2);
        assert_int_equal(o.propagation[0], MS_SLAVE | MS_REC);
        assert_int_equal(o.propagation[1], MS_SHARED);
        assert_true(o.loop);
        data = mount_options_get_data(&o);
        assert_string_equal(data, "size=64k,context=\"a:b:c0,c1\",lowerdir=/a\\,b");
}

static void test_each_flag_has_its_opposite(void **state) {
        static const struct {
                const char *set, *clear;
                unsigned long flag;
        } table[] = {
                { "noatime", "atime", MS_NOATIME },
                { "nodev", "dev", MS_NODEV },
                { "nodiratime", "diratime", MS_NODIRATIME },
                { "noexec", "exec", MS_NOEXEC },
                { "mand", "nomand", MS_MANDLOCK },
                { "relatime", "norelatime", MS_RELATIME },
                { "ro", "rw", MS_RDONLY },
                { "strictatime", "nostrictatime", MS_STRICTATIME },
                { "nosuid", "suid", MS_NOSUID },
                { "sync", "async", MS_SYNCHRONOUS },
                { "bind", NULL, MS_BIND },
                { "rbind", NULL, MS_BIND | MS_REC },
                { "dirsync", NULL, MS_DIRSYNC },
                { "remount", NULL, MS_REMOUNT },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *const options[] = { (char *) table[i].set, (char *) table[i].clear, NULL };
                MountOptions o = {};
                char *reason = NULL;

                assert_int_equal(mount_options_parse(&o, options, &reason), 0);
                assert_int_equal(o.flags, table[i].clear ? 0 : table[i].flag);
                assert_null(o.data);

                assert_int_equal(mount_options_parse(&o, (char *[]) { (char *) table[i].set, NULL }, &reason), 0);
                assert_int_equal(o.flags, table[i].flag);
                mount_options_done(&o);
        }
}

static void then_it_is_compacted(const char *options, const char *directory, const char *data) {
        _cleanup_(mount_options_done) MountOptions o = {};
        _cleanup_(freep) char *reason = NULL, *d = NULL, *s = NULL;

        assert_int_equal(mount_options_parse(&o, (char *[]) { (char *) options, NULL }, &reason), 0);
        assert_int_equal(mount_options_compact(&o, &d, &s), directory ? 0 : -E2BIG);
        if (directory) {
                assert_string_equal(d, directory);
                assert_string_equal(s, data);
        }
}

static void test_layers_are_named_from_what_they_have_in_common(void **state) {
        then_it_is_compacted("lowerdir=/s/1/fs:/s/2/fs,upperdir=/u", "/s", "upperdir=/u,lowerdir=1/fs:2/fs");
        then_it_is_compacted("lowerdir=/s/12/fs:/s/13/fs", "/s", "lowerdir=12/fs:13/fs");
        then_it_is_compacted("lowerdir=/s/1/fs:/s/12/fs", "/s", "lowerdir=1/fs:12/fs");
        then_it_is_compacted("lowerdir=/s/a:/s/a/b", "/s", "lowerdir=a:a/b");
        then_it_is_compacted("lowerdir=/s/a/b:/s/a", "/s", "lowerdir=a/b:a");
        then_it_is_compacted("lowerdir=/s/t/:/s/t//u/", "/s", "lowerdir=t/:t//u/");
        then_it_is_compacted("lowerdir=/s/t/a:/s/t//b", "/s/t", "lowerdir=a:b");
        then_it_is_compacted("lowerdir=/s/a\\:b/1:/s/a\\:b/2", "/s", "lowerdir=a\\:b/1:a\\:b/2");
        then_it_is_compacted("lowerdir=/s/1:/s/2::/s/3", "/s", "lowerdir=1:2::3");
        then_it_is_compacted("lowerdir=/x,lowerdir=/s/1:/s/2", "/s", "lowerdir=1:2");
        then_it_is_compacted("lowerdir=/a/1:/b/1", NULL, NULL);
        then_it_is_compacted("lowerdir=/a:/b", NULL, NULL);
        then_it_is_compacted("lowerdir=s/a:s/b", NULL, NULL);
        then_it_is_compacted("lowerdir=", NULL, NULL);
        then_it_is_compacted("upperdir=/u", NULL, NULL);
}

static void then_the_check_says(const char *type, const char *source, const char *target, const char *option,
                                int error, const char *words) {
        _cleanup_(mounts_done) Mounts m = {};
        _cleanup_(freep) char *reason = NULL;

        add(&m, "tmpfs", "tmpfs", "");
        assert_int_equal(mounts_add(&m, type, source, target, (char *[]) { (char *) option, NULL }), 0);
        assert_int_equal(mounts_check(&m, &reason), error);
        if (error == 0) {
                assert_null(reason);
                return;
        }
        assert_non_null(strstr(reason, "mount 2 "));
        if (!strstr(reason, words))
                print_error("%s\n", reason);
        assert_non_null(strstr(reason, words));
}

static void test_what_is_wrong_is_known_before(void **state) {
        _cleanup_(freep) char *endless = calloc(1, 8192), *layers = NULL;

        (void) memset(endless, 'x', 8191);
        assert_true(asprintf(&layers, "lowerdir=/a:/%s", endless) > 0);

        then_the_check_says("tmpfs", "tmpfs", "a/b", "size=1m", 0, NULL);
        then_the_check_says("bind", "/a", "a..b", "bind", 0, NULL);
        then_the_check_says("", "/a", "", "rbind", 0, NULL);
        then_the_check_says("tmpfs", "tmpfs", "/etc", NULL, -EINVAL, "relative to the rootfs");
        then_the_check_says("tmpfs", "tmpfs", "a/../../etc", NULL, -EINVAL, "relative to the rootfs");
        then_the_check_says("tmpfs", "tmpfs", "..", NULL, -EINVAL, "relative to the rootfs");
        then_the_check_says("", "/a", "", "ro", -EINVAL, "there is no type");
        then_the_check_says("", "a", "", "bind", -EINVAL, "absolute path");
        then_the_check_says("bind", "", "", "rbind", -EINVAL, "absolute path");
        then_the_check_says("ext4", "image", "", "loop", -EINVAL, "absolute path");
        then_the_check_says("bind", "/a", "", "bind,loop", -EINVAL, "\"loop\"");
        then_the_check_says("tmpfs", "tmpfs", "", "X-containerd.mkdir.path=/a", -EINVAL,
                            "X-containerd.mkdir.path=/a");
        then_the_check_says("bind", "/a", "", "bind,uidmap=0:1:2", -EOPNOTSUPP, "identity-mapped");
        then_the_check_says("bind", "/a", "", "gidmap=0:1:2,bind", -EOPNOTSUPP, "identity-mapped");
        then_the_check_says("fuse.sshfs", "host:", "", NULL, -EOPNOTSUPP, "mount helper");
        then_the_check_says("fuse3.x", "x", "", NULL, -EOPNOTSUPP, "mount helper");
        then_the_check_says("tmpfs", "tmpfs", "", endless, -EINVAL, "mount options is too long");
        then_the_check_says("overlay", "overlay", "", endless, -EINVAL, "mount options is too long");
        then_the_check_says("overlay", "overlay", "", layers, 0, NULL);
        then_the_check_says("bind", "/a", "", "bind,shared,shared,shared,shared,shared,shared,shared,shared,private",
                            -EINVAL, "too many");
}

static void test_the_list_is_bounded(void **state) {
        _cleanup_(freep) char *endless = calloc(1, MOUNT_SIZE_MAX + 1);
        _cleanup_(mounts_done) Mounts m = {};

        (void) memset(endless, 'x', MOUNT_SIZE_MAX);
        assert_int_equal(mounts_add(&m, "tmpfs", "tmpfs", "", (char *[]) { endless, NULL }), -E2BIG);
        for (unsigned i = 0; i < MOUNTS_MAX; i++)
                add(&m, "tmpfs", "tmpfs", "");
        assert_int_equal(mounts_add(&m, "tmpfs", "tmpfs", "", NULL), -E2BIG);
        assert_int_equal(m.n_mounts, MOUNTS_MAX);
}

/* --- JSON ------------------------------------------------------------------------------------------------------- */

static void test_json_brings_them_back(void **state) {
        _cleanup_(mounts_done) Mounts m = {}, again = {}, empty = {};
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        _cleanup_(json_freep) Json tree = NULL;
        const char *text;
        size_t size;

        add(&m, "overlay", "overlay", "", "lowerdir=/a:/b", "ro");
        add(&m, "", "/s\"\n\xc3\xa4", "a/b", "rbind");
        add(&m, "tmpfs", "tmpfs", "t");

        json_open_object(w);
        json_write_key(w, "m");
        mounts_write_json(&m, w);
        json_write_key(w, "empty");
        mounts_write_json(&empty, w);
        json_close_object(w);
        assert_int_equal(json_writer_finish(w, &text, &size), 0);
        assert_int_equal(json_parse(text, size, &tree, NULL), 0);

        assert_int_equal(mounts_read_json(&again, json_get(tree, "m")), 0);
        assert_int_equal(again.n_mounts, m.n_mounts);
        for (size_t i = 0; i < m.n_mounts; i++) {
                assert_string_equal(again.mounts[i].type, m.mounts[i].type);
                assert_string_equal(again.mounts[i].source, m.mounts[i].source);
                assert_string_equal(again.mounts[i].target, m.mounts[i].target);
                assert_int_equal(strv_length(again.mounts[i].options), strv_length(m.mounts[i].options));
                for (size_t k = 0; k < strv_length(m.mounts[i].options); k++)
                        assert_string_equal(again.mounts[i].options[k], m.mounts[i].options[k]);
        }

        assert_int_equal(mounts_read_json(&empty, json_get(tree, "empty")), 0);
        assert_int_equal(empty.n_mounts, 0);
}

static void test_other_json_is_refused(void **state) {
        static const char *const texts[] = {
                "{}",
                "null",
                "\"\"",
                "[1]",
                "[[]]",
                "[{\"type\":1}]",
                "[{\"source\":[]}]",
                "[{\"target\":{}}]",
                "[{\"options\":\"ro\"}]",
                "[{\"options\":[1]}]",
                "[{\"options\":{}}]",
                "[{\"type\":\"tmpfs\"}, 1]",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(json_freep) Json tree = NULL;
                Mounts m = {};

                assert_int_equal(json_parse(texts[i], strlen(texts[i]), &tree, NULL), 0);
                assert_int_equal(mounts_read_json(&m, tree), -EINVAL);
                assert_null(m.mounts);
        }
        assert_int_equal(mounts_read_json(&(Mounts) {}, NULL), -EINVAL);
}

/* --- mounting --------------------------------------------------------------------------------------------------- */

static void test_no_mounts_make_the_folder(void **state) {
        needs_mounts();

        _cleanup_(freep) char *path = world_path(*state, "rootfs");
        Mounts m = {};
        struct stat st;

        (void) umask(077);
        then_it_is_made(*state, &m);
        (void) umask(022);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode, S_IFDIR | 0711);
        then_it_is_made(*state, &m);
        then_it_is_undone(*state);
        assert_true(is_there(*state, "rootfs"));
}

static void test_a_folder_is_bound(void **state) {
        needs_mounts();

        _cleanup_(freep) char *source = world_path(*state, "source");
        _cleanup_(mounts_done) Mounts m = {};

        given_folder(*state, "source");
        given_text(*state, "source/file", "x");
        add(&m, "bind", source, "", "bind");
        then_it_is_made(*state, &m);
        assert_true(is_there(*state, "rootfs/file"));
        assert_int_equal(when_written(*state, "rootfs/new"), 0);
        assert_true(is_there(*state, "source/new"));

        then_it_is_undone(*state);
        assert_false(is_there(*state, "rootfs/file"));
        assert_true(is_there(*state, "source/file"));
}

static void test_a_file_is_bound(void **state) {
        needs_mounts();

        _cleanup_(freep) char *folder = world_path(*state, "source"), *file = world_path(*state, "source/file");
        _cleanup_(mounts_done) Mounts m = {}, n = {};

        given_folder(*state, "source");
        given_text(*state, "source/file", "x");
        given_text(*state, "source/other", "longer");
        add(&m, "bind", folder, "", "bind");
        add(&m, "bind", file, "other", "bind", "ro");
        then_it_is_made(*state, &m);
        assert_true(is_mounted(*state, "rootfs/other"));
        assert_int_equal(when_written(*state, "rootfs/other"), -EROFS);
        then_it_is_undone(*state);

        add(&n, "bind", file, "missing", "bind");
        then_it_is_not_made(*state, &n, -ENOENT, "there is no such target");
        assert_false(is_there(*state, "rootfs/missing"));
}

static void given_tree_of_mounts(World *world) {
        given_folder(world, "source");
        given_folder(world, "source/below");
        given_tmpfs(world, "source/below");
        given_text(world, "source/below/file", "x");
}

static void test_rbind_brings_what_is_mounted_below(void **state) {
        needs_mounts();

        _cleanup_(freep) char *source = world_path(*state, "source");
        _cleanup_(mounts_done) Mounts m = {}, n = {};

        given_tree_of_mounts(*state);
        add(&m, "bind", source, "", "bind");
        then_it_is_made(*state, &m);
        assert_false(is_there(*state, "rootfs/below/file"));
        then_it_is_undone(*state);

        add(&n, "none", source, "", "rbind");
        then_it_is_made(*state, &n);
        assert_true(is_there(*state, "rootfs/below/file"));
        assert_int_equal(count_mounts(*state, "rootfs"), 2);
        then_it_is_undone(*state);
        assert_true(is_there(*state, "source/below/file"));
}

static void test_a_read_only_bind_is_read_only(void **state) {
        needs_mounts();

        _cleanup_(freep) char *source = world_path(*state, "source");
        _cleanup_(mounts_done) Mounts m = {};

        given_folder(*state, "source");
        add(&m, "bind", source, "", "bind", "ro");
        then_it_is_made(*state, &m);
        assert_int_equal(when_written(*state, "rootfs/new"), -EROFS);
        assert_int_equal(when_written(*state, "source/new"), 0);
        then_it_is_undone(*state);
}

static bool mount_setattr_is_missing(void) {
        return mount_setattr(-1, "", 0, NULL, 0) < 0 && errno == ENOSYS;
}

static void test_a_read_only_rbind_is_so_throughout(void **state) {
        needs_mounts();

        _cleanup_(freep) char *source = world_path(*state, "source");
        _cleanup_(mounts_done) Mounts m = {};

        given_tree_of_mounts(*state);
        add(&m, "bind", source, "", "rbind", "ro");
        then_it_is_made(*state, &m);
        assert_int_equal(when_written(*state, "rootfs/new"), -EROFS);
        assert_int_equal(when_written(*state, "rootfs/below/new"), mount_setattr_is_missing() ? 0 : -EROFS);
        assert_int_equal(when_written(*state, "source/below/new"), 0);
        then_it_is_undone(*state);
}

static unsigned long flags_of(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);
        struct statvfs st;

        assert_int_equal(statvfs(path, &st), 0);
        return st.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_NOATIME);
}

static void then_a_bind_has_its_flags(World *world) {
        _cleanup_(freep) char *source = world_path(world, "source");
        _cleanup_(mounts_done) Mounts m = {};

        add(&m, "bind", source, "", "bind", "nodev", "noexec", "noatime");
        then_it_is_made(world, &m);

        /* What the source is restricted by stays. */
        assert_int_equal(flags_of(world, "rootfs"), ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_NOATIME);
        assert_int_equal(flags_of(world, "source"), ST_NOSUID);
        then_it_is_undone(world);
}

static void test_a_bind_has_its_flags(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(freep) char *source = world_path(world, "source");

        given_folder(world, "source");
        assert_int_equal(mount("tmpfs", source, "tmpfs", MS_NOSUID, NULL), 0);
        then_a_bind_has_its_flags(world);
        kernel->has_no_mount_setattr = true;
        then_a_bind_has_its_flags(world);
}

static void test_a_read_only_bind_without_mount_setattr(void **state) {
        needs_mounts();

        kernel->has_no_mount_setattr = true;
        test_a_read_only_bind_is_read_only(state);
}

static void test_what_is_left_is_for_the_file_system(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(freep) char *path = world_path(world, "rootfs");
        _cleanup_(mounts_done) Mounts m = {};
        struct statvfs st;
        struct stat s;

        add(&m, "tmpfs", "tmpfs", "", "defaults", "nosuid", "size=64k", "mode=0750");
        then_it_is_made(world, &m);
        assert_int_equal(statvfs(path, &st), 0);
        assert_int_equal(st.f_blocks * st.f_frsize, 64 * 1024);
        assert_int_equal(flags_of(world, "rootfs"), ST_NOSUID);
        assert_int_equal(stat(path, &s), 0);
        assert_int_equal(s.st_mode, S_IFDIR | 0750);
        then_it_is_undone(world);
}

static void test_propagation_is_set(void **state) {
        needs_mounts();

        _cleanup_(freep) char *source = world_path(*state, "source"), *top = NULL, *below = NULL;
        _cleanup_(mounts_done) Mounts m = {};

        given_tree_of_mounts(*state);
        add(&m, "bind", source, "", "rbind", "rshared");
        then_it_is_made(*state, &m);
        top = find_mount(*state, "rootfs");
        below = find_mount(*state, "rootfs/below");
        assert_non_null(strstr(top, " shared:"));
        assert_non_null(strstr(below, " shared:"));
        then_it_is_undone(*state);
}

static void test_a_remount_changes_what_is_there(void **state) {
        needs_mounts();

        _cleanup_(mounts_done) Mounts m = {};

        add(&m, "tmpfs", "tmpfs", "");
        add(&m, "tmpfs", "tmpfs", "", "remount", "ro", "size=64k");
        then_it_is_made(*state, &m);
        assert_int_equal(count_mounts(*state, "rootfs"), 1);
        assert_int_equal(when_written(*state, "rootfs/new"), -EROFS);
        then_it_is_undone(*state);
}

static void test_each_is_made_on_what_was_made_before(void **state) {
        needs_mounts();

        _cleanup_(freep) char *source = world_path(*state, "source"), *made = world_path(*state, "rootfs/a");
        _cleanup_(mounts_done) Mounts m = {};
        struct stat st;

        given_folder(*state, "source");
        given_text(*state, "source/file", "x");
        add(&m, "tmpfs", "first", "");
        add(&m, "tmpfs", "second", "a/b");
        add(&m, "bind", source, "a/b/c", "bind");
        add(&m, "tmpfs", "third", "a//b/d/");
        then_it_is_made(*state, &m);
        assert_int_equal(count_mounts(*state, "rootfs"), 4);
        assert_true(is_there(*state, "rootfs/a/b/c/file"));
        assert_true(is_mounted(*state, "rootfs/a/b/d"));
        assert_int_equal(stat(made, &st), 0);
        assert_int_equal(st.st_mode, S_IFDIR | 0755);

        /* Folders that were missing are in the mounts, not below them. */
        then_it_is_undone(*state);
        assert_false(is_there(*state, "rootfs/a"));
        assert_true(is_there(*state, "source/file"));
}

/* --- overlays --------------------------------------------------------------------------------------------------- */

static void test_an_overlay_is_mounted(void **state) {
        needs_mounts();

        _cleanup_(freep) char *folder = world_path(*state, ""), *options = NULL;
        _cleanup_(mounts_done) Mounts m = {};

        for (const char *const *name = (const char *const[]) { "l1", "l2", "upper", "work", NULL }; *name; name++)
                given_folder(*state, *name);
        given_text(*state, "l1/one", "x");
        given_text(*state, "l2/two", "x");
        assert_true(asprintf(&options, "lowerdir=%sl1:%sl2,upperdir=%supper,workdir=%swork", folder, folder, folder,
                             folder) > 0);
        add(&m, "overlay", "overlay", "", options);
        then_it_is_made(*state, &m);
        assert_true(is_there(*state, "rootfs/one"));
        assert_true(is_there(*state, "rootfs/two"));
        assert_int_equal(when_written(*state, "rootfs/three"), 0);
        assert_true(is_there(*state, "upper/three"));
        then_it_is_undone(*state);
}

/* Layers with a file each, in 'folder', the last part of whose name is 'suffix'; returns "lowerdir=...". */
static char *given_layers(World *world, const char *folder, const char *suffix) {
        char *lower = NULL, *p;

        given_folder(world, folder);
        assert_true(asprintf(&lower, "%*s", LAYERS * PATH_MAX, "") > 0);
        p = stpcpy(lower, "lowerdir=");
        for (unsigned i = 0; i < LAYERS; i++) {
                _cleanup_(freep) char *name = NULL, *file = NULL;

                assert_true(asprintf(&name, "%s/%03u%s", folder, i, suffix) > 0);
                assert_true(asprintf(&file, "%s/file-%03u", name, i) > 0);
                given_folder(world, name);
                given_text(world, file, "x");
                p += sprintf(p, "%s%s/%s", i > 0 ? ":" : "", world->folder, name);
        }
        given_folder(world, "upper");
        given_folder(world, "work");
        return lower;
}

static void add_overlay(World *world, Mounts *m, char *lower) {
        _cleanup_(freep) char *upper = NULL, *work = NULL;

        assert_true(strlen(lower) > (size_t) sysconf(_SC_PAGESIZE));
        assert_true(asprintf(&upper, "upperdir=%s/upper", world->folder) > 0);
        assert_true(asprintf(&work, "workdir=%s/work", world->folder) > 0);
        add(m, "overlay", "overlay", "", lower, upper, work);
}

static void then_all_layers_are_there(World *world, Mounts *m) {
        _cleanup_(freep) char *reason = NULL;

        assert_int_equal(mounts_check(m, &reason), 0);
        then_it_is_made(world, m);
        for (unsigned i = 0; i < LAYERS; i++) {
                char file[64];

                (void) snprintf(file, sizeof(file), "rootfs/file-%03u", i);
                assert_true(is_there(world, file));
        }
        assert_int_equal(when_written(world, "rootfs/new"), 0);
        assert_true(is_there(world, "upper/new"));
        then_it_is_undone(world);
}

#define LONG_FOLDER "the-folder-of-a-snapshotter-with-a-long-name"

static void test_many_layers_are_more_than_a_page(void **state) {
        needs_mounts();

        _cleanup_(freep) char *lower = NULL;
        _cleanup_(mounts_done) Mounts m = {};

        lower = given_layers(*state, LONG_FOLDER, "");
        add_overlay(*state, &m, lower);
        then_all_layers_are_there(*state, &m);
}

static void test_many_layers_on_an_older_kernel(void **state) {
        needs_mounts();

        _cleanup_(freep) char *lower = NULL;
        _cleanup_(mounts_done) Mounts m = {};

        kernel->has_no_fsopen = true;
        lower = given_layers(*state, LONG_FOLDER, "");
        add_overlay(*state, &m, lower);
        then_all_layers_are_there(*state, &m);
}

/* Linux before 6.5 keeps what it is given until all is there, and only then says that it knows no such option. */
static bool layers_can_be_single(void) {
        _cleanup_(safe_closep) int fd = fsopen("overlay", FSOPEN_CLOEXEC);

        return fd >= 0 && fsconfig(fd, FSCONFIG_SET_STRING, "lowerdir+", "/nowhere/at/all", 0) < 0 && errno == ENOENT;
}

/* The names take more than a page even from where they all are. */
static void test_many_layers_with_nothing_in_common(void **state) {
        needs_mounts();

        static const char suffix[] = "-is-a-layer-with-a-name-of-its-own";
        _cleanup_(freep) char *lower = NULL;
        _cleanup_(mounts_done) Mounts m = {};

        lower = given_layers(*state, "layers", suffix);
        add_overlay(*state, &m, lower);

        kernel->has_no_fsopen = true;
        then_it_is_not_made(*state, &m, -EINVAL, "mount options is too long");
        assert_int_equal(count_mounts(*state, "rootfs"), 0);

        kernel->has_no_fsopen = false;
        if (!layers_can_be_single())
                return;
        then_all_layers_are_there(*state, &m);
}

static void test_layers_with_names_too_long_for_an_option(void **state) {
        needs_mounts();

        _cleanup_(freep) char *folder = calloc(1, 251), *lower = NULL;
        _cleanup_(mounts_done) Mounts m = {};

        (void) memset(folder, 'f', 250);
        lower = given_layers(*state, folder, "");
        add_overlay(*state, &m, lower);
        then_all_layers_are_there(*state, &m);
}

static void test_a_bad_layer_among_many_is_told_of(void **state) {
        needs_mounts();

        _cleanup_(freep) char *lower = NULL;
        _cleanup_(mounts_done) Mounts m = {};
        _cleanup_(outcome_done) Outcome o = {};

        lower = given_layers(*state, LONG_FOLDER, "");
        (void) strcat(lower, ":/nowhere/at/all");
        add_overlay(*state, &m, lower);
        when_made(*state, &m, &o);
        assert_true(o.error == -ENOENT || o.error == -EINVAL);
        assert_non_null(strstr(o.text, "overlay"));
        print_message("%s\n", o.text);
        assert_int_equal(count_mounts(*state, "rootfs"), 0);
}

/* --- loop devices ----------------------------------------------------------------------------------------------- */

/* Has the device of a line of mountinfo let go of its file? The kernel does so a little after it was unmounted. */
static bool loop_is_free(void *line) {
        const char *name = strstr(line, " /dev/loop");
        char path[128];

        assert_non_null(name);
        name += strlen(" /dev/");
        (void) snprintf(path, sizeof(path), "/sys/block/%.*s/loop/backing_file", (int) strcspn(name, " "), name);
        return access(path, F_OK) < 0;
}

static void test_an_image_is_mounted_by_a_loop_device(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(freep) char *image = world_path(world, "image"), *script = NULL, *line = NULL;
        _cleanup_(mounts_done) Mounts m = {};
        pid_t pid;
        int status;

        assert_true(asprintf(&script, "PATH=$PATH:/sbin:/usr/sbin; truncate -s 2M '%s' && mkfs.ext2 -q -F '%s'",
                             image, image) > 0);
        pid = given_script(script);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 0 || access("/dev/loop-control", W_OK) < 0) {
                print_message("needs mkfs.ext2 and loop devices\n");
                skip();
        }

        add(&m, "ext2", image, "", "loop", "ro");
        then_it_is_made(world, &m);
        assert_true(is_there(world, "rootfs/lost+found"));
        assert_int_equal(when_written(world, "rootfs/new"), -EROFS);
        line = find_mount(world, "rootfs");
        assert_false(loop_is_free(line));
        then_it_is_undone(world);
        world_run_until(world, loop_is_free, line);

        mounts_done(&m);
        add(&m, "ext2", image, "", "loop");
        then_it_is_made(world, &m);
        assert_int_equal(when_written(world, "rootfs/new"), 0);
        then_it_is_undone(world);
}

/* --- failures --------------------------------------------------------------------------------------------------- */

static void test_what_was_made_is_taken_back(void **state) {
        needs_mounts();

        _cleanup_(mounts_done) Mounts m = {};

        add(&m, "tmpfs", "first", "");
        add(&m, "tmpfs", "second", "a");
        add(&m, "no-such-file-system", "third", "b");
        then_it_is_not_made(*state, &m, -ENODEV, "failed to mount rootfs component 3 (no-such-file-system, third)");
        assert_int_equal(count_mounts(*state, "rootfs"), 0);
        assert_false(is_there(*state, "rootfs"));
}

static void test_what_was_there_before_is_left(void **state) {
        needs_mounts();

        _cleanup_(freep) char *source = world_path(*state, "source");
        _cleanup_(mounts_done) Mounts m = {};

        given_tree_of_mounts(*state);
        given_folder(*state, "rootfs");
        given_tmpfs(*state, "rootfs");
        given_folder(*state, "rootfs/theirs");
        given_tmpfs(*state, "rootfs/theirs");
        given_text(*state, "rootfs/theirs/file", "x");

        add(&m, "bind", source, "ours", "rbind");
        add(&m, "tmpfs", "on top", "");
        add(&m, "tmpfs", "tmpfs", "", "no-such-option=1");
        then_it_is_not_made(*state, &m, -EINVAL, "component 3 (tmpfs, tmpfs)");
        assert_int_equal(count_mounts(*state, "rootfs"), 2);
        assert_true(is_there(*state, "rootfs/theirs/file"));
        then_it_is_undone(*state);
}

/* It is mounted, but cannot be made read-only: it must not stay as it is. */
static void test_a_mount_that_fails_half_way_is_taken_back(void **state) {
        needs_mounts();

        _cleanup_(freep) char *source = world_path(*state, "source");
        _cleanup_(mounts_done) Mounts m = {};

        given_folder(*state, "source");
        kernel->mount_setattr_fails = true;
        add(&m, "tmpfs", "tmpfs", "");
        add(&m, "bind", source, "a", "bind", "ro");
        then_it_is_not_made(*state, &m, -EPERM, "component 2 ");
        assert_int_equal(count_mounts(*state, "rootfs"), 0);
        assert_false(is_there(*state, "rootfs"));
}

static void test_a_rootfs_without_a_bundle(void **state) {
        World *world = *state;
        _cleanup_(freep) char *rootfs = world_path(world, "nowhere/rootfs");
        Outcome o = {};
        Mounts m = {};

        assert_int_equal(
                mounts_make(&o.job, world->event, world->reaper, rootfs, &m, LONG_ENOUGH, outcome_on_finished, &o),
                0);
        world_run_until_set(world, &o.finished);
        assert_int_equal(o.error, -ENOENT);
        assert_non_null(strstr(o.text, rootfs));
        outcome_done(&o);

        assert_int_equal(when_undone(world, "nowhere/rootfs"), 0);
        assert_int_equal(when_undone(world, "nowhere"), 0);
        assert_false(is_there(world, "nowhere"));
}

/* Nobody can tell what has become of its mounts; that they may still be there must not go unsaid. */
static void test_a_folder_that_was_renamed_is_told_of(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(freep) char *path = world_path(world, "stderr"), *from = world_path(world, "bundle"),
                              *to = world_path(world, "renamed");
        int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3), fd;
        char text[1000] = "";

        given_folder(world, "bundle");
        given_folder(world, "bundle/rootfs");
        given_tmpfs(world, "bundle/rootfs");
        assert_int_equal(rename(from, to), 0);

        fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        assert_true(fd >= 0 && saved >= 0);
        assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
        assert_int_equal(when_undone(world, "bundle/rootfs"), 0);
        assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
        safe_close(saved);
        assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
        safe_close(fd);
        assert_non_null(strstr(text, "bundle/rootfs"));
        assert_non_null(strstr(text, "renamed"));

        assert_int_equal(when_undone(world, "renamed/rootfs"), 0);
        assert_false(is_mounted(world, "renamed/rootfs"));
}

static void test_a_kernel_that_cannot_resolve_within_the_rootfs_is_told_of(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(outcome_done) Outcome o = {};
        _cleanup_(mounts_done) Mounts m = {};

        add(&m, "tmpfs", "tmpfs", "below");
        openat2_is_missing = true;
        then_it_is_not_made(world, &m, -ENOSYS, "openat2() is missing");

        given_folder(world, "other");
        given_folder(world, "other/below");
        given_folder(world, "other/below/here");
        given_tmpfs(world, "other/below/here");
        given_undoing(world, "other", LONG_ENOUGH, &o);
        world_run_until_set(world, &o.finished);
        openat2_is_missing = false;
        assert_int_equal(o.error, -ENOSYS);
        assert_non_null(strstr(o.text, "openat2() is missing"));
        assert_int_equal(when_undone(world, "other"), 0);
}

/* --- links ------------------------------------------------------------------------------------------------------ */

static void test_links_do_not_lead_out(void **state) {
        needs_mounts();
        needs_openat2();

        static const char *const links[] = { "absolute", "climbing", "absolute/below", "climbing/below", "dangling" };
        World *world = *state;
        _cleanup_(freep) char *source = world_path(world, "source"), *decoy = world_path(world, "decoy");

        given_folder(world, "decoy");
        given_text(world, "decoy/precious", "x");
        given_folder(world, "source");
        given_link(world, decoy, "source/absolute");
        given_link(world, "../../../../../../../../decoy", "source/climbing");
        given_link(world, "../decoy", "source/dangling");

        for (size_t i = 0; i < ELEMENTSOF(links); i++) {
                _cleanup_(mounts_done) Mounts m = {};
                _cleanup_(outcome_done) Outcome o = {};

                add(&m, "bind", source, "", "bind");
                add(&m, "tmpfs", "tmpfs", links[i]);
                when_made(world, &m, &o);
                assert_int_equal(o.error, -ENOENT);
                assert_false(is_mounted(world, "decoy"));
                assert_false(is_there(world, "decoy/below"));
                assert_int_equal(count_mounts(world, "rootfs"), 0);
        }
        assert_true(is_there(world, "decoy/precious"));
}

static void test_links_are_followed_as_seen_from_within(void **state) {
        needs_mounts();
        needs_openat2();

        World *world = *state;
        _cleanup_(freep) char *source = world_path(world, "source");
        _cleanup_(mounts_done) Mounts m = {};

        given_folder(world, "source");
        given_folder(world, "source/usr");
        given_folder(world, "source/usr/lib");
        given_link(world, "/usr/lib", "source/lib");
        given_link(world, "../../../usr", "source/up");
        add(&m, "bind", source, "", "bind");
        add(&m, "tmpfs", "tmpfs", "lib");
        add(&m, "tmpfs", "tmpfs", "up/new/folder");
        then_it_is_made(world, &m);
        assert_true(is_mounted(world, "rootfs/usr/lib"));
        assert_true(is_mounted(world, "rootfs/usr/new/folder"));
        then_it_is_undone(world);
}

static void test_a_rootfs_that_is_a_link(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(mounts_done) Mounts m = {};

        given_folder(world, "decoy");
        given_tmpfs(world, "decoy");
        given_link(world, "decoy", "rootfs");
        add(&m, "tmpfs", "tmpfs", "");
        then_it_is_not_made(world, &m, -ELOOP, "symbolic link");
        assert_int_equal(count_mounts(world, "decoy"), 1);

        assert_int_equal(when_undone(world, "rootfs"), 0);
        assert_int_equal(count_mounts(world, "decoy"), 1);
        assert_true(is_there(world, "rootfs"));
}

/* --- unmounting ------------------------------------------------------------------------------------------------- */

static void test_whatever_is_mounted_is_undone(void **state) {
        needs_mounts();

        World *world = *state;

        given_folder(world, "rootfs");
        given_folder(world, "rootfs/hidden");
        given_folder(world, "rootfs-beside");
        given_folder(world, "rootfs/with space\t\\and\nmore\\040");
        given_tmpfs(world, "rootfs-beside");
        given_tmpfs(world, "rootfs/with space\t\\and\nmore\\040");
        given_tmpfs(world, "rootfs/hidden");
        given_tmpfs(world, "rootfs");
        given_tmpfs(world, "rootfs");
        given_folder(world, "rootfs/a");
        given_tmpfs(world, "rootfs/a");
        given_folder(world, "rootfs/a/b");
        given_tmpfs(world, "rootfs/a/b");
        given_tmpfs(world, "rootfs/a/b");
        assert_int_equal(count_mounts(world, "rootfs"), 7);

        /* In the right order, none has to be tried twice. */
        kernel->n_umounts = 0;
        then_it_is_undone(world);
        assert_int_equal(kernel->n_umounts, 7);
        assert_true(is_mounted(world, "rootfs-beside"));
        then_it_is_undone(world);
}

/* The child itself could not: its sandbox would not have it. */
static void swap_for_a_link(const char *path) {
        if (!streq(path, "rootfs/a"))
                return;
        before_open = NULL;
        kernel->swap_asked = true;
        while (!kernel->swap_done)
                (void) usleep(1000);
}

static void given_swapper(World *world) {
        if (fork_child() > 0)
                return;
        while (!kernel->swap_asked)
                (void) usleep(1000);
        if (chdir(world->folder) < 0 || rename("rootfs/a", "rootfs/moved") < 0 || symlink("../decoy", "rootfs/a") < 0)
                _exit(1);
        kernel->swap_done = true;
        _exit(0);
}

/* mountinfo has said where it was, and then somebody has put a link to another mount there. */
static void test_a_link_that_comes_meanwhile_does_not_lead_out(void **state) {
        needs_mounts();
        needs_openat2();

        World *world = *state;

        given_folder(world, "decoy");
        given_folder(world, "decoy/b");
        given_tmpfs(world, "decoy/b");
        given_folder(world, "rootfs");
        given_folder(world, "rootfs/a");
        given_folder(world, "rootfs/a/b");
        given_tmpfs(world, "rootfs/a/b");

        given_swapper(world);
        before_open = swap_for_a_link;
        assert_int_equal(when_undone(world, "rootfs"), 0);
        assert_true(is_there(world, "rootfs/moved/b"));
        assert_int_equal(count_mounts(world, "rootfs"), 0);
        assert_true(is_mounted(world, "decoy/b"));
}

static void test_a_child_that_does_something_else_is_killed_and_that_is_told(void **state) {
        needs_mounts();
        if (HAVE_SANITIZER || is_under_valgrind()) {
                print_message("there is no filter for system calls under a tool that makes some of its own\n");
                skip();
        }

        _cleanup_(mounts_done) Mounts m = {};
        World *world = *state;

        add(&m, "tmpfs", "tmpfs", "");
        given_folder(world, "rootfs");
        kernel->mount_is_lured = true;
        then_it_is_not_made(world, &m, -ECANCELED, "a system call that its sandbox has not");
        assert_false(is_mounted(world, "rootfs"));
}

static void test_the_folder_is_found_through_links_above(void **state) {
        needs_mounts();

        World *world = *state;

        given_folder(world, "real");
        given_folder(world, "real/rootfs");
        given_link(world, "real", "bundle");
        given_tmpfs(world, "real/rootfs");
        assert_int_equal(when_undone(world, "bundle/rootfs"), 0);
        assert_false(is_mounted(world, "real/rootfs"));
}

static int given_open_file(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        return fd;
}

static void test_a_busy_one_is_waited_for(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(outcome_done) Outcome o = {};
        _cleanup_(ticker_done) Ticker t = { .fd = -EBADF };

        given_folder(world, "rootfs");
        given_tmpfs(world, "rootfs");
        given_ticker(world, &t, 30, given_open_file(world, "rootfs/file"));
        given_undoing(world, "rootfs", LONG_ENOUGH, &o);
        world_run_until_set(world, &o.finished);
        assert_int_equal(o.error, 0);
        assert_true(t.ticks >= 30);
        assert_false(is_mounted(world, "rootfs"));
}

static void test_who_stays_busy_is_told_of(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(outcome_done) Outcome o = {};
        _cleanup_(ticker_done) Ticker t = { .fd = -EBADF };
        uint64_t started = clock_get_monotonic();

        given_folder(world, "rootfs");
        given_tmpfs(world, "rootfs");
        given_folder(world, "rootfs/a");
        given_tmpfs(world, "rootfs/a");
        given_ticker(world, &t, 0, given_open_file(world, "rootfs/file"));
        given_undoing(world, "rootfs", LONG_ENOUGH, &o);
        world_run_until_set(world, &o.finished);
        assert_int_equal(o.error, -EBUSY);
        assert_non_null(strstr(o.text, "failed to unmount target "));
        assert_non_null(strstr(o.text, "/rootfs: "));
        assert_true(clock_get_monotonic() - started >= 2500 * USEC_PER_MSEC);
        assert_true(t.ticks > 50);

        /* What was not busy is gone, and the rest goes the next time. */
        assert_int_equal(count_mounts(world, "rootfs"), 1);
        t.fd = safe_close(t.fd);
        then_it_is_undone(world);
}

static void test_a_slow_one_does_not_stop_the_loop(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(outcome_done) Outcome o = {}, again = {};
        _cleanup_(ticker_done) Ticker t = { .fd = -EBADF };

        given_folder(world, "rootfs");
        given_tmpfs(world, "rootfs");
        given_ticker(world, &t, 0, -EBADF);

        kernel->umount_usec = 60 * USEC_PER_SEC;
        given_undoing(world, "rootfs", 300 * USEC_PER_MSEC, &o);
        world_run_until_set(world, &o.finished);
        assert_int_equal(o.error, -ETIMEDOUT);
        assert_non_null(strstr(o.text, "unmounting "));
        assert_non_null(strstr(o.text, "/rootfs took longer than 0.3 s"));
        assert_null(strstr(o.text, "hangs"));
        assert_true(t.ticks >= 10);
        assert_true(is_mounted(world, "rootfs"));

        kernel->umount_usec = 200000;
        given_undoing(world, "rootfs", USEC_INFINITY, &again);
        world_run_until_set(world, &again.finished);
        assert_int_equal(again.error, 0);
        assert_false(is_mounted(world, "rootfs"));
}

/* --- the child -------------------------------------------------------------------------------------------------- */

static void test_a_mount_that_hangs_is_killed(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(mounts_done) Mounts m = {};
        _cleanup_(outcome_done) Outcome o = {};

        kernel->mount_hangs = true;
        add(&m, "tmpfs", "tmpfs", "a");
        given_making(world, &m, 200 * USEC_PER_MSEC, &o);
        world_run_until_set(world, &o.finished);
        assert_int_equal(o.error, -ETIMEDOUT);
        assert_non_null(strstr(o.text, "mounting rootfs component 1 (tmpfs) on "));
        assert_non_null(strstr(o.text, "/rootfs/a took longer than 0.2 s"));
        world_run_until_no_children(world);
        assert_int_equal(reaper_n_watched(world->reaper), 0);
}

static void test_who_cannot_be_killed_is_given_up(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(mounts_done) Mounts m = {};
        _cleanup_(outcome_done) Outcome o = {};
        uint64_t started = clock_get_monotonic();

        kernel->mount_hangs = kernel->does_not_kill = true;
        add(&m, "tmpfs", "tmpfs", "");
        given_making(world, &m, 200 * USEC_PER_MSEC, &o);
        world_run_until_set(world, &o.finished);
        assert_int_equal(o.error, -ETIMEDOUT);
        assert_non_null(strstr(o.text, "hangs in the kernel"));
        assert_true(clock_get_monotonic() - started >= 1200 * USEC_PER_MSEC);
        assert_int_equal(reaper_n_watched(world->reaper), 0);
        assert_true(world_has_children());

        /* It is reaped whenever it ends, and nobody is told any more. */
        kernel->mount_hangs = false;
        world_run_until_no_children(world);
        then_it_is_undone(world);
}

static void test_freeing_kills_the_child(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(mounts_done) Mounts m = {};
        Outcome o = {};

        kernel->mount_hangs = true;
        add(&m, "tmpfs", "tmpfs", "");
        given_making(world, &m, LONG_ENOUGH, &o);
        mounts_done(&m);
        o.job = mounts_job_free(o.job);
        world_run_until_no_children(world);
        assert_false(o.finished);
        assert_null(mounts_job_free(NULL));
}

static void test_a_child_that_is_killed_is_told_of(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(mounts_done) Mounts m = {};
        _cleanup_(outcome_done) Outcome o = {};
        _cleanup_(freep) char *children = NULL;
        char pid[64] = "";
        int fd;

        kernel->mount_hangs = true;
        add(&m, "tmpfs", "tmpfs", "");
        given_making(world, &m, LONG_ENOUGH, &o);

        assert_true(asprintf(&children, "/proc/self/task/%d/children", getpid()) > 0);
        fd = open(children, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_true(read(fd, pid, sizeof(pid) - 1) > 0);
        (void) close(fd);
        assert_int_equal(kill((pid_t) atoi(pid), SIGKILL), 0);

        world_run_until_set(world, &o.finished);
        assert_int_equal(o.error, -ECANCELED);
        assert_non_null(strstr(o.text, "was killed"));
}

/* A reader gets its end-of-file although the child, which was there when the pipe was, hangs. */
static void test_the_child_keeps_nothing_open(void **state) {
        needs_mounts();

        World *world = *state;
        _cleanup_(mounts_done) Mounts m = {};
        _cleanup_(outcome_done) Outcome o = {};
        int pipe_fds[2];
        char c;

        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        kernel->mount_hangs = true;
        add(&m, "tmpfs", "tmpfs", "");
        given_making(world, &m, LONG_ENOUGH, &o);
        (void) close(pipe_fds[1]);
        assert_int_equal(read(pipe_fds[0], &c, 1), 0);
        (void) close(pipe_fds[0]);
}

#define mounts_test(name) cmocka_unit_test_setup_teardown(name, mounts_begin, mounts_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_options_are_sorted),
                cmocka_unit_test(test_each_flag_has_its_opposite),
                cmocka_unit_test(test_layers_are_named_from_what_they_have_in_common),
                cmocka_unit_test(test_what_is_wrong_is_known_before),
                cmocka_unit_test(test_the_list_is_bounded),
                cmocka_unit_test(test_json_brings_them_back),
                cmocka_unit_test(test_other_json_is_refused),
                mounts_test(test_no_mounts_make_the_folder),
                mounts_test(test_a_folder_is_bound),
                mounts_test(test_a_file_is_bound),
                mounts_test(test_rbind_brings_what_is_mounted_below),
                mounts_test(test_a_read_only_bind_is_read_only),
                mounts_test(test_a_read_only_rbind_is_so_throughout),
                mounts_test(test_a_bind_has_its_flags),
                mounts_test(test_a_read_only_bind_without_mount_setattr),
                mounts_test(test_what_is_left_is_for_the_file_system),
                mounts_test(test_propagation_is_set),
                mounts_test(test_a_remount_changes_what_is_there),
                mounts_test(test_each_is_made_on_what_was_made_before),
                mounts_test(test_an_overlay_is_mounted),
                mounts_test(test_many_layers_are_more_than_a_page),
                mounts_test(test_many_layers_on_an_older_kernel),
                mounts_test(test_many_layers_with_nothing_in_common),
                mounts_test(test_layers_with_names_too_long_for_an_option),
                mounts_test(test_a_bad_layer_among_many_is_told_of),
                mounts_test(test_an_image_is_mounted_by_a_loop_device),
                mounts_test(test_what_was_made_is_taken_back),
                mounts_test(test_what_was_there_before_is_left),
                mounts_test(test_a_mount_that_fails_half_way_is_taken_back),
                mounts_test(test_a_rootfs_without_a_bundle),
                mounts_test(test_a_folder_that_was_renamed_is_told_of),
                mounts_test(test_a_kernel_that_cannot_resolve_within_the_rootfs_is_told_of),
                mounts_test(test_links_do_not_lead_out),
                mounts_test(test_links_are_followed_as_seen_from_within),
                mounts_test(test_a_rootfs_that_is_a_link),
                mounts_test(test_whatever_is_mounted_is_undone),
                mounts_test(test_a_link_that_comes_meanwhile_does_not_lead_out),
                mounts_test(test_a_child_that_does_something_else_is_killed_and_that_is_told),
                mounts_test(test_the_folder_is_found_through_links_above),
                mounts_test(test_a_busy_one_is_waited_for),
                mounts_test(test_who_stays_busy_is_told_of),
                mounts_test(test_a_slow_one_does_not_stop_the_loop),
                mounts_test(test_a_mount_that_hangs_is_killed),
                mounts_test(test_who_cannot_be_killed_is_given_up),
                mounts_test(test_freeing_kills_the_child),
                mounts_test(test_a_child_that_is_killed_is_told_of),
                mounts_test(test_the_child_keeps_nothing_open),
        };

        return cmocka_run_group_tests(tests, group_begin, NULL);
}
