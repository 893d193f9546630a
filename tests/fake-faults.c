/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is to go wrong in one invocation of the fake runtime, and the record of what was invoked. */

#include "fake-faults.h"
#include "fake-util.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

Fault fault = { .exit = -1, .exit_after = -1 };

static char control[PATH_SIZE]; /* empty: nothing is injected or recorded */

static const struct {
        const char *word;
        LogKind kind;
} log_table[] = {
        { "garbage", LOG_GARBAGE },     { "empty", LOG_EMPTY },     { "none", LOG_NOTHING },
        { "stale", LOG_NOTHING },       { "no-msg", LOG_NO_MSG },   { "huge", LOG_TEXT_HUGE },
        { "truncated", LOG_TRUNCATED }, { "warning", LOG_WARNING },
};

static const struct {
        const char *word;
        bool *flag;
        double *seconds;
        int *number;
        const char **text;
        long *bytes;
} fault_table[] = {
        { "sleep", .seconds = &fault.sleep },
        { "sleep-after", .seconds = &fault.sleep_after },
        { "pid-late", .seconds = &fault.pid_late },
        { "hang", .flag = &fault.hang },
        { "hang-after", .flag = &fault.hang_after },
        { "hang-child", .flag = &fault.hang_child },
        { "linger", .seconds = &fault.linger },
        { "deaf", .flag = &fault.deaf },
        { "stop", .flag = &fault.stop },
        { "log-bytes", .bytes = &fault.log_bytes },
        { "crash", .flag = &fault.crash },
        { "crash-after", .flag = &fault.crash_after },
        { "exit", .number = &fault.exit },
        { "exit-after", .number = &fault.exit_after },
        { "say", .text = &fault.say },
        { "print", .text = &fault.print },
        { "console", .text = &fault.console },
        { "criu-log", .text = &fault.criu_log },
        { "stderr", .bytes = &fault.stderr_bytes },
        { "stdout", .bytes = &fault.stdout_bytes },
        { "pid", .text = &fault.pid },
        { "no-process", .flag = &fault.no_process },
        { "die-before-return", .flag = &fault.die },
        { "wait-exit", .flag = &fault.wait_exit },
        { "direct-child", .flag = &fault.direct_child },
};

static void fault_parse_line(char *line) {
        char *argument = strchr(line, ' ');

        if (argument)
                *argument++ = '\0';
        else
                argument = line + strlen(line);

        if (strcmp(line, "log") == 0) {
                fault.log_kind = LOG_TEXT;
                fault.log_text = argument;
                for (size_t i = 0; i < ELEMENTSOF(log_table); i++)
                        if (strcmp(argument, log_table[i].word) == 0)
                                fault.log_kind = log_table[i].kind;
                return;
        }

        for (size_t i = 0; i < ELEMENTSOF(fault_table); i++) {
                if (strcmp(line, fault_table[i].word) != 0)
                        continue;
                if (fault_table[i].flag)
                        *fault_table[i].flag = true;
                if (fault_table[i].seconds)
                        *fault_table[i].seconds = strtod(argument, NULL);
                if (fault_table[i].number)
                        *fault_table[i].number = atoi(argument);
                if (fault_table[i].text)
                        *fault_table[i].text = argument;
                if (fault_table[i].bytes)
                        *fault_table[i].bytes = atol(argument);
                return;
        }
        fprintf(stderr, "fake-runtime: no such fault: %s\n", line);
        exit(125);
}

static void fault_read(const Invocation *inv) {
        char path[PATH_SIZE * 2], exec[PATH_SIZE];
        const char *const ids[] = { exec, inv->id, "*" };

        snprintf(exec, sizeof(exec), "%s:%s", inv->id, inv->exec_id);

        for (size_t i = inv->exec_id[0] ? 0 : 1; i < ELEMENTSOF(ids) && !fault.text; i++) {
                snprintf(path, sizeof(path), "%s/%s.%s", control, ids[i], inv->verb);
                fault.text = read_file(path);
        }
        if (!fault.text)
                return;

        for (char *save = NULL, *line = strtok_r(fault.text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                if (strcmp(line, "once") == 0)
                        unlink(path);
                else
                        fault_parse_line(line);
}

static void make_noise(int fd, long bytes) {
        static const char line[] =
                "noise noise noise noise noise noise noise noise noise noise noise noise noise noise noise noise\n";
        char block[64 * (sizeof(line) - 1)];

        for (size_t i = 0; i < 64; i++)
                memcpy(block + i * (sizeof(line) - 1), line, sizeof(line) - 1);
        for (; bytes > 0; bytes -= (long) sizeof(block))
                write_all(fd, block, bytes < (long) sizeof(block) ? (size_t) bytes : sizeof(block));
}

static void hang(void) {
        for (;;)
                pause();
}

static void record_append(const char *line) {
        char path[PATH_SIZE + 16];
        int fd;

        snprintf(path, sizeof(path), "%s/invocations", control);
        fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0)
                die(path);
        write_all(fd, line, strlen(line));
        close(fd);
}

static void record_begin(const Invocation *inv) {
        char *line = NULL, *id = json_quote(inv->id), blocked[32] = "", status_line[256];
        int pdeathsig = 0;
        size_t size;
        FILE *out, *f;
        DIR *d;

        out = open_memstream(&line, &size);
        f = fopen("/proc/self/status", "re");
        d = opendir("/proc/self/fd");
        if (!out || !f || !d)
                die("/proc/self");

        while (fgets(status_line, sizeof(status_line), f))
                sscanf(status_line, "SigBlk: %31s", blocked);
        (void) prctl(PR_GET_PDEATHSIG, &pdeathsig);

        fprintf(out,
                "{\"phase\":\"begin\",\"time\":%llu,\"pid\":%d,\"verb\":\"%s\",\"id\":%s,\"exec_id\":\"%s\",\"argv\":[",
                (unsigned long long) now_usec(), getpid(), inv->verb, id, inv->exec_id);
        for (size_t i = 0; inv->argv[i]; i++) {
                char *quoted = json_quote(inv->argv[i]);

                fprintf(out, "%s%s", i > 0 ? "," : "", quoted);
                free(quoted);
        }
        fprintf(out, "],\"pgid\":%d,\"pdeathsig\":%d,\"fds\":[", getpgrp(), pdeathsig);
        for (struct dirent *e, *first = NULL; (e = readdir(d));) {
                if (e->d_name[0] == '.' || atoi(e->d_name) == dirfd(d) || atoi(e->d_name) == fileno(f))
                        continue;
                fprintf(out, "%s%s", first ? "," : "", e->d_name);
                first = e;
        }
        fprintf(out, "],\"notify_socket\":%s,\"blocked\":\"%s\"}\n", getenv("NOTIFY_SOCKET") ? "true" : "false",
                blocked);
        closedir(d);
        fclose(f);
        fclose(out);
        record_append(line);
        free(line);
        free(id);
}

void fault_load(const char *directory, const Invocation *inv) {
        if (access(directory, W_OK) < 0)
                return;

        snprintf(control, sizeof(control), "%s", directory);
        record_begin(inv);
        fault_read(inv);
}

void fault_record_end(const Invocation *inv, int code) {
        char *line, *id;

        if (!control[0])
                return;

        id = json_quote(inv->id);

        if (asprintf(&line, "{\"phase\":\"end\",\"time\":%llu,\"pid\":%d,\"verb\":\"%s\",\"id\":%s,\"exit\":%d}\n",
                     (unsigned long long) now_usec(), getpid(), inv->verb, id, code) < 0)
                die("memory");
        record_append(line);
        free(line);
        free(id);
}

/* Somebody whom nobody waits for, with all descriptors, and out of the group that a deadline kills. */
static void leave_behind(double seconds) {
        if (fork() > 0)
                return;
        (void) setsid();
        nap(seconds);
        _exit(0);
}

void fault_before(const char *log) {
        if (fault.linger > 0)
                leave_behind(fault.linger);
        if (fault.deaf)
                for (int s = 1; s < 32; s++)
                        (void) signal(s, SIG_IGN);
        if (fault.log_bytes > 0 && log) {
                int fd = open(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);

                make_noise(fd, fault.log_bytes);
                close(fd);
        }
        if (fault.stop)
                raise(SIGSTOP);
        nap(fault.sleep);
        make_noise(STDERR_FILENO, fault.stderr_bytes);
        make_noise(STDOUT_FILENO, fault.stdout_bytes);
        if (fault.hang_child)
                (void) fork();
        if (fault.hang || fault.hang_child)
                hang();
        if (fault.crash)
                raise(SIGSEGV);
}

void fault_after(void) {
        if (fault.print) {
                printf("%s\n", fault.print);
                fflush(stdout);
        }
        if (fault.say)
                fprintf(stderr, "%s\n", fault.say);
        nap(fault.sleep_after);
        if (fault.hang_after)
                hang();
        if (fault.crash_after)
                raise(SIGSEGV);
}
