/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshimd.conf: what it sets, what it warns of, what it refuses. */

#include "host/config.h"
#include "util/file.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

static char directory[64], path[128];
static int saved_stderr = -EBADF, warnings = -EBADF;

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw) {
        return remove(name);
}

/* Warnings go into a pipe of ours. */
static int set_up(void **state) {
        int fds[2];

        strcpy(directory, "/tmp/test-config-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        (void) snprintf(path, sizeof(path), "%s/monoshimd.conf", directory);

        program_invocation_short_name = (char *) "test";
        saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        if (saved_stderr < 0 || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -1;
        warnings = fds[0];
        dup2(fds[1], STDERR_FILENO);
        safe_close(fds[1]);
        return 0;
}

static int tear_down(void **state) {
        dup2(saved_stderr, STDERR_FILENO);
        saved_stderr = safe_close(saved_stderr);
        warnings = safe_close(warnings);
        return nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void given_text(const void *text, size_t size) {
        _cleanup_(safe_closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, size), size);
}

static Config when_loaded(const char *text) {
        Config c = { .max_runtime_jobs = 4711 };
        _cleanup_(freep) char *reason = NULL;
        int r;

        given_text(text, strlen(text));
        r = config_load(path, false, &c, &reason);
        if (r < 0)
                print_error("%s\n", strempty(reason));
        assert_int_equal(r, 0);
        assert_null(reason);
        return c;
}

/* "FILE" in 'expected' stands for the file's path, as often as it occurs. */
static void then_text_is(const char *text, const char *expected) {
        char full[4096] = "";
        const char *mark;

        for (; (mark = strstr(expected, "FILE")); expected = mark + 4)
                (void) snprintf(full + strlen(full), sizeof(full) - strlen(full), "%.*s%s", (int) (mark - expected), expected, path);
        (void) snprintf(full + strlen(full), sizeof(full) - strlen(full), "%s", expected);
        assert_string_equal(text, full);
}

static void then_loading_fails(int error, const char *expected) {
        Config c = { .runtime_timeout_usec = 42, .max_runtime_jobs = 4711 };
        _cleanup_(freep) char *reason = NULL;

        assert_int_equal(config_load(path, false, &c, &reason), error);
        assert_non_null(reason);
        then_text_is(reason, expected);
        assert_int_equal(c.runtime_timeout_usec, 42);
        assert_int_equal(c.max_runtime_jobs, 4711);
}

static void then_the_text_is_refused(const char *text, const char *expected) {
        given_text(text, strlen(text));
        then_loading_fails(-EINVAL, expected);
}

static void then_it_warned(const char *expected) {
        char text[4096];
        ssize_t n = read(warnings, text, sizeof(text) - 1);

        text[n < 0 ? 0 : n] = 0;
        then_text_is(text, expected);
}

static unsigned default_jobs(void) {
        Config c;

        config_init(&c);
        return c.max_runtime_jobs;
}

/* ---- what it sets ---- */

static void the_defaults_suit_the_machine(void **state) {
        cpu_set_t cpus;
        unsigned n;
        Config c;

        assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
        n = 2 * (unsigned) CPU_COUNT(&cpus);

        config_init(&c);
        assert_int_equal(c.runtime_timeout_usec, 120 * USEC_PER_SEC);
        assert_int_equal(c.max_runtime_jobs, n < 4 ? 4 : n);
}

static void an_empty_file_sets_the_defaults(void **state) {
        static const char *const texts[] = { "", "\n", "# comment\n; comment\n\n[Manager]\n", "[Manager]" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                Config c = when_loaded(texts[i]);

                assert_int_equal(c.runtime_timeout_usec, 120 * USEC_PER_SEC);
                assert_int_equal(c.max_runtime_jobs, default_jobs());
        }
        then_it_warned("");
}

static void settings_are_read(void **state) {
        static const struct {
                const char *text;
                uint64_t timeout_usec;
                unsigned jobs;
        } table[] = {
                { "[Manager]\nRuntimeTimeoutSec=30\nMaxRuntimeJobs=7\n", 30 * USEC_PER_SEC, 7 },
                { "[Manager]\nMaxRuntimeJobs=7\nRuntimeTimeoutSec=30", 30 * USEC_PER_SEC, 7 },
                { "[Manager]\r\nRuntimeTimeoutSec=1min 30s\r\nMaxRuntimeJobs=7\r\n", 90 * USEC_PER_SEC, 7 },
                { "  [Manager]\n  RuntimeTimeoutSec = 500ms \n\tMaxRuntimeJobs\t=\t7\n", 500 * USEC_PER_MSEC, 7 },
                { "[Manager]\nRuntimeTimeoutSec=0\nMaxRuntimeJobs=1\n", USEC_INFINITY, 1 },
                { "[Manager]\nRuntimeTimeoutSec=infinity\nMaxRuntimeJobs=4096\n", USEC_INFINITY, 4096 },
                /* The last one counts, and an empty one gives the default back. */
                { "[Manager]\nRuntimeTimeoutSec=1\nRuntimeTimeoutSec=2\nMaxRuntimeJobs=3\n[Manager]\nMaxRuntimeJobs=4\n",
                  2 * USEC_PER_SEC, 4 },
                { "[Manager]\nRuntimeTimeoutSec=1\nRuntimeTimeoutSec=\nMaxRuntimeJobs=5\n", 120 * USEC_PER_SEC, 5 },
                { "[Manager]\n# MaxRuntimeJobs=9\nMaxRuntimeJobs=5 ; not 9\n", 120 * USEC_PER_SEC, 5 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Config c;

                print_message("# case %zu\n", i);
                c = when_loaded(table[i].text);
                assert_true(c.runtime_timeout_usec == table[i].timeout_usec);
                assert_int_equal(c.max_runtime_jobs, table[i].jobs);
        }
        assert_int_equal(when_loaded("[Manager]\nMaxRuntimeJobs=5\nMaxRuntimeJobs=\n").max_runtime_jobs, default_jobs());
        then_it_warned("");
}

static void long_comments_are_only_comments(void **state) {
        char text[2048] = "# ";

        memset(text + 2, 'x', 1000);
        strcpy(text + 1002, " MaxRuntimeJobs=9\n[Manager]\nMaxRuntimeJobs=3\n");
        assert_int_equal(when_loaded(text).max_runtime_jobs, 3);
        then_it_warned("");
}

static void a_file_that_may_be_missing_may_be_missing(void **state) {
        _cleanup_(freep) char *reason = NULL;
        Config c = {};

        assert_int_equal(config_load(path, true, &c, &reason), 0);
        assert_int_equal(c.runtime_timeout_usec, 120 * USEC_PER_SEC);
        assert_int_equal(c.max_runtime_jobs, default_jobs());
        assert_null(reason);

        then_loading_fails(-ENOENT, "FILE: No such file or directory");
}

static void a_symbolic_link_is_the_admins_business(void **state) {
        char target[256];
        Config c;

        (void) snprintf(target, sizeof(target), "%s.real", path);
        when_loaded("[Manager]\nMaxRuntimeJobs=3\n");
        assert_int_equal(rename(path, target), 0);
        assert_int_equal(symlink(target, path), 0);
        assert_int_equal(config_load(path, false, &c, NULL), 0);
        assert_int_equal(c.max_runtime_jobs, 3);
}

/* ---- what it warns of ---- */

static void what_is_unknown_is_ignored_with_a_warning(void **state) {
        Config c = when_loaded("Early=1\n"
                               "[Manager]\n"
                               "maxruntimejobs=1\n"
                               "Colour=gr\x1b\xc3\xbcn\n"
                               "MaxRuntimeJobs=3\n"
                               "\n"
                               "[manager]\n"
                               "MaxRuntimeJobs=4\n");

        assert_int_equal(c.max_runtime_jobs, 3);
        then_it_warned("test: FILE:1: Setting \"Early\" stands outside of any section, ignoring.\n"
                       "test: FILE:3: Unknown setting \"maxruntimejobs\" in section [Manager], ignoring.\n"
                       "test: FILE:4: Unknown setting \"Colour\" in section [Manager], ignoring.\n"
                       "test: FILE:8: Unknown section [manager], ignoring its \"MaxRuntimeJobs\".\n");
}

/* ---- every setting ---- */

static uint64_t value_of(const Setting *s, const Config *c) {
        const char *member = (const char *) c + s->offset;

        return s->kind == SETTING_NUMBER ? *(const unsigned *) member : *(const uint64_t *) member;
}

static uint64_t default_of(const Setting *s) {
        Config c;

        config_init(&c);
        return value_of(s, &c);
}

static uint64_t when_set(const Setting *s, const char *value) {
        char text[256];
        Config c;

        (void) snprintf(text, sizeof(text), "[%s]\n%s=%s\n", s->section, s->name, value);
        c = when_loaded(text);
        for (const Setting *other = config_settings; other->section; other++)
                if (other != s)
                        assert_true(value_of(other, &c) == default_of(other));
        return value_of(s, &c);
}

static void then_a_value_is_out_of_range(const Setting *s, const char *value) {
        char text[256], expected[512], from[SIZE_TEXT_MAX], to[SIZE_TEXT_MAX];

        (void) snprintf(text, sizeof(text), "# comment\n[%s]\n%s=%s\n", s->section, s->name, value);
        if (s->kind == SETTING_SIZE)
                (void) snprintf(expected, sizeof(expected), "FILE:3: %s=%s is not a size from %s to %s", s->name, value,
                                format_size(s->min, from), format_size(s->max, to));
        else
                (void) snprintf(expected, sizeof(expected), "FILE:3: %s=%s is not a number from %" PRIu64 " to %" PRIu64,
                                s->name, value, s->min, s->max);
        then_the_text_is_refused(text, expected);
}

static void every_setting_takes_its_range_and_no_more(void **state) {
        unsigned n_limits = 0;

        for (const Setting *s = config_settings; s->section; s++) {
                char text[SIZE_TEXT_MAX];

                print_message("# %s\n", s->name);
                assert_true(default_of(s) == when_set(s, ""));
                if (s->kind == SETTING_TIMESPAN) {
                        assert_true(when_set(s, "1min 1s") == 61 * USEC_PER_SEC);
                        assert_true(when_set(s, "0") == USEC_INFINITY);
                        assert_true(when_set(s, "infinity") == USEC_INFINITY);
                        continue;
                }

                n_limits++;
                assert_true(default_of(s) >= s->min && default_of(s) <= s->max);
                assert_true(s->min >= 1);
                (void) snprintf(text, sizeof(text), "%" PRIu64, s->min);
                assert_true(when_set(s, text) == s->min);
                (void) snprintf(text, sizeof(text), "%" PRIu64, s->max);
                assert_true(when_set(s, text) == s->max);
                if (s->kind == SETTING_SIZE)
                        assert_true(when_set(s, format_size(s->max, text)) == s->max);

                (void) snprintf(text, sizeof(text), "%" PRIu64, s->min - 1);
                then_a_value_is_out_of_range(s, text);
                (void) snprintf(text, sizeof(text), "%" PRIu64, s->max + 1);
                then_a_value_is_out_of_range(s, text);
                then_a_value_is_out_of_range(s, "infinity");
                then_a_value_is_out_of_range(s, "1.5");
        }

        /* Each member of Limits is one of them, and so is MaxRuntimeJobs=. */
        assert_true(n_limits > 20);
        then_it_warned("");
}

static void no_two_settings_share_a_name_or_a_place(void **state) {
        for (const Setting *s = config_settings; s->section; s++)
                for (const Setting *other = config_settings; other < s; other++) {
                        assert_false(streq(s->name, other->name) && streq(s->section, other->section));
                        assert_int_not_equal(s->offset, other->offset);
                }
}

/* A file of the sources, which the caller frees. */
static char *read_source(const char *name, size_t *ret_size) {
        const char *top = getenv("top_srcdir");
        _cleanup_(safe_closep) int fd = -EBADF;
        char source[256], *text = NULL;

        (void) snprintf(source, sizeof(source), "%s/%s", top ?: "..", name);
        fd = open(source, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(file_read_fd(fd, 1024 * 1024, &text, ret_size), 0);
        return text;
}

/* Looks for ".B NAME=" in the manual and what it says before the next entry. */
static void the_manual_says_what_the_table_says(void **state) {
        size_t size;
        _cleanup_(freep) char *page = read_source("man/monoshimd.conf.5", &size);
        char text[256];

        for (const Setting *s = config_settings; s->section; s++) {
                char fallback[SIZE_TEXT_MAX], from[SIZE_TEXT_MAX], to[SIZE_TEXT_MAX];
                const char *entry, *end, *found;

                print_message("# %s\n", s->name);
                (void) snprintf(text, sizeof(text), "\n.B %s=\n", s->name);
                entry = strstr(page, text);
                assert_non_null(entry);
                if (s->kind == SETTING_TIMESPAN)
                        continue;

                if (s->kind == SETTING_SIZE)
                        (void) snprintf(text, sizeof(text), "Defaults to %s; %s to %s.\n", format_size(s->fallback, fallback),
                                        format_size(s->min, from), format_size(s->max, to));
                else if (s->fallback > 0)
                        (void) snprintf(text, sizeof(text), "Defaults to %" PRIu64 "; %" PRIu64 " to %" PRIu64 ".\n",
                                        s->fallback, s->min, s->max);
                else
                        (void) snprintf(text, sizeof(text), "; %" PRIu64 " to %" PRIu64 ".\n", s->min, s->max);
                end = strstr(entry + 1, "\n.TP") ?: page + size;
                found = strstr(entry, text);
                assert_true(found && found < end + 1);
        }
}

/* As it is, and with everything in it that has a value set: no warning, nothing but the defaults. */
static void the_sample_sets_the_defaults(void **state) {
        size_t size;
        _cleanup_(freep) char *text = read_source("data/monoshimd.conf", &size);

        for (unsigned i = 0; i < 2; i++) {
                Config c = when_loaded(text);

                for (const Setting *s = config_settings; s->section; s++)
                        assert_true(value_of(s, &c) == default_of(s));
                config_done(&c);
                for (char *p = text; (p = strstr(p, "\n#")); p++)
                        if (p[2] != ' ' && p[2] != '\n')
                                p[1] = ' ';
        }
        then_it_warned("");
}

/* A limit without a row would be 0, and refuse everything. */
static void every_limit_has_a_row(void **state) {
        unsigned char covered[sizeof(Limits)] = {};

        for (const Setting *s = config_settings; s->section; s++)
                if (s->offset >= offsetof(Config, limits) && s->offset < offsetof(Config, limits) + sizeof(Limits))
                        memset(covered + s->offset - offsetof(Config, limits), 1,
                               s->kind == SETTING_NUMBER ? sizeof(unsigned) : sizeof(uint64_t));

        for (size_t i = 0; i + sizeof(unsigned) <= sizeof(covered); i += sizeof(unsigned)) {
                bool padding = !covered[i] && i % sizeof(uint64_t) != 0 && i > 0 && covered[i - 1] &&
                               (i + sizeof(unsigned) == sizeof(covered) || covered[i + sizeof(unsigned)]);

                assert_true(covered[i] || padding);
        }
}

static void unset_is_not_never(void **state) {
        assert_int_equal(when_loaded("").idle_timeout_usec, IDLE_TIMEOUT_UNSET);
        assert_true(when_loaded("[Manager]\nIdleTimeoutSec=0\n").idle_timeout_usec == USEC_INFINITY);
        assert_int_equal(when_loaded("[Manager]\nIdleTimeoutSec=0\nIdleTimeoutSec=\n").idle_timeout_usec,
                         IDLE_TIMEOUT_UNSET);
}

/* ---- drop-ins ---- */

/* "FOLDER/NAME" below our directory. */
static void given_file(const char *name, const char *text) {
        char full[256];
        FILE *f;

        (void) snprintf(full, sizeof(full), "%s/%s", directory, name);
        *strrchr(full, '/') = 0;
        (void) mkdir(full, 0755);
        full[strlen(full)] = '/';

        f = fopen(full, "we");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static int load_with_directories(Config *ret, char **reterr_reason) {
        char folders[3][128], *directories[] = { folders[0], folders[1], folders[2], NULL };
        const ConfigSources sources = { .path = path, .optional = true, .directories = directories };

        (void) snprintf(folders[0], sizeof(folders[0]), "%s/etc.d", directory);
        (void) snprintf(folders[1], sizeof(folders[1]), "%s/run.d", directory);
        (void) snprintf(folders[2], sizeof(folders[2]), "%s/usr.d", directory);
        return config_load_sources(&sources, ret, reterr_reason);
}

static Config when_loaded_with_directories(void) {
        _cleanup_(freep) char *reason = NULL;
        Config c = {};
        int r;

        r = load_with_directories(&c, &reason);
        if (r < 0)
                print_error("%s\n", strempty(reason));
        assert_int_equal(r, 0);
        return c;
}

static void drop_ins_are_read_in_the_order_of_their_names(void **state) {
        Config c;

        given_file("monoshimd.conf", "[Manager]\nMaxRuntimeJobs=1\nMaxContainers=1\nMaxPeers=1\n");
        given_file("monoshimd.conf.d/20-b.conf", "[Manager]\nMaxRuntimeJobs=20\nMaxContainers=20\n");
        given_file("monoshimd.conf.d/10-a.conf", "[Manager]\nMaxRuntimeJobs=10\nMaxContainers=10\n");
        given_file("monoshimd.conf.d/30-c.conf", "[Manager]\nMaxContainers=\n");
        given_file("monoshimd.conf.d/.40-hidden.conf", "nonsense");
        given_file("monoshimd.conf.d/40-saved.conf.bak", "nonsense");
        given_file("monoshimd.conf.d/.conf", "nonsense");
        given_file("monoshimd.conf.d/conf", "nonsense");

        assert_int_equal(config_load(path, false, &c, NULL), 0);
        assert_int_equal(c.max_runtime_jobs, 20);
        assert_int_equal(c.limits.containers, 65536);
        assert_int_equal(c.limits.peers, 1);
        then_it_warned("");
}

static void drop_ins_count_without_a_main_file_too(void **state) {
        _cleanup_(freep) char *reason = NULL;
        Config c;

        given_file("monoshimd.conf.d/a.conf", "[Manager]\nMaxRuntimeJobs=10\n");
        assert_int_equal(config_load(path, true, &c, NULL), 0);
        assert_int_equal(c.max_runtime_jobs, 10);

        assert_int_equal(config_load(path, false, &c, &reason), -ENOENT);
        then_text_is(reason, "FILE: No such file or directory");
}

static void of_drop_ins_with_one_name_one_counts(void **state) {
        Config c;

        given_file("usr.d/10-a.conf", "[Manager]\nMaxRuntimeJobs=11\nMaxPeers=11\n");
        given_file("usr.d/20-b.conf", "[Manager]\nMaxRuntimeJobs=12\nMaxSubscriptions=12\n");
        given_file("usr.d/30-c.conf", "[Manager]\nMaxRuntimeJobs=13\n");
        given_file("run.d/20-b.conf", "[Manager]\nMaxContainers=22\n");
        given_file("etc.d/10-a.conf", "[Manager]\nMaxContainers=31\n");

        c = when_loaded_with_directories();
        assert_int_equal(c.max_runtime_jobs, 13);
        assert_int_equal(c.limits.peers, 4096);
        assert_int_equal(c.limits.subscriptions, 1024);
        assert_int_equal(c.limits.containers, 22);

        /* Taking one back: by an empty file, or a link to /dev/null. */
        given_file("run.d/30-c.conf", "");
        assert_int_equal(when_loaded_with_directories().max_runtime_jobs, default_jobs());

        given_file("run.d/30-c.conf", "[Manager]\nMaxRuntimeJobs=23\n");
        assert_int_equal(when_loaded_with_directories().max_runtime_jobs, 23);
        assert_int_equal(symlink("/dev/null", strcat(strcpy((char[128]) {}, directory), "/etc.d/30-c.conf")), 0);
        assert_int_equal(when_loaded_with_directories().max_runtime_jobs, default_jobs());
        then_it_warned("");
}

static void a_mistake_in_a_drop_in_is_told_with_its_file_and_line(void **state) {
        Config c = { .max_runtime_jobs = 4711 };
        _cleanup_(freep) char *reason = NULL, *why = NULL;

        given_file("monoshimd.conf", "[Manager]\nMaxRuntimeJobs=1\n\n\n");
        given_file("monoshimd.conf.d/10-a.conf", "[Manager]\nMaxRuntimeJobs=2\n");
        given_file("monoshimd.conf.d/20-b.conf", "\n[Manager]\nMaxRuntimeJobs=x\n");
        given_file("monoshimd.conf.d/30-c.conf", "nonsense\n");
        assert_int_equal(config_load(path, false, &c, &reason), -EINVAL);
        then_text_is(reason, "FILE.d/20-b.conf:3: MaxRuntimeJobs=x is not a number from 1 to 4096");
        assert_int_equal(c.max_runtime_jobs, 4711);

        /* A section does not reach into the next file. */
        given_file("monoshimd.conf.d/20-b.conf", "MaxRuntimeJobs=3\n");
        given_file("monoshimd.conf.d/30-c.conf", "");
        assert_int_equal(config_load(path, false, &c, NULL), 0);
        assert_int_equal(c.max_runtime_jobs, 2);
        then_it_warned("test: FILE.d/20-b.conf:1: Setting \"MaxRuntimeJobs\" stands outside of any section, ignoring.\n");

        given_file("monoshimd.conf.d/40-folder.conf/x", "");
        c.max_runtime_jobs = 4711;
        assert_int_equal(config_load(path, false, &c, &why), -EINVAL);
        then_text_is(why, "FILE.d/40-folder.conf: not a regular file");
        assert_int_equal(c.max_runtime_jobs, 4711);
}

static void a_folder_of_drop_ins_that_is_none_is_refused(void **state) {
        _cleanup_(freep) char *reason = NULL;
        Config c;

        given_file("monoshimd.conf", "");
        given_file("monoshimd.conf.d", "");
        assert_int_equal(config_load(path, false, &c, &reason), -ENOTDIR);
        then_text_is(reason, "FILE.d: Not a directory");
}

static void drop_ins_without_end_are_refused(void **state) {
        _cleanup_(freep) char *reason = NULL;
        char name[64];
        Config c;

        given_file("monoshimd.conf", "");
        for (unsigned i = 0; i <= 1024; i++) {
                (void) snprintf(name, sizeof(name), "monoshimd.conf.d/%u.conf", i);
                given_file(name, "");
        }
        assert_int_equal(config_load(path, false, &c, &reason), -E2BIG);
        then_text_is(reason, "FILE.d: there are more than 1024 drop-ins");

        assert_int_equal(unlink(strcat(strcpy((char[128]) {}, path), ".d/7.conf")), 0);
        assert_int_equal(config_load(path, false, &c, NULL), 0);
}

static void only_the_usual_file_has_drop_ins_elsewhere(void **state) {
        char **directories;

        directories = config_list_directories(CONFIG_PATH_DEFAULT);
        assert_int_equal(strv_length(directories), 3);
        assert_string_equal(directories[0], "/etc/monoshim/monoshimd.conf.d");
        assert_string_equal(directories[1], "/run/monoshim/monoshimd.conf.d");
        assert_string_equal(directories[2], "/usr/lib/monoshim/monoshimd.conf.d");
        strv_free(directories);

        directories = config_list_directories("/somewhere/else.conf");
        assert_int_equal(strv_length(directories), 1);
        assert_string_equal(directories[0], "/somewhere/else.conf.d");
        strv_free(directories);
}

/* ---- sections of another kind ---- */

static char **taken; /* NAME[:ARGUMENT]:SETTING=VALUE */
static unsigned n_done;

static int other_parse(void *target, const char *argument, const char *name, const char *value, char **reterr_reason) {
        assert_non_null(target);
        if (streq(name, "Unheard"))
                return -ENOENT;
        if (streq(value, "bad")) {
                *reterr_reason = strdup("is no good");
                return -EINVAL;
        }
        return strv_extendf(&taken, "%s|%s|%s", argument ?: "-", name, value);
}

static void other_done(void *target) {
        n_done++;
}

static int load_with_sections(const char *text, char **reterr_reason) {
        static const ConfigSection sections[] = { { "Other", 0, other_parse, other_done }, {} };
        const ConfigSources sources = { .path = path, .sections = sections };
        Config c;

        taken = strv_free(taken);
        n_done = 0;
        given_text(text, strlen(text));
        return config_load_sources(&sources, &c, reterr_reason);
}

static void a_section_may_have_a_name_of_its_own(void **state) {
        assert_int_equal(load_with_sections("[Other]\nA=1\n[Other strict]\nA=2\nA=\n[Manager]\nMaxPeers=3\n"
                                            "[Other \t two words ]\nB=4\nUnheard=1\n[Others]\nA=5\n",
                                            NULL),
                         0);
        assert_int_equal(strv_length(taken), 4);
        assert_string_equal(taken[0], "-|A|1");
        assert_string_equal(taken[1], "strict|A|2");
        assert_string_equal(taken[2], "strict|A|");
        assert_string_equal(taken[3], "two words|B|4");
        assert_int_equal(n_done, 0);
        then_it_warned("test: FILE:10: Unknown setting \"Unheard\" in section [Other \t two words ], ignoring.\n"
                       "test: FILE:12: Unknown section [Others], ignoring its \"A\".\n");
        taken = strv_free(taken);
}

static void what_a_section_refuses_is_told_with_its_line_and_freed(void **state) {
        _cleanup_(freep) char *reason = NULL, *why = NULL;

        assert_int_equal(load_with_sections("[Other x]\nA=1\nA=bad\nA=bad\n", &reason), -EINVAL);
        then_text_is(reason, "FILE:3: A=bad is no good");
        assert_int_equal(n_done, 1);

        assert_int_equal(load_with_sections("[Other 1234567890123456789012345678901234567890123]\nA=1\n", NULL), 0);
        assert_int_equal(load_with_sections("\n[Other 12345678901234567890123456789012345678901234]\nA=1\n", &why), -EINVAL);
        then_text_is(why, "FILE:2: the name of the section is longer than 49 bytes");
        taken = strv_free(taken);
}

/* ---- what it refuses ---- */

static void a_value_that_makes_no_sense_is_refused_with_its_line(void **state) {
        then_the_text_is_refused("[Manager]\n\nRuntimeTimeoutSec=soon\n",
                                 "FILE:3: RuntimeTimeoutSec=soon is not a time span, such as \"2min\", or \"infinity\"");
        then_the_text_is_refused("[Manager]\nRuntimeTimeoutSec=-1\n",
                                 "FILE:2: RuntimeTimeoutSec=-1 is not a time span, such as \"2min\", or \"infinity\"");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=0\n", "FILE:2: MaxRuntimeJobs=0 is not a number from 1 to 4096");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=4097\n", "FILE:2: MaxRuntimeJobs=4097 is not a number from 1 to 4096");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=-1\n", "FILE:2: MaxRuntimeJobs=-1 is not a number from 1 to 4096");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=99999999999999999999999\n",
                                 "FILE:2: MaxRuntimeJobs=99999999999999999999999 is not a number from 1 to 4096");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=\x1b[1m\xff\n", "FILE:2: MaxRuntimeJobs=?[1m? is not a number from 1 to 4096");
}

static void the_first_mistake_is_the_one_that_is_told(void **state) {
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=x\nRuntimeTimeoutSec=y\n",
                                 "FILE:2: MaxRuntimeJobs=x is not a number from 1 to 4096");
        then_the_text_is_refused("[Manager]\nnonsense\nMaxRuntimeJobs=x\n", "FILE:2: neither a [Section] nor Name=Value");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=x\nnonsense\n",
                                 "FILE:2: MaxRuntimeJobs=x is not a number from 1 to 4096");
}

static void what_is_no_ini_file_is_refused(void **state) {
        char text[1024] = "[Manager]\nMaxRuntimeJobs=";

        then_the_text_is_refused("[Manager\nMaxRuntimeJobs=1\n", "FILE:1: neither a [Section] nor Name=Value");
        then_the_text_is_refused("\n[Manager]\nMaxRuntimeJobs\n", "FILE:3: neither a [Section] nor Name=Value");

        /* One setting must not become two. */
        memset(text + strlen(text), '1', 900);
        then_the_text_is_refused(text, "FILE:2: the line is longer than 198 bytes");

        given_text("[Manager]\n\0MaxRuntimeJobs=1\n", 28);
        then_loading_fails(-EINVAL, "FILE: there is a NUL byte in it");
}

/* Continuation lines are not a thing of systemd's files either. */
static void an_indented_line_is_a_line_of_its_own(void **state) {
        Config c = when_loaded("[Manager]\nRuntimeTimeoutSec=5\n  MaxRuntimeJobs=3\n");

        assert_int_equal(c.runtime_timeout_usec, 5 * USEC_PER_SEC);
        assert_int_equal(c.max_runtime_jobs, 3);
}

static void what_is_no_regular_file_is_refused_at_once(void **state) {
        alarm(10);
        assert_int_equal(mkfifo(path, 0600), 0);
        then_loading_fails(-EINVAL, "FILE: not a regular file");
        assert_int_equal(remove(path), 0);
        alarm(0);

        assert_int_equal(mkdir(path, 0700), 0);
        then_loading_fails(-EINVAL, "FILE: not a regular file");
        assert_int_equal(remove(path), 0);

        assert_int_equal(symlink("/dev/zero", path), 0);
        then_loading_fails(-EINVAL, "FILE: not a regular file");
        assert_int_equal(remove(path), 0);

        given_text("", 0);
        assert_int_equal(truncate(path, (off_t) 1 << 40), 0);
        then_loading_fails(-EFBIG, "FILE: larger than 1 MiB");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
                TEST(the_defaults_suit_the_machine),
                TEST(an_empty_file_sets_the_defaults),
                TEST(settings_are_read),
                TEST(long_comments_are_only_comments),
                TEST(a_file_that_may_be_missing_may_be_missing),
                TEST(a_symbolic_link_is_the_admins_business),
                TEST(what_is_unknown_is_ignored_with_a_warning),
                TEST(every_setting_takes_its_range_and_no_more),
                TEST(no_two_settings_share_a_name_or_a_place),
                TEST(the_manual_says_what_the_table_says),
                TEST(the_sample_sets_the_defaults),
                TEST(every_limit_has_a_row),
                TEST(unset_is_not_never),
                TEST(drop_ins_are_read_in_the_order_of_their_names),
                TEST(drop_ins_count_without_a_main_file_too),
                TEST(of_drop_ins_with_one_name_one_counts),
                TEST(a_mistake_in_a_drop_in_is_told_with_its_file_and_line),
                TEST(a_folder_of_drop_ins_that_is_none_is_refused),
                TEST(drop_ins_without_end_are_refused),
                TEST(only_the_usual_file_has_drop_ins_elsewhere),
                TEST(a_section_may_have_a_name_of_its_own),
                TEST(what_a_section_refuses_is_told_with_its_line_and_freed),
                TEST(a_value_that_makes_no_sense_is_refused_with_its_line),
                TEST(the_first_mistake_is_the_one_that_is_told),
                TEST(what_is_no_ini_file_is_refused),
                TEST(an_indented_line_is_a_line_of_its_own),
                TEST(what_is_no_regular_file_is_refused_at_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
