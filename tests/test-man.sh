#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Keeps the manual pages honest: well-formed, and naming every option, setting, member and error that there is.

cd "${top_srcdir:-.}" || exit 99
n=0

ok() {
        n=$((n + 1))
        echo "ok $n - $*"
}

not_ok() {
        n=$((n + 1))
        echo "not ok $n - $*"
}

# compare WHAT MISSING COUNT: MISSING is a list of words that ought to be empty, COUNT how many were looked at.
compare() {
        if [ "$3" -eq 0 ]; then
                not_ok "$1 (there are none to look at)"
        elif [ -n "$2" ]; then
                not_ok "$1"
                echo "# missing:" $2
        else
                ok "$1 ($3)"
        fi
}

# The words of a page that are set in bold, where the names of members and options stand.
bold() {
        grep -E '^\.(B|BR|BI|IP|TP) |\\fB' "$1" | sed 's/\\-/-/g'
}

for page in man/*.[1-9]; do
        if ! command -v mandoc >/dev/null; then
                ok "$page is well-formed # SKIP mandoc is not installed"
        elif complaints=$(mandoc -T lint -W warning "$page" 2>&1); then
                ok "$page is well-formed"
        else
                not_ok "$page is well-formed"
                echo "$complaints" | sed 's/^/# /'
        fi
done

for xml in data/org.monoshim1.*.xml; do
        members=$(sed -nE 's/.*<(method|property|signal) name="([^"]*)".*/\2/p' "$xml")
        missing=
        for member in $members; do
                bold man/org.monoshim1.5 | grep -qw -- "$member" || missing="$missing $member"
        done
        compare "every member in $xml is in org.monoshim1(5)" "$missing" "$(echo $members | wc -w)"
done

errors=$(sed -nE 's/.*MONOSHIM_ERROR\("([A-Za-z]+)"\).*/org.monoshim1.Error.\1/p' src/bus/*.c | sort -u)
missing=
for error in $errors; do
        grep -qw -- "$error" man/org.monoshim1.5 || missing="$missing $error"
done
compare "every error of src/bus is in org.monoshim1(5)" "$missing" "$(echo $errors | wc -w)"

options=$(sed -nE 's/^ *\{ "([A-Z][A-Za-z]+)", .*/\1/p' src/bus/create-bus.c)
missing=
for option in $options; do
        bold man/org.monoshim1.5 | grep -qw -- "$option" || missing="$missing $option"
done
compare "every option of CreateContainer is in org.monoshim1(5)" "$missing" "$(echo $options | wc -w)"

settings=$(sed -n 's/^\.B \([A-Za-z]*\)=$/\1/p' man/monoshimd.conf.5)
missing=
for setting in $settings; do
        grep -qw -- "$setting" src/host/config.c || missing="$missing $setting"
done
compare "every setting in monoshimd.conf(5) is known to src/host/config.c" "$missing" "$(echo $settings | wc -w)"

help=$("${MONOSHIMD:-build/src/monoshimd}" --help 2>&1)
options=$(echo "$help" | grep -oE -- '--[a-z][a-z-]+' | sort -u)
missing=
for option in $options; do
        bold man/monoshimd.8 | grep -q -- "$option\>" || missing="$missing $option"
done
compare "every option of monoshimd --help is in monoshimd(8)" "$missing" "$(echo $options | wc -w)"

described=$(bold man/monoshimd.8 | grep -oE -- '--[a-z][a-z-]+' | sort -u)
missing=
for option in $described; do
        echo "$help" | grep -q -- "$option\>" || missing="$missing $option"
done
compare "every option in monoshimd(8) is in monoshimd --help" "$missing" "$(echo $described | wc -w)"

echo "1..$n"
