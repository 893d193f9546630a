/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The mounts that a client wants on a bundle's rootfs: the list, and the child process that makes or undoes them.
 *
 * The child tells of its end in memory that it shares with us: there is no pipe to be read, and nothing to be lost
 * when it is killed. */

#include "host/mounts.h"

#include "host/child.h"
#include "host/mount-options.h"
#include "host/mount-worker.h"
#include "host/sandbox.h"
#include "util/crash-point.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <assert.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* How long a killed child may take to die before its owner is told. As long as it lives, the mount that it is busy
 * with may still come or go. */
#define DEATH_USEC USEC_PER_SEC

/* --- the list --------------------------------------------------------------------------------------------------- */

static void mount_done(Mount *m) {
        free(m->type);
        free(m->source);
        free(m->target);
        strv_free(m->options);
        *m = (Mount) {};
}

static int mount_copy(Mount *ret, const char *type, const char *source, const char *target, char *const *options) {
        _cleanup_(mount_done) Mount m = {};

        m.type = strdup(strempty(type));
        m.source = strdup(strempty(source));
        m.target = strdup(strempty(target));
        if (!m.type || !m.source || !m.target)
                return -ENOMEM;

        if (options && options[0]) {
                m.options = strv_copy(options);
                if (!m.options)
                        return -ENOMEM;
        }

        *ret = m;
        m = (Mount) {};
        return 0;
}

static size_t mount_size(const char *type, const char *source, const char *target, char *const *options) {
        size_t size = strlen(strempty(type)) + strlen(strempty(source)) + strlen(strempty(target));

        for (; options && *options; options++)
                size += strlen(*options) + 1;
        return size;
}

int mounts_add(Mounts *m, const char *type, const char *source, const char *target, char *const *options) {
        Mount *mounts;
        int r;

        if (m->n_mounts >= MOUNTS_MAX || mount_size(type, source, target, options) > MOUNT_SIZE_MAX)
                return -E2BIG;

        mounts = reallocarray(m->mounts, m->n_mounts + 1, sizeof(*mounts));
        if (!mounts)
                return -ENOMEM;
        m->mounts = mounts;

        r = mount_copy(&mounts[m->n_mounts], type, source, target, options);
        if (r < 0)
                return r;
        m->n_mounts++;
        return 0;
}

void mounts_done(Mounts *m) {
        for (size_t i = 0; i < m->n_mounts; i++)
                mount_done(&m->mounts[i]);
        free(m->mounts);
        *m = (Mounts) {};
}

/* --- checking --------------------------------------------------------------------------------------------------- */

static bool path_climbs(const char *path) {
        for (const char *end; *path; path = end + strspn(end, "/")) {
                end = strchrnul(path, '/');
                if (end - path == 2 && path[0] == '.' && path[1] == '.')
                        return true;
        }
        return false;
}

static int refuse(int error, const char *reason, char **reterr_reason) {
        *reterr_reason = strdup(reason);
        return *reterr_reason ? error : -ENOMEM;
}

static int mount_check_data(const Mount *m, const MountOptions *o, char **reterr_reason) {
        _cleanup_(strv_freep) char **layers = NULL;
        _cleanup_(freep) char *data = NULL;
        int r;

        data = mount_options_get_data(o);
        if (!data)
                return -ENOMEM;
        r = mount_options_get_layers(o, &layers);
        if (r < 0)
                return r;

        /* Of an overlay with several layers only the kernel can tell. */
        if (!mount_data_fits(data) && !(streq(m->type, "overlay") && strv_length(layers) > 1))
                return refuse(-EINVAL, "mount options is too long", reterr_reason);
        return 0;
}

static int mount_check(const Mount *m, char **reterr_reason) {
        _cleanup_(mount_options_done) MountOptions o = {};
        int r;

        if (m->target[0] == '/' || path_climbs(m->target))
                return refuse(-EINVAL, "the target must be relative to the rootfs, and without \"..\"",
                              reterr_reason);

        r = mount_options_parse(&o, m->options, reterr_reason);
        if (r < 0)
                return r;

        if (!m->type[0] && !(o.flags & (MS_BIND | MS_REMOUNT)))
                return refuse(-EINVAL, "there is no type, and no option \"bind\" or \"rbind\"", reterr_reason);
        if (startswith(m->type, "fuse.") || startswith(m->type, "fuse3."))
                return refuse(-EOPNOTSUPP, "the type takes a mount helper, and none is run", reterr_reason);
        if (o.loop && (o.flags & (MS_BIND | MS_REMOUNT)))
                return refuse(-EINVAL, "the option \"loop\" takes a mount of its own", reterr_reason);
        if ((o.loop || ((o.flags & MS_BIND) && !(o.flags & MS_REMOUNT))) && m->source[0] != '/')
                return refuse(-EINVAL, "the source must be an absolute path", reterr_reason);
        return mount_check_data(m, &o, reterr_reason);
}

int mounts_check(const Mounts *m, char **reterr_reason) {
        for (size_t i = 0; i < m->n_mounts; i++) {
                const Mount *mount = &m->mounts[i];
                _cleanup_(freep) char *reason = NULL;
                char *text;
                int r;

                r = mount_check(mount, &reason);
                if (r >= 0)
                        continue;
                if (r == -ENOMEM)
                        return r;

                text = strdup_printf("mount %zu (type \"%.64s\", source \"%.256s\", target \"%.256s\"): %s", i + 1,
                                     mount->type, mount->source, mount->target, reason);
                if (!text)
                        return -ENOMEM;
                *reterr_reason = text;
                return r;
        }
        return 0;
}

/* --- as JSON ---------------------------------------------------------------------------------------------------- */

void mounts_write_json(const Mounts *m, JsonWriter *w) {
        json_open_array(w);
        for (size_t i = 0; i < m->n_mounts; i++) {
                const Mount *mount = &m->mounts[i];

                json_open_object(w);
                json_put_string(w, "type", mount->type);
                json_put_string(w, "source", mount->source);
                json_put_string(w, "target", mount->target);
                json_write_key(w, "options");
                json_open_array(w);
                for (char *const *o = mount->options; o && *o; o++)
                        json_write_string(w, *o);
                json_close_array(w);
                json_close_object(w);
        }
        json_close_array(w);
}

static int options_read_json(Json array, char ***ret) {
        _cleanup_(strv_freep) char **options = NULL;
        int r;

        if (array && !YAJL_IS_ARRAY(array))
                return -EINVAL;

        for (size_t i = 0; i < json_length(array); i++) {
                const char *option = json_string(json_element(array, i));

                if (!option)
                        return -EINVAL;
                r = strv_extend(&options, option);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(options);
        return 0;
}

static int mount_read_json(Mounts *m, Json object) {
        _cleanup_(strv_freep) char **options = NULL;
        const char *type = "", *source = "", *target = "";
        int r;

        if (!json_is_object(object) || json_get_string(object, "type", &type) < 0 ||
            json_get_string(object, "source", &source) < 0 || json_get_string(object, "target", &target) < 0)
                return -EINVAL;

        r = options_read_json(json_get(object, "options"), &options);
        if (r < 0)
                return r;
        r = mounts_add(m, type, source, target, options);
        return r == -E2BIG ? -EINVAL : r;
}

int mounts_read_json(Mounts *ret, Json array) {
        _cleanup_(mounts_done) Mounts m = {};
        int r;

        if (!YAJL_IS_ARRAY(array))
                return -EINVAL;

        for (size_t i = 0; i < json_length(array); i++) {
                r = mount_read_json(&m, json_element(array, i));
                if (r < 0)
                        return r;
        }

        *ret = m;
        m = (Mounts) {};
        return 0;
}

/* --- the child -------------------------------------------------------------------------------------------------- */

struct MountsJob {
        Reaper *reaper;
        sd_event_source *deadline;
        pid_t pid; /* 0 once it has been reaped, or given up */
        bool killed;
        bool violated; /* it has left its sandbox, or was about to */
        MountReport *report; /* shared with the child */
        uint64_t timeout_usec;
        char *rootfs;
        MountsFinished finished;
        void *userdata;
};

static _noreturn_ void child_run(const MountsJob *job, pid_t parent, const Mounts *m) {
        int r;

        /* Without us nobody would know of what it mounts. What it has mounted by then is found at the next start. */
        r = child_prepare(parent, m ? "mount-rootfs" : "umount-rootfs", -EBADF);

        /* Some file systems show the umask of who has mounted them. */
        (void) umask(022);
        if (r >= 0 && chdir("/") < 0)
                r = -errno;
        if (r >= 0)
                r = sandbox_enter(SANDBOX_MOUNTING);
        if (r < 0)
                job->report->error = r;
        else if (m)
                mount_worker_make(job->rootfs, m, job->report);
        else
                mount_worker_undo(job->rootfs, job->report);

        job->report->complete = true;
        _exit(0);
}

/* --- the job ---------------------------------------------------------------------------------------------------- */

/* Whatever bytes there are in paths, the text can go on D-Bus. */
static char *text_from_report(const char *text, size_t size) {
        return text_sanitize(text, strnlen(text, size), size);
}

static char *mounts_job_describe(const MountsJob *job, int error) {
        _cleanup_(freep) char *text = NULL;

        if (error == -ETIMEDOUT) {
                text = text_from_report(job->report->doing, sizeof(job->report->doing));
                return strdup_printf("%s took longer than %g s and was given up%s",
                                     isempty(text) ? job->rootfs : text,
                                     (double) job->timeout_usec / (double) USEC_PER_SEC,
                                     job->pid > 0 ? "; it hangs in the kernel" : "");
        }

        text = text_from_report(job->report->text, sizeof(job->report->text));
        if (!isempty(text))
                return TAKE_PTR(text);
        if (job->violated)
                return strdup_printf("failed to deal with the mounts on %s: the process that does it was killed, since "
                                     "it made a system call that its sandbox has not",
                                     job->rootfs);
        return strdup_printf("failed to deal with the mounts on %s: %s", job->rootfs,
                             error == -ECANCELED ? "the process that does it was killed" : strerror(-error));
}

/* Last: it may free the job. */
static void mounts_job_finish(MountsJob *job, int error) {
        _cleanup_(freep) char *text = NULL;

        job->deadline = sd_event_source_disable_unref(job->deadline);
        if (error < 0)
                text = mounts_job_describe(job, error);
        else if (job->report->is_link)
                log_warning("%s is a symbolic link, nothing was unmounted", job->rootfs);
        else if (job->report->is_gone)
                log_warning("The folder that %s was in is gone, nothing was unmounted: if it was renamed, its mounts "
                            "are still there",
                            job->rootfs);
        job->pid = 0;
        job->finished(job->userdata, error, error < 0 ? text ?: "out of memory" : NULL);
}

static void mounts_job_on_exit(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
        MountsJob *job = userdata;

        crash_point("mounts-ended");
        /* What was done in time, or in spite of the signal, is done. */
        job->pid = 0;
        job->violated = sandbox_was_violated(wait_status);
        if (job->report->complete)
                mounts_job_finish(job, job->report->error);
        else
                mounts_job_finish(job, job->killed ? -ETIMEDOUT : -ECANCELED);
}

/* The first time the child is killed, the second time it is given up. */
static int mounts_job_on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        MountsJob *job = userdata;

        if (!job->killed) {
                job->killed = true;
                (void) kill(job->pid, SIGKILL);
                if (sd_event_source_set_time_relative(source, DEATH_USEC) >= 0 &&
                    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT) >= 0)
                        return 0;
        }

        reaper_unwatch(job->reaper, job->pid);
        mounts_job_finish(job, -ETIMEDOUT);
        return 0;
}

static int mounts_job_arm(MountsJob *job, sd_event *event) {
        int r;

        /* A deadline that lies behind the end of time is none. */
        if (job->timeout_usec >= USEC_INFINITY / 2)
                return 0;

        r = sd_event_add_time_relative(event, &job->deadline, CLOCK_MONOTONIC, job->timeout_usec, USEC_PER_MSEC,
                                       mounts_job_on_deadline, job);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(job->deadline, "mounts-deadline");
        return 0;
}

static int mounts_job_fork(MountsJob *job, const Mounts *m) {
        pid_t parent, pid;
        int r;

        sandbox_check();
        parent = getpid();
        crash_point("mounts-before-fork");
        pid = child_fork();
        if (pid == 0)
                child_run(job, parent, m);
        if (pid < 0)
                return pid;

        r = reaper_watch(job->reaper, pid, mounts_job_on_exit, job);
        if (r < 0) {
                (void) kill(pid, SIGKILL);
                return r;
        }
        job->pid = pid;
        crash_point("mounts-after-fork");
        return 0;
}

static int mounts_job_new(MountsJob **ret, sd_event *event, Reaper *reaper, const char *rootfs, const Mounts *m,
                          uint64_t timeout_usec, MountsFinished finished, void *userdata) {
        _cleanup_(mounts_job_freep) MountsJob *job = NULL;
        void *report;
        int r;

        assert(rootfs && finished);

        job = calloc(1, sizeof(*job));
        if (!job)
                return -ENOMEM;

        *job = (MountsJob) {
                .reaper = reaper,
                .timeout_usec = timeout_usec,
                .finished = finished,
                .userdata = userdata,
        };
        job->rootfs = strdup(rootfs);
        if (!job->rootfs)
                return -ENOMEM;

        report = mmap(NULL, sizeof(*job->report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (report == MAP_FAILED)
                return -errno;
        job->report = report;

        r = mounts_job_arm(job, event);
        if (r < 0)
                return r;
        r = mounts_job_fork(job, m);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(job);
        return 0;
}

int mounts_make(MountsJob **ret, sd_event *event, Reaper *reaper, const char *rootfs, const Mounts *m,
                uint64_t timeout_usec, MountsFinished finished, void *userdata) {
        assert(m);

        return mounts_job_new(ret, event, reaper, rootfs, m, timeout_usec, finished, userdata);
}

int mounts_undo(MountsJob **ret, sd_event *event, Reaper *reaper, const char *rootfs, uint64_t timeout_usec,
                MountsFinished finished, void *userdata) {
        return mounts_job_new(ret, event, reaper, rootfs, NULL, timeout_usec, finished, userdata);
}

MountsJob *mounts_job_free(MountsJob *job) {
        if (!job)
                return NULL;

        if (job->pid > 0) {
                reaper_unwatch(job->reaper, job->pid);
                (void) kill(job->pid, SIGKILL);
        }
        sd_event_source_disable_unref(job->deadline);
        if (job->report)
                (void) munmap(job->report, sizeof(*job->report));
        free(job->rootfs);
        return mfree(job);
}
