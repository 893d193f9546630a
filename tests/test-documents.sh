#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Keeps SECURITY.md and HACKING.md honest: the tests and files that they name are there.

cd "${top_srcdir:-.}" || exit 99
n=0

# compare WHAT MISSING COUNT: MISSING is a list of words that ought to be empty, COUNT how many were looked at.
compare() {
        n=$((n + 1))
        if [ "$3" -eq 0 ]; then
                echo "not ok $n - $1 (there are none to look at)"
        elif [ -n "$2" ]; then
                echo "not ok $n - $1"
                echo "# missing:" $2
        else
                echo "ok $n - $1 ($3)"
        fi
}

# "test_x.py::test_y" is a function in tests/integration or tests/system, "test-x.c::y" one in tests.
missing=
named=$(grep -oE '`test[-_][a-z0-9_-]+\.(py|c)::[a-z0-9_]+`' SECURITY.md | tr -d '`' | sort -u)
for test in $named; do
        name=${test#*::}
        case $test in
        *.py::*) grep -qs "^def $name(" "tests/integration/${test%%::*}" "tests/system/${test%%::*}" ;;
        *) grep -qs "^static void $name(" "tests/${test%%::*}" ;;
        esac || missing="$missing $test"
done
compare "every test that SECURITY.md names is there" "$missing" "$(echo $named | wc -w)"

for document in SECURITY.md HACKING.md; do
        missing=
        named=$(grep -oE '`(src|tests|data|units|man)/[A-Za-z0-9_./-]+`' "$document" | tr -d '`' | sort -u)
        for file in $named; do
                [ -e "$file" ] || [ -e "$file.c" ] || [ -e "$file.h" ] || missing="$missing $file"
        done
        compare "every file that $document names is there" "$missing" "$(echo $named | wc -w)"
done

echo "1..$n"
