#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Runs every fuzzer for $FUZZ_SECONDS, or those that are named, and reports in TAP. It begins with the target's corpus and
# dictionary; what makes it fail is left in $FUZZ_FINDINGS, to be mended, made smaller ("-minimize_crash=1") and added to the
# corpus. $FUZZ_CORPUS names a folder in which what was learnt is kept from one run to the next.

seconds=${FUZZ_SECONDS:-10}
findings=${FUZZ_FINDINGS:-$PWD/fuzz-findings}
sources=${top_srcdir:-.}/tests/fuzz
fuzzers=tests/fuzz # in the build directory, where tests run

ASAN_OPTIONS=detect_stack_use_after_return=1:allocator_may_return_null=1:${ASAN_OPTIONS-}
UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS-}
export ASAN_OPTIONS UBSAN_OPTIONS

scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# Prints one line of TAP without its number.
fuzz_one() {
        target=$1
        learnt=${FUZZ_CORPUS:-$scratch/corpus}/$target
        mkdir -p "$learnt" "$findings"
        set --
        [ ! -f "$sources/dictionary/$target" ] || set -- -dict="$sources/dictionary/$target"

        # Longer inputs take longer, and teach nothing more.
        "$fuzzers/fuzz-$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=16384 \
                -print_final_stats=1 -close_fd_mask=1 -artifact_prefix="$findings/$target-" "$@" \
                "$learnt" "$sources/corpus/$target" >"$scratch/$target.log" 2>&1
        status=$?
        runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$scratch/$target.log")
        coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$scratch/$target.log" | tail -n 1)
        if [ $status -eq 0 ]; then
                echo "ok N - $target: ${runs:-0} inputs, ${coverage:-0} edges"
        else
                tail -n 60 "$scratch/$target.log" | sed 's/^/# /'
                echo "not ok N - $target: status $status, see $findings"
        fi
}

[ $# -gt 0 ] || set -- $(cd "$sources" && ls fuzz-*.c | sed -n 's/^fuzz-\(.*\)\.c$/\1/p' | grep -vx -e folder -e world)
echo "1..$#"
jobs=$(getconf _NPROCESSORS_ONLN)
n=0
while [ $# -gt 0 ]; do
        batch=
        i=0
        while [ $# -gt 0 ] && [ $i -lt "$jobs" ]; do
                fuzz_one "$1" >"$scratch/$1.tap" &
                batch="$batch $1"
                i=$((i + 1))
                shift
        done
        wait
        for target in $batch; do
                n=$((n + 1))
                sed "s/^\(ok\|not ok\) N /\1 $n /" "$scratch/$target.tap"
        done
done
