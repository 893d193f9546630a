/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a container's system calls are answered that its seccomp filter does not decide itself. */

#include "host/seccomp-policy.h"
#include "util/text.h"

#include <assert.h>
#include <seccomp.h>

#define ERRNO_MAX 4095U /* the kernel knows no greater ones (MAX_ERRNO) */
#define WHITESPACE " \t\n\r"

typedef struct Rule {
        char *syscall;
        SeccompAnswer answer;
} Rule;

struct SeccompPolicy {
        char *name;
        SeccompAnswer otherwise;
        Rule *rules; /* sorted */
        size_t n_rules;
};

struct SeccompPolicies {
        SeccompPolicy *items;
        size_t n_items;
};

/* ---- names ---- */

const char *seccomp_action_to_string(SeccompAction action) {
        static const char *const names[_SECCOMP_ACTION_MAX] = {
                [SECCOMP_ALLOW] = "allow",
                [SECCOMP_ERRNO] = "errno",
                [SECCOMP_KILL] = "kill",
        };

        assert((unsigned) action < _SECCOMP_ACTION_MAX);
        return names[action];
}

const char *seccomp_error_to_string(int error) {
        return strerrorname_np(error);
}

/* A name, or a number. The C library has a function for the other way only. */
static int error_from_string(const char *s) {
        uint64_t number;

        if (parse_uint64(s, &number) >= 0)
                return number >= 1 && number <= ERRNO_MAX ? (int) number : -EINVAL;

        for (unsigned i = 1; i <= ERRNO_MAX; i++) {
                const char *name = strerrorname_np((int) i);

                if (name && streq(name, s))
                        return (int) i;
        }

        if (streq(s, "EWOULDBLOCK"))
                return EWOULDBLOCK;
        if (streq(s, "ENOTSUP"))
                return ENOTSUP;
        return -EINVAL;
}

/* ---- one policy ---- */

static void policy_done(SeccompPolicy *p) {
        for (size_t i = 0; i < p->n_rules; i++)
                free(p->rules[i].syscall);
        free(p->rules);
        free(p->name);
}

/* Where the system call stands, or would. */
static size_t policy_search(const SeccompPolicy *p, const char *syscall, bool *ret_found) {
        size_t low = 0, high = p->n_rules;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int order = strcmp(syscall, p->rules[middle].syscall);

                if (order == 0) {
                        *ret_found = true;
                        return middle;
                }
                if (order < 0)
                        high = middle;
                else
                        low = middle + 1;
        }

        *ret_found = false;
        return low;
}

static int policy_add(SeccompPolicy *p, const char *syscall, SeccompAnswer answer) {
        bool found;
        size_t i = policy_search(p, syscall, &found);
        char *copy;
        Rule *more;

        if (found) {
                p->rules[i].answer = answer;
                return 0;
        }
        if (p->n_rules >= SECCOMP_RULES_MAX)
                return -E2BIG;

        more = reallocarray(p->rules, p->n_rules + 1, sizeof(*more));
        if (!more)
                return -ENOMEM;
        p->rules = more;
        copy = strdup(syscall);
        if (!copy)
                return -ENOMEM;

        memmove(more + i + 1, more + i, (p->n_rules - i) * sizeof(*more));
        more[i] = (Rule) { .syscall = copy, .answer = answer };
        p->n_rules++;
        return 0;
}

static void policy_clear(SeccompPolicy *p, SeccompAction action) {
        size_t n = 0;

        for (size_t i = 0; i < p->n_rules; i++)
                if (p->rules[i].answer.action == action)
                        free(p->rules[i].syscall);
                else
                        p->rules[n++] = p->rules[i];
        p->n_rules = n;
}

SeccompAnswer seccomp_policy_decide(const SeccompPolicy *policy, const char *syscall) {
        bool found;
        size_t i;

        if (!policy)
                return (SeccompAnswer) { .action = SECCOMP_ALLOW };

        i = policy_search(policy, syscall, &found);
        return found ? policy->rules[i].answer : policy->otherwise;
}

/* ---- settings ---- */

static int set_default(SeccompPolicy *p, const char *value) {
        SeccompAnswer answer = {};
        const char *error;

        if (isempty(value) || streq(value, "allow"))
                answer.action = SECCOMP_ALLOW;
        else if (streq(value, "kill"))
                answer.action = SECCOMP_KILL;
        else if (streq(value, "errno"))
                answer = (SeccompAnswer) { .action = SECCOMP_ERRNO, .error = EPERM };
        else if ((error = startswith(value, "errno:")))
                answer = (SeccompAnswer) { .action = SECCOMP_ERRNO, .error = error_from_string(error) };
        else
                return -EINVAL;
        if (answer.error < 0)
                return -EINVAL;

        p->otherwise = answer;
        return 0;
}

static int add_word(SeccompPolicy *p, SeccompAction action, char *word, SeccompUnknown unknown, void *userdata) {
        SeccompAnswer answer = { .action = action };
        char *colon = strchr(word, ':');

        if (action == SECCOMP_ERRNO) {
                answer.error = colon ? error_from_string(colon + 1) : EPERM;
                if (answer.error < 0)
                        return -EINVAL;
        } else if (colon)
                return -EINVAL;
        if (colon)
                *colon = 0;
        if (!word[0])
                return -EINVAL;

        if (seccomp_syscall_resolve_name(word) == __NR_SCMP_ERROR) {
                unknown(userdata, word);
                return 0;
        }
        return policy_add(p, word, answer);
}

static int add_list(SeccompPolicy *p, SeccompAction action, const char *value, SeccompUnknown unknown,
                    void *userdata) {
        _cleanup_(freep) char *copy = strdup(value);
        char *rest = copy, *word;
        int r = 0;

        if (!copy)
                return -ENOMEM;
        if (isempty(value))
                policy_clear(p, action);

        while (r >= 0 && (word = strsep(&rest, WHITESPACE)))
                if (word[0])
                        r = add_word(p, action, word, unknown, userdata);
        return r;
}

static const struct {
        const char *name;
        SeccompAction action; /* _SECCOMP_ACTION_MAX: Default= */
        const char *wanted;
} settings[] = {
        { "Default", _SECCOMP_ACTION_MAX, "\"allow\", \"errno\", \"errno:\" and the name of an error, or \"kill\"" },
        { "Allow", SECCOMP_ALLOW, "a list of system calls" },
        { "Errno", SECCOMP_ERRNO, "a list of system calls, each with or without a colon and the name of an error" },
        { "Kill", SECCOMP_KILL, "a list of system calls" },
};

static int policies_get(SeccompPolicies *p, const char *name, SeccompPolicy **ret) {
        SeccompPolicy *more;
        char *copy;

        for (size_t i = 0; i < p->n_items; i++)
                if (streq(p->items[i].name, name)) {
                        *ret = &p->items[i];
                        return 0;
                }

        if (p->n_items >= SECCOMP_POLICIES_MAX)
                return -E2BIG;
        more = reallocarray(p->items, p->n_items + 1, sizeof(*more));
        if (!more)
                return -ENOMEM;
        p->items = more;
        copy = strdup(name);
        if (!copy)
                return -ENOMEM;

        p->items[p->n_items] = (SeccompPolicy) { .name = copy };
        *ret = &p->items[p->n_items++];
        return 0;
}

int seccomp_policies_set(SeccompPolicies *p, const char *name, const char *setting, const char *value,
                         SeccompUnknown unknown, void *userdata, const char **reterr_wanted) {
        SeccompPolicy *policy;
        int r;

        if (name[0] && !identifier_is_valid(name)) {
                *reterr_wanted = "in a section that is named as a namespace or policy can be (" IDENTIFIER_REGEX ")";
                return -EINVAL;
        }

        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                if (!streq(settings[i].name, setting))
                        continue;

                r = policies_get(p, name, &policy);
                if (r < 0)
                        return r;
                r = settings[i].action == _SECCOMP_ACTION_MAX
                            ? set_default(policy, value)
                            : add_list(policy, settings[i].action, value, unknown, userdata);
                if (r == -EINVAL)
                        *reterr_wanted = settings[i].wanted;
                return r;
        }

        return -ENOENT;
}

/* The names are the value's, so that together they are no longer than a line. */
static void unknown_add(void *userdata, const char *name) {
        char **names = userdata, *more = strdup_printf("%s%s%s", strempty(*names), *names ? " " : "", name);

        if (more) {
                free(*names);
                *names = more;
        }
}

int seccomp_section_parse(void *target, const char *argument, const char *name, const char *value,
                          char **reterr_reason) {
        _cleanup_(freep) char *unknown = NULL;
        SeccompPolicies **p = target;
        const char *wanted = NULL;
        int r;

        if (!*p)
                *p = seccomp_policies_new();
        if (!*p)
                return -ENOMEM;

        r = seccomp_policies_set(*p, strempty(argument), name, value, unknown_add, &unknown, &wanted);
        if (r == -EINVAL)
                *reterr_reason = strdup_printf("is not %s", wanted);
        else if (r == -E2BIG)
                *reterr_reason = strdup("is one too many, there is a limit");
        if (r < 0 || !unknown)
                return r;

        *reterr_reason = strdup_printf("names system calls that are not known here, ignoring these: %s", unknown);
        return 1;
}

void seccomp_section_done(void *target) {
        SeccompPolicies **p = target;

        *p = seccomp_policies_free(*p);
}

/* ---- all of them ---- */

SeccompPolicies *seccomp_policies_new(void) {
        return calloc(1, sizeof(SeccompPolicies));
}

SeccompPolicies *seccomp_policies_free(SeccompPolicies *p) {
        if (!p)
                return NULL;

        for (size_t i = 0; i < p->n_items; i++)
                policy_done(&p->items[i]);
        free(p->items);
        return mfree(p);
}

const SeccompPolicy *seccomp_policies_find(const SeccompPolicies *p, const char *name) {
        for (size_t i = 0; p && i < p->n_items; i++)
                if (streq(p->items[i].name, name))
                        return &p->items[i];

        return NULL;
}

const SeccompPolicy *seccomp_policies_choose(const SeccompPolicies *p, const char *wanted, const char *ns) {
        const SeccompPolicy *policy = NULL;

        if (wanted[0])
                policy = seccomp_policies_find(p, wanted);
        if (!policy)
                policy = seccomp_policies_find(p, ns);
        return policy ?: seccomp_policies_find(p, "");
}
