/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How to talk to an OCI runtime: the command line of each verb, and what its failures mean. Pure: nothing is run
 * here.
 *
 * Flags and their order are those of containerd's go-runc (runc.go, command_linux.go). */

#include "util/macro.h"
#include "host/job.h"

/* What every invocation for one container shares. The strings are the caller's. */
typedef struct Runtime {
        const char *command; /* "runc", or an absolute path */
        const char *root;    /* the runtime's state: ROOT/NS */
        const char *log;     /* log.json */
        bool systemd_cgroup;
        const char *id;
} Runtime;

typedef struct RuntimeCreateOptions {
        const char *bundle;
        const char *pid_file;
        const char *console_socket; /* or NULL */
        bool no_pivot;
        bool no_new_keyring;
} RuntimeCreateOptions;

typedef struct RuntimeExecOptions {
        const char *process_file; /* the text of an OCI process object */
        const char *pid_file;
        const char *console_socket; /* or NULL */
} RuntimeExecOptions;

typedef struct RuntimeCheckpointOptions {
        const char *image_path;
        const char *work_path;
        const char *parent_path; /* or NULL */
        bool leave_running;
        bool open_tcp;
        bool external_unix_sockets;
        bool terminal; /* --shell-job */
        bool file_locks;
        char *const *empty_namespaces; /* or NULL */
} RuntimeCheckpointOptions;

typedef struct RuntimeRestoreOptions {
        const char *image_path;
        const char *work_path;
        const char *bundle;
        const char *pid_file;
        const char *console_socket; /* or NULL */
        bool no_pivot;
} RuntimeRestoreOptions;

/* Each returns a new argument vector in *ret, to be freed with strv_free(); 0 or -ENOMEM. */
int runtime_create_argv(const Runtime *runtime, const RuntimeCreateOptions *o, char ***ret);
int runtime_start_argv(const Runtime *runtime, char ***ret);
int runtime_kill_argv(const Runtime *runtime, unsigned signal, bool all, char ***ret);
int runtime_delete_argv(const Runtime *runtime, char ***ret);
int runtime_state_argv(const Runtime *runtime, char ***ret);
int runtime_pause_argv(const Runtime *runtime, char ***ret);
int runtime_resume_argv(const Runtime *runtime, char ***ret);
int runtime_ps_argv(const Runtime *runtime, char ***ret);     /* prints a JSON array of pids */
int runtime_update_argv(const Runtime *runtime, char ***ret); /* --resources=-: they come by stdin */
int runtime_exec_argv(const Runtime *runtime, const RuntimeExecOptions *o, char ***ret);
int runtime_checkpoint_argv(const Runtime *runtime, const RuntimeCheckpointOptions *o, char ***ret);
int runtime_restore_argv(const Runtime *runtime, const RuntimeRestoreOptions *o,
                         char ***ret); /* without -no-subreaper for crun, which does not know it */
/* Of the rollback and of dead containers: --root and --log-format only, no --log, no --systemd-cgroup (containerd
 * runtime/v1/linux/runtime.go, terminate). */
int runtime_delete_force_argv(const Runtime *runtime, char ***ret);

/* The last record of level "error" in a log.json text, trimmed. Garbage lines are skipped. Returns 1 and the message
 * (caller frees), 0 when there is none and all was well formed, -EBADMSG when there is none and something was not,
 * with *reterr_reason. */
int runtime_log_last_error(const char *text, size_t size, char **ret, char **reterr_reason);

/* The text of a failed invocation, in containerd's words (pkg/process/utils.go, init.go):
 *   "runc did not terminate successfully: exit status 1: OUTPUT" (": OUTPUT" only if something was captured),
 *   "... : signal: killed", `exec: "x": executable file not found in $PATH`, "fork/exec PATH: REASON",
 *   "... timed out after N s and was killed". The caller frees it; NULL without memory. */
char *runtime_result_to_text(const char *command, const JobResult *result, uint64_t timeout_usec);

/* "OCI runtime OP failed: CAUSE", CAUSE being the last error in log.json ('log', relative to dir_fd), else "unable to
 * retrieve OCI runtime error (WHY): TEXT", else TEXT alone when the log holds no error. Fit for a D-Bus error. */
char *runtime_failure(const char *op, int dir_fd, const char *log, const char *log_path, const char *text);

/* What CRIU says of its failure, in the text of its dump.log or restore.log: the errors, at most the last five and
 * 1 KiB of them, else the last three lines; on one line, joined by "; ". And the first line of a text that is not
 * blank. Both "" when there is none, fit for a D-Bus error, NULL without memory; the caller frees them. */
char *runtime_criu_tail(const char *log_text, size_t size);
char *runtime_first_line(const char *text);

/* What the output of a failed "kill" means (containerd pkg/process/utils.go, checkKillError): -ESRCH already
 * finished, -ENOENT no such container, -EIO anything else. And of a failed "delete": true if the container is gone
 * anyway. */
int runtime_kill_classify(const char *output);

/* Is "kill" of this runtime, for one process that runs, nothing but kill(2) for the init? So it is of runc
 * (libcontainer's Container.Signal()) and crun (libcrun_container_kill()), which are known by the program's name. Not
 * of one whose init is a virtual machine's monitor, and nobody knows what a script does that somebody has put into
 * their place. */
bool runtime_kill_is_plain(const char *command);
bool runtime_delete_is_gone(const char *output, const char *complaint);
