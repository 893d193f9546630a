/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What monoshimd reads out of a config.json, and which bundles it refuses. */

#include "host/bundle.h"
#include "util/json.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <cmocka.h>

static char directory[64];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int set_up(void **state) {
        strcpy(directory, "/tmp/test-bundle-XXXXXX");
        return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state) {
        return nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path in the test's directory; valid until the fourth next call. */
static const char *at(const char *name) {
        static char paths[4][PATH_MAX];
        static unsigned next;
        char *path = paths[next++ % ELEMENTSOF(paths)];

        (void) snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
        return path;
}

static void given_file(const char *name, const char *text) {
        _cleanup_(safe_closep) int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static BundleConfig when_parsed(const char *text) {
        _cleanup_(freep) char *reason = NULL;
        BundleConfig c = {};
        int r;

        r = bundle_config_parse(text, strlen(text), &c, &reason);
        if (r < 0)
                print_error("%s\n", strempty(reason));
        assert_int_equal(r, 0);
        return c;
}

static void then_parsing_fails(const char *text, size_t size, int error, const char *expected) {
        BundleConfig c = { .root_gid = 4711 };
        _cleanup_(freep) char *reason = NULL;

        assert_int_equal(bundle_config_parse(text, size, &c, &reason), error);
        assert_string_equal(reason, expected);
        assert_int_equal(c.root_gid, 4711); /* untouched */
}

static void then_reading_fails(const char *bundle, int error, const char *format) {
        BundleConfig c = { .root_gid = 4711 };
        _cleanup_(freep) char *reason = NULL, *expected = NULL;
        const char *mark = strstr(format, "DIR");

        assert_true(asprintf(&expected, "%.*s%s%s", (int) (mark ? mark - format : (ptrdiff_t) strlen(format)), format,
                             mark ? directory : "", mark ? mark + 3 : "") >= 0);
        assert_int_equal(bundle_config_read(bundle, &c, &reason), error);
        assert_string_equal(reason, expected);
        assert_int_equal(c.root_gid, 4711);
}

/* ---- what is in it ---- */

static void a_runtimes_own_specimen_is_understood(void **state) {
        /* What "runc spec" writes, shortened where nothing of interest is. */
        BundleConfig c = when_parsed(
                "{\n\t\"ociVersion\": \"1.0.2-dev\",\n\t\"process\": {\n\t\t\"terminal\": true,\n\t\t\"user\": {\"uid\": 0, \"gid\": 0},\n"
                "\t\t\"args\": [\"sh\"],\n\t\t\"env\": [\"PATH=/bin\", \"TERM=xterm\"],\n\t\t\"cwd\": \"/\",\n"
                "\t\t\"rlimits\": [{\"type\": \"RLIMIT_NOFILE\", \"hard\": 1024, \"soft\": 1024}]\n\t},\n"
                "\t\"root\": {\"path\": \"rootfs\", \"readonly\": true},\n\t\"hostname\": \"runc\",\n"
                "\t\"mounts\": [{\"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\"}],\n"
                "\t\"linux\": {\n\t\t\"resources\": {\"devices\": [{\"allow\": false, \"access\": \"rwm\"}]},\n"
                "\t\t\"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"network\"}, {\"type\": \"ipc\"}, {\"type\": \"uts\"},\n"
                "\t\t\t{\"type\": \"mount\"}],\n\t\t\"maskedPaths\": [\"/proc/acpi\"]\n\t}\n}\n");

        assert_true(c.private_pid_namespace);
        assert_false(c.remaps_gid);
        assert_null(c.cgroups_path);
        bundle_config_done(&c);
}

static void a_pid_namespace_is_private_when_it_is_new(void **state) {
        static const struct {
                const char *text;
                bool private;
        } table[] = {
                { "{}", false },
                { "{\"linux\": {}}", false },
                { "{\"linux\": null}", false },
                { "{\"linux\": {\"namespaces\": null}}", false },
                { "{\"linux\": {\"namespaces\": []}}", false },
                { "{\"linux\": {\"namespaces\": [{}]}}", false },
                { "{\"linux\": {\"namespaces\": [null]}}", false },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"mount\"}]}}", false },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"pid\"}]}}", true },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"pid\", \"path\": \"\"}]}}", true },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"pid\", \"path\": null}]}}", true },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"pid\", \"path\": \"/proc/1/ns/pid\"}]}}", false },
                { "{\"linux\": {\"namespaces\": [{\"path\": \"/proc/1/ns/pid\", \"type\": \"pid\"}]}}", false },
                { "{\"linux\": {\"namespaces\": [{\"path\": \"/x\", \"type\": \"network\"}, {\"type\": \"pid\"}]}}", true },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"pid\"}, {\"path\": \"/x\", \"type\": \"network\"}]}}", true },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"PID\"}]}}", false },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"pids\"}]}}", false },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"p\"}]}}", false },
                /* The same words elsewhere mean nothing. */
                { "{\"namespaces\": [{\"type\": \"pid\"}]}", false },
                { "{\"linux.namespaces\": [{\"type\": \"pid\"}]}", false },
                { "{\"x\": {\"linux\": {\"namespaces\": [{\"type\": \"pid\"}]}}}", false },
                { "{\"x\": [{\"linux\": {\"namespaces\": [{\"type\": \"pid\"}]}}]}", false },
                { "{\"linux\": {\"x\": {\"namespaces\": [{\"type\": \"pid\"}]}}}", false },
                { "{\"linux\": {\"namespaces\": [{\"x\": {\"type\": \"pid\"}}]}}", false },
                { "{\"linux\": {\"namespaces\": [{\"x\": [\"pid\"], \"type\": \"pid\"}]}}", true },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"pid\", \"x\": {\"path\": \"/x\"}}]}}", true },
                { "{\"linux\": {\"mountLabel\": [[[]]], \"namespaces\": [{\"type\": \"pid\"}]}}", true },
                /* Of two, the last counts, as for the runtime. */
                { "{\"linux\": {\"namespaces\": [{\"type\": \"pid\"}], \"namespaces\": []}}", false },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"pid\"}]}, \"linux\": null}", false },
                { "{\"linux\": {\"namespaces\": [{\"type\": \"pid\"}]}, \"linux\": {}}", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                BundleConfig c;

                print_message("# case %zu\n", i);
                c = when_parsed(table[i].text);
                assert_int_equal(c.private_pid_namespace, table[i].private);
                bundle_config_done(&c);
        }
}

static void the_first_mapping_of_group_zero_names_the_root_group(void **state) {
        static const struct {
                const char *mappings;
                bool remaps;
                gid_t gid;
        } table[] = {
                { "null", false, 0 },
                { "[]", false, 0 },
                { "[{\"containerID\": 0, \"hostID\": 0, \"size\": 1}]", false, 0 },
                { "[{\"containerID\": 0, \"hostID\": 100000, \"size\": 65536}]", true, 100000 },
                { "[{\"size\": 65536, \"hostID\": 100000, \"containerID\": 0}]", true, 100000 },
                { "[{\"containerID\": 1, \"hostID\": 5, \"size\": 1}]", false, 0 },
                { "[{\"containerID\": 1, \"hostID\": 5}, {\"containerID\": 0, \"hostID\": 7}]", true, 7 },
                { "[{\"containerID\": 0, \"hostID\": 7}, {\"containerID\": 0, \"hostID\": 8}]", true, 7 },
                { "[{\"containerID\": 0, \"hostID\": 0}, {\"containerID\": 0, \"hostID\": 8}]", false, 0 },
                { "[{\"hostID\": 9}]", true, 9 }, /* what is left out is 0 */
                { "[{\"containerID\": 0}]", false, 0 },
                { "[{\"containerID\": 0, \"hostID\": 4294967294}]", true, 4294967294 },
                { "[{\"x\": [{\"hostID\": 4}], \"hostID\": 9}]", true, 9 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(freep) char *text = NULL;
                BundleConfig c;

                print_message("# case %zu\n", i);
                assert_true(asprintf(&text, "{\"linux\": {\"gidMappings\": %s, \"uidMappings\": [{\"hostID\": 3}]}}",
                                     table[i].mappings) >= 0);
                c = when_parsed(text);
                assert_int_equal(c.remaps_gid, table[i].remaps);
                assert_int_equal(c.root_gid, table[i].gid);
                bundle_config_done(&c);
        }
}

static void the_cgroup_path_is_copied(void **state) {
        static const struct {
                const char *text, *path;
        } table[] = {
                { "{\"linux\": {\"cgroupsPath\": \"/a/b\"}}", "/a/b" },
                { "{\"linux\": {\"cgroupsPath\": \"system.slice:prefix:n\\u00e4me\"}}", "system.slice:prefix:n\xc3\xa4me" },
                { "{\"linux\": {\"cgroupsPath\": \"\"}}", NULL },
                { "{\"linux\": {\"cgroupsPath\": null}}", NULL },
                { "{\"linux\": {\"cgroupsPath\": \"/a\", \"cgroupsPath\": \"/b\"}}", "/b" },
                { "{\"linux\": {\"cgroupsPath\": \"/a\"}, \"linux\": null}", NULL },
                { "{\"cgroupsPath\": \"/a\"}", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                BundleConfig c;

                print_message("# case %zu\n", i);
                c = when_parsed(table[i].text);
                assert_true(streq_ptr(c.cgroups_path, table[i].path));
                bundle_config_done(&c);
                assert_null(c.cgroups_path);
        }
}

static void what_matters_must_have_its_type(void **state) {
        static const struct {
                const char *text, *reason;
        } table[] = {
                { "[]", "line 1, column 1: must be an object" },
                { "null", "line 1, column 4: must be an object" },
                { "\"{}\"", "line 1, column 4: must be an object" },
                { "{\"linux\": []}", "line 1, column 11: linux must be an object" },
                { "{\"linux\": true}", "line 1, column 14: linux must be an object" },
                { "{\"linux\":\n {\"namespaces\": {}}}", "line 2, column 17: linux.namespaces must be an array" },
                { "{\"linux\":\n {\"namespaces\": [[]]}}", "line 2, column 18: linux.namespaces[] must be an object" },
                { "{\"linux\":\n {\"namespaces\": [\"pid\"]}}", "line 2, column 22: linux.namespaces[] must be an object" },
                { "{\"linux\":\n {\"namespaces\": [{\"type\": {}}]}}",
                  "line 2, column 27: linux.namespaces[].type must be a string" },
                { "{\"linux\":\n {\"namespaces\": [{\"path\": []}]}}",
                  "line 2, column 27: linux.namespaces[].path must be a string" },
                { "{\"linux\":\n {\"gidMappings\": \"x\"}}", "line 2, column 20: linux.gidMappings must be an array" },
                { "{\"linux\":\n {\"gidMappings\": [false]}}", "line 2, column 23: linux.gidMappings[] must be an object" },
                { "{\"linux\":\n {\"gidMappings\": [{\"containerID\": \"0\"}]}}",
                  "line 2, column 37: linux.gidMappings[].containerID must be a group id" },
                { "{\"linux\":\n {\"gidMappings\": [{\"hostID\": -1 }]}}",
                  "line 2, column 31: linux.gidMappings[].hostID must be a group id" },
                { "{\"linux\":\n {\"gidMappings\": [{\"hostID\": 1.5 }]}}",
                  "line 2, column 32: linux.gidMappings[].hostID must be a group id" },
                { "{\"linux\":\n {\"gidMappings\": [{\"hostID\": 4294967295 }]}}", /* (gid_t) -1: chown() would do nothing */
                  "line 2, column 39: linux.gidMappings[].hostID must be a group id" },
                { "{\"linux\":\n {\"gidMappings\": [{\"hostID\": 99999999999999999999999999 }]}}",
                  "line 2, column 55: linux.gidMappings[].hostID must be a group id" },
                { "{\"linux\":\n {\"cgroupsPath\": 1 }}", "line 2, column 18: linux.cgroupsPath must be a string" },
                { "{\"linux\":\n {\"cgroupsPath\": \"/a\", \"cgroupsPath\": {}}}",
                  "line 2, column 39: linux.cgroupsPath must be a string" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                print_message("# case %zu\n", i);
                then_parsing_fails(table[i].text, strlen(table[i].text), -EINVAL, table[i].reason);
        }
}

static void malformed_text_is_refused(void **state) {
        static const char nul[] = "{\"linux\": {\"cgroupsPath\": \"/a\\u0000b\"}}";

        then_parsing_fails("", 0, -EINVAL, "line 1, column 1: parse error: premature EOF");
        then_parsing_fails("{", 1, -EINVAL, "line 1, column 2: parse error: premature EOF");
        then_parsing_fails("{}{}", 4, -EINVAL, "line 1, column 3: parse error: trailing garbage");
        then_parsing_fails("{}\0", 3, -EINVAL, "line 1, column 3: NUL byte");
        then_parsing_fails("{\"\xff\": 1}", 8, -EINVAL, "line 1, column 3: invalid UTF-8");
        then_parsing_fails(nul, strlen(nul), -EINVAL, "line 1, column 37: string with \\u0000 or half a surrogate pair");
}

static void nesting_has_an_end(void **state) {
        size_t n = 1000000;
        _cleanup_(freep) char *text = malloc(n + 32), *reason = NULL;
        BundleConfig c;

        assert_non_null(text);
        strcpy(text, "{\"linux\": {\"x\": ");
        memset(text + strlen(text), '[', n);
        assert_int_equal(bundle_config_parse(text, n, &c, &reason), -EINVAL);
        assert_string_equal(reason, "line 1, column 115: nested too deeply");
}

static void sixteen_mebibytes_are_read_and_not_a_byte_more(void **state) {
        static const char head[] = "{\"linux\": {\"namespaces\": [{\"type\": \"pid\"}]}, \"x\": \"";
        _cleanup_(freep) char *text = malloc(BUNDLE_CONFIG_MAX + 2);
        BundleConfig c;

        assert_non_null(text);
        memset(text, 'x', BUNDLE_CONFIG_MAX + 1);
        memcpy(text, head, strlen(head));
        memcpy(text + BUNDLE_CONFIG_MAX - 2, "\"}", 3);
        c = when_parsed(text);
        assert_true(c.private_pid_namespace);
        bundle_config_done(&c);

        then_parsing_fails(text, BUNDLE_CONFIG_MAX + 1, -EFBIG, "larger than 16 MiB");
}

static void every_truncation_and_random_damage_is_survived(void **state) {
        static const char text[] = "{\"a\": [1, {}], \"linux\": {\"cgroupsPath\": \"/a\", \"namespaces\": [{\"type\": \"pid\", \"path\": \"\"}],"
                                   " \"gidMappings\": [{\"containerID\": 0, \"hostID\": 1}]}}";

        for (size_t size = 0; size < strlen(text); size++) {
                _cleanup_(freep) char *part = strndup(text, size), *reason = NULL;
                BundleConfig c;

                assert_int_equal(bundle_config_parse(part, size, &c, &reason), -EINVAL);
                assert_non_null(reason);
        }

        srandom(4711);
        for (int round = 0; round < 20000; round++) {
                static const char alphabet[] = "{}[]\",:\\u0 1-e\xff\xc3tn";
                _cleanup_(freep) char *reason = NULL;
                char damaged[sizeof(text)];
                BundleConfig c;

                memcpy(damaged, text, sizeof(text));
                for (int i = 0; i < 3; i++)
                        damaged[(size_t) random() % strlen(text)] = alphabet[(size_t) random() % strlen(alphabet)];
                if (bundle_config_parse(damaged, strlen(damaged), &c, &reason) >= 0)
                        bundle_config_done(&c);
                else
                        assert_non_null(reason);
        }
}

/* ---- where it lies ---- */

static void a_bundle_is_read_from_its_directory(void **state) {
        _cleanup_(freep) char *reason = NULL;
        BundleConfig c;

        given_file("config.json", "{\"linux\": {\"cgroupsPath\": \"/x\"}}");
        assert_int_equal(bundle_config_read(directory, &c, &reason), 0);
        assert_string_equal(c.cgroups_path, "/x");
        bundle_config_done(&c);

        assert_int_equal(bundle_config_read(at("//"), &c, &reason), 0);
        bundle_config_done(&c);
}

static void what_is_missing_is_named(void **state) {
        then_reading_fails(at("absent"), -ENOENT, "cannot open bundle DIR/absent: No such file or directory");
        then_reading_fails(directory, -ENOENT, "cannot open DIR/config.json: No such file or directory");
}

static void a_bundle_must_be_an_absolute_path_of_a_real_directory(void **state) {
        given_file("file", "{}");
        assert_int_equal(mkdir(at("real"), 0755), 0);
        given_file("real/config.json", "{}");
        assert_int_equal(symlink("real", at("link")), 0);
        assert_int_equal(mkfifo(at("fifo"), 0600), 0);

        then_reading_fails("", -EINVAL, "bundle \"\" is not an absolute path");
        then_reading_fails("relative/bundle", -EINVAL, "bundle \"relative/bundle\" is not an absolute path");
        then_reading_fails(at("file"), -EINVAL, "bundle DIR/file is not a directory");
        then_reading_fails(at("fifo"), -EINVAL, "bundle DIR/fifo is not a directory");
        then_reading_fails(at("link"), -EINVAL, "bundle DIR/link is not a directory");
        then_reading_fails(at("link/"), -EINVAL, "bundle DIR/link is not a directory");
}

typedef enum Kind {
        A_DIRECTORY,
        A_FIFO,
        A_SOCKET,
        A_LINK,
        A_DANGLING_LINK,
        A_DEVICE,
        _KIND_MAX,
} Kind;

static void given_in_place_of_the_file(Kind kind, const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(safe_closep) int fd = -EBADF;

        switch (kind) {
        case A_DIRECTORY:
                assert_int_equal(mkdir(path, 0755), 0);
                break;
        case A_FIFO:
                assert_int_equal(mkfifo(path, 0600), 0);
                break;
        case A_SOCKET:
                fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                strcpy(address.sun_path, path);
                assert_int_equal(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
                break;
        case A_LINK:
                assert_int_equal(symlink("/etc/passwd", path), 0);
                break;
        case A_DANGLING_LINK:
                assert_int_equal(symlink("nowhere", path), 0);
                break;
        case A_DEVICE:
                /* Who may make no devices has one less way to be fooled. */
                if (mknod(path, S_IFCHR | 0600, makedev(1, 5)) < 0)
                        assert_int_equal(mkfifo(path, 0600), 0);
                break;
        case _KIND_MAX:
                break;
        }
}

static void config_json_must_be_a_regular_file(void **state) {
        alarm(20); /* a FIFO opened carelessly would block */
        for (Kind kind = A_DIRECTORY; kind < _KIND_MAX; kind++) {
                print_message("# case %d\n", (int) kind);
                given_in_place_of_the_file(kind, at("config.json"));
                then_reading_fails(directory, -EINVAL, "DIR/config.json is not a regular file");
                assert_int_equal(remove(at("config.json")), 0);
        }
        alarm(0);
}

static void a_file_that_is_too_large_is_not_even_read(void **state) {
        given_file("config.json", "{}");
        assert_int_equal(truncate(at("config.json"), BUNDLE_CONFIG_MAX + 1), 0);
        then_reading_fails(directory, -EFBIG, "DIR/config.json is larger than 16 MiB");
        assert_int_equal(truncate(at("config.json"), (off_t) 1 << 40), 0);
        then_reading_fails(directory, -EFBIG, "DIR/config.json is larger than 16 MiB");
}

static void malformed_text_is_refused_by_its_path_and_place(void **state) {
        given_file("config.json", "{\n  \"linux\": [");
        then_reading_fails(directory, -EINVAL, "DIR/config.json: line 2, column 12: linux must be an object");
        given_file("config.json", "");
        then_reading_fails(directory, -EINVAL, "DIR/config.json: line 1, column 1: parse error: premature EOF");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
                cmocka_unit_test(a_runtimes_own_specimen_is_understood),
                cmocka_unit_test(a_pid_namespace_is_private_when_it_is_new),
                cmocka_unit_test(the_first_mapping_of_group_zero_names_the_root_group),
                cmocka_unit_test(the_cgroup_path_is_copied),
                cmocka_unit_test(what_matters_must_have_its_type),
                cmocka_unit_test(malformed_text_is_refused),
                cmocka_unit_test(nesting_has_an_end),
                cmocka_unit_test(sixteen_mebibytes_are_read_and_not_a_byte_more),
                cmocka_unit_test(every_truncation_and_random_damage_is_survived),
                TEST(a_bundle_is_read_from_its_directory),
                TEST(what_is_missing_is_named),
                TEST(a_bundle_must_be_an_absolute_path_of_a_real_directory),
                TEST(config_json_must_be_a_regular_file),
                TEST(a_file_that_is_too_large_is_not_even_read),
                TEST(malformed_text_is_refused_by_its_path_and_place),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
