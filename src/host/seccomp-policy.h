/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a container's system calls are answered that its seccomp filter does not decide itself: the sections [Seccomp]
 * and [Seccomp NAME] of monoshimd.conf. Pure. */

#include "util/macro.h"

#define SECCOMP_POLICIES_MAX 1024
#define SECCOMP_RULES_MAX 1024 /* of each */

typedef enum SeccompAction {
        SECCOMP_ALLOW, /* the kernel carries it out */
        SECCOMP_ERRNO, /* it fails */
        SECCOMP_KILL,  /* the calling process is killed */
        _SECCOMP_ACTION_MAX,
} SeccompAction;

typedef struct SeccompAnswer {
        SeccompAction action;
        int error; /* positive, of SECCOMP_ERRNO; else 0 */
} SeccompAnswer;

const char *seccomp_action_to_string(SeccompAction action); /* "allow", "errno", "kill" */

/* "EPERM", for an error that has a name; else NULL. */
const char *seccomp_error_to_string(int error);

typedef struct SeccompPolicy SeccompPolicy;
typedef struct SeccompPolicies SeccompPolicies;

SeccompPolicies *seccomp_policies_new(void); /* none at all; NULL without memory */
SeccompPolicies *seccomp_policies_free(SeccompPolicies *p);
DEFINE_CLEANUP(SeccompPolicies *, seccomp_policies_free);

/* Told of each system call in a value that libseccomp does not know; it is left out. */
typedef void (*SeccompUnknown)(void *userdata, const char *name);

/* One setting of the section [Seccomp NAME], or of [Seccomp] if 'name' is "". Lists add up, of what is said of a
 * system call the last word counts, and an empty value takes back all that this setting has said before. Returns 0;
 * -ENOENT if there is no such setting; -EINVAL if the value is none, and then *reterr_wanted (a literal) says what
 * one would be, or the name is no identifier; -E2BIG at a limit; -ENOMEM. */
int seccomp_policies_set(SeccompPolicies *p, const char *name, const char *setting, const char *value,
                         SeccompUnknown unknown, void *userdata, const char **reterr_wanted);

/* The same for the loader of monoshimd.conf: ConfigSection::parse and done, of a SeccompPolicies * that is NULL at
 * first. */
int seccomp_section_parse(void *target, const char *argument, const char *name, const char *value,
                          char **reterr_reason);
void seccomp_section_done(void *target);

/* The policy [Seccomp NAME], of any setting; NULL. */
const SeccompPolicy *seccomp_policies_find(const SeccompPolicies *p, const char *name);

/* That of a container: the one it asks for, else that of its namespace, else the general one; NULL if there is none.
 * 'wanted' may be "". */
const SeccompPolicy *seccomp_policies_choose(const SeccompPolicies *p, const char *wanted, const char *ns);

/* Without a policy everything is allowed. */
SeccompAnswer seccomp_policy_decide(const SeccompPolicy *policy, const char *syscall);
