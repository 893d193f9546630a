/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of a process, cell by cell, against containerd's state machines written down once more. */

#include "core/lifecycle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* A cell: "-> STATE" leads there; "" does nothing; "404 TEXT" is refused as not found; any other text is a refusal. */
typedef struct Row {
        ProcessVerb verb;
        const char *cells[_PROCESS_STATE_MAX];
} Row;

/* The columns: created, created-checkpoint, running, paused, stopped, deleted. */
static const Row init_rows[] = {
        { VERB_START,
          { "-> running", "-> running", "cannot start a running process", "cannot start a paused process",
            "cannot start a stopped process", "cannot start a deleted process" } },
        { VERB_DELETE,
          { "-> deleted", "-> deleted", "cannot delete a running process", "cannot delete a paused process",
            "-> deleted", "404 cannot delete a deleted process: not found" } },
        { VERB_PAUSE,
          { "cannot pause task in created state", "cannot pause task in created state", "-> paused",
            "cannot pause a paused container", "cannot pause a stopped container", "cannot pause a deleted process" } },
        { VERB_RESUME,
          { "cannot resume task in created state", "cannot resume task in created state", "cannot resume a running process",
            "-> running", "cannot resume a stopped container", "cannot resume a deleted process" } },
        { VERB_UPDATE,
          { "-> created", "-> created-checkpoint", "-> running", "-> paused",
            "cannot update a stopped container", "cannot update a deleted process" } },
        { VERB_CHECKPOINT,
          { "cannot checkpoint a task in created state", "cannot checkpoint a task in created state", "-> running", "-> paused",
            "cannot checkpoint a stopped container", "cannot checkpoint a deleted process" } },
        { VERB_EXEC,
          { "-> created", "cannot exec in a created state", "-> running", "cannot exec in a paused state",
            "cannot exec in a stopped state", "cannot exec in a deleted state" } },
        { VERB_KILL,
          { "-> created", "-> created-checkpoint", "-> running", "-> paused", "-> stopped",
            "404 cannot kill a deleted process: not found" } },
        { VERB_RESIZE, { "-> created", "-> created-checkpoint", "-> running", "-> paused", "-> stopped", "-> deleted" } },
        { VERB_SET_EXITED, { "-> stopped", "-> stopped", "-> stopped", "-> stopped", "", "" } },
        { VERB_WAIT, { "-> created", "-> created-checkpoint", "-> running", "-> paused", "-> stopped", "-> deleted" } },
};

/* NULL: an exec'd process is never in that state. */
static const Row exec_rows[] = {
        { VERB_START,
          { "-> running", NULL, "cannot start a running process", NULL, "cannot start a stopped process",
            "cannot start a deleted process" } },
        { VERB_DELETE,
          { "-> deleted", NULL, "cannot delete a running process", NULL, "-> deleted",
            "404 cannot delete a deleted process: not found" } },
        { VERB_KILL,
          { "process not created: failed precondition", NULL, "-> running", NULL, "404 process already finished: not found",
            "404 cannot kill a deleted process: not found" } },
        { VERB_RESIZE,
          { "-> created", NULL, "-> running", NULL, "cannot resize a stopped container", "cannot resize a deleted process" } },
        { VERB_SET_EXITED, { "-> stopped", NULL, "-> stopped", NULL, "", "" } },
        { VERB_WAIT, { "-> created", NULL, "-> running", NULL, "-> stopped", "-> deleted" } },
};

static void then_the_cell_is(const LifecycleRule *rule, const char *cell) {
        const char *rest;

        if ((rest = startswith(cell, "-> "))) {
                assert_int_equal(rule->answer, LIFECYCLE_ALLOWED);
                assert_string_equal(process_state_to_string(rule->to), rest);
                assert_null(rule->text);
        } else if (cell[0] == 0) {
                assert_int_equal(rule->answer, LIFECYCLE_NOTHING);
                assert_null(rule->text);
        } else if ((rest = startswith(cell, "404 "))) {
                assert_int_equal(rule->answer, LIFECYCLE_NOT_FOUND);
                assert_string_equal(rule->text, rest);
        } else {
                assert_int_equal(rule->answer, LIFECYCLE_FAILED_PRECONDITION);
                assert_string_equal(rule->text, cell);
        }
}

static void test_each_cell_of_the_init_table_is_containerds(void **state) {
        assert_int_equal(ELEMENTSOF(init_rows), _PROCESS_VERB_MAX);

        for (size_t i = 0; i < ELEMENTSOF(init_rows); i++)
                for (int s = 0; s < _PROCESS_STATE_MAX; s++)
                        then_the_cell_is(lifecycle_init_rule((ProcessState) s, init_rows[i].verb), init_rows[i].cells[s]);
}

static void test_each_cell_of_the_exec_table_is_containerds(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(exec_rows); i++)
                for (int s = 0; s < _PROCESS_STATE_MAX; s++) {
                        const LifecycleRule *rule = lifecycle_exec_rule((ProcessState) s, exec_rows[i].verb);

                        if (exec_rows[i].cells[s])
                                then_the_cell_is(rule, exec_rows[i].cells[s]);
                        else
                                assert_int_equal(rule->answer, LIFECYCLE_FAILED_PRECONDITION);
                }
}

static void test_what_only_a_container_can_do_is_refused_to_an_execd_process(void **state) {
        static const ProcessVerb verbs[] = { VERB_PAUSE, VERB_RESUME, VERB_UPDATE, VERB_CHECKPOINT, VERB_EXEC };

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                for (int s = 0; s < _PROCESS_STATE_MAX; s++) {
                        const LifecycleRule *rule = lifecycle_exec_rule((ProcessState) s, verbs[i]);

                        assert_int_equal(rule->answer, LIFECYCLE_FAILED_PRECONDITION);
                        assert_non_null(rule->text);
                }
}

static void test_no_verb_leads_out_of_stopped_but_delete(void **state) {
        for (int v = 0; v < _PROCESS_VERB_MAX; v++) {
                const LifecycleRule *rule = lifecycle_init_rule(PROCESS_STOPPED, (ProcessVerb) v);

                if (rule->answer == LIFECYCLE_ALLOWED && v != VERB_DELETE)
                        assert_int_equal(rule->to, PROCESS_STOPPED);
        }
}

static void test_the_names_of_states_go_both_ways_and_clients_see_four_of_them(void **state) {
        static const char *const statuses[_PROCESS_STATE_MAX] = { "created", "created", "running", "paused", "stopped", "stopped" };

        for (int s = 0; s < _PROCESS_STATE_MAX; s++) {
                assert_int_equal(process_state_from_string(process_state_to_string((ProcessState) s)), s);
                assert_string_equal(process_state_to_status((ProcessState) s), statuses[s]);
        }
        assert_true(process_state_from_string("pausing") < 0);
        assert_true(process_state_from_string("") < 0);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_cell_of_the_init_table_is_containerds),
                cmocka_unit_test(test_each_cell_of_the_exec_table_is_containerds),
                cmocka_unit_test(test_what_only_a_container_can_do_is_refused_to_an_execd_process),
                cmocka_unit_test(test_no_verb_leads_out_of_stopped_but_delete),
                cmocka_unit_test(test_the_names_of_states_go_both_ways_and_clients_see_four_of_them),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
