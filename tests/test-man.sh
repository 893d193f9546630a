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

options=$(sed -nE 's/^ *(OPTION\(([A-Za-z]+, )?|\{ )"([A-Z][A-Za-z]+)", .*/\3/p' src/bus/*.c | sort -u)
missing=
for option in $options; do
        bold man/org.monoshim1.5 | grep -qw -- "$option" || missing="$missing $option"
done
compare "every option of src/bus is in org.monoshim1(5)" "$missing" "$(echo $options | wc -w)"

settings=$(sed -n 's/^\.B \([A-Za-z]*\)=$/\1/p' man/monoshimd.conf.5)
missing=
for setting in $settings; do
        cat src/host/config.c src/host/seccomp-policy.c | grep -qw -- "$setting" || missing="$missing $setting"
done
compare "every setting in monoshimd.conf(5) is known to src/host" "$missing" "$(echo $settings | wc -w)"

known="$(sed -nE 's/^ *(NUMBER|SIZE|TIMESPAN)\("([A-Z][A-Za-z]+)", .*/\2/p' src/host/config.c)
$(sed -nE 's/^ *\{ "([A-Z][A-Za-z]+)", .*SECCOMP_.*/\1/p' src/host/seccomp-policy.c)"
missing=
for setting in $known; do
        grep -qx -- "\.B $setting=" man/monoshimd.conf.5 || missing="$missing $setting"
done
compare "every setting of src/host is in monoshimd.conf(5)" "$missing" "$(echo $known | wc -w)"

# "NAME=DEFAULT" as the sample has it, where monoshimd.conf(5) says "Defaults to DEFAULT".
sample=$(sed -nE 's/^#([A-Z][A-Za-z]+)=.*/\1/p' data/monoshimd.conf)
missing=
for setting in $known; do
        echo "$sample" | grep -qx -- "$setting" || missing="$missing $setting"
done
compare "every setting of src/host is in data/monoshimd.conf" "$missing" "$(echo $known | wc -w)"

missing=
for line in $(sed -nE 's/^#(Max[A-Z][A-Za-z]+=[^ ]+)$/\1/p' data/monoshimd.conf); do
        awk -v name="${line%%=*}=" -v value="${line#*=}" '
                /^\.B [A-Za-z]+=$/ { on = $2 == name }
                on && index($0, "Defaults to " value ";") == 1 { found = 1 }
                END { exit !found }' man/monoshimd.conf.5 || missing="$missing $line"
done
compare "the defaults in data/monoshimd.conf are those in monoshimd.conf(5)" "$missing" "$(echo $sample | wc -w)"

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

# monoshim(1), verb by verb: what stands there from the verb's name to the next one's.
monoshim=${MONOSHIM:-build/src/monoshim}
verbs=$("$monoshim" --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p')
missing=
for verb in $verbs; do
        grep -q "^\.BR $verb " man/monoshim.1 || missing="$missing $verb"
done
compare "every verb of monoshim --help is in monoshim(1)" "$missing" "$(echo $verbs | wc -w)"

described=$(sed -n '/^\.SH VERBS/,/^\.SH TERMINALS/s/^\.BR \([a-z]*\) "*.*\\f.*/\1/p' man/monoshim.1)
missing=
for verb in $described; do
        echo " $(echo $verbs) " | grep -q " $verb " || missing="$missing $verb"
done
compare "every verb in monoshim(1) is in monoshim --help" "$missing" "$(echo $described | wc -w)"

# options_of VERB: those of its part of the page
options_of() {
        awk -v verb="$1" '
                /^\.SH / { on = 0; verbs = $2 == "VERBS" }
                verbs && before == ".TP" && /^\.BR [a-z]+ / { on = $2 == verb }
                { before = $0 }
                on' man/monoshim.1 | sed 's/\\f.//g; s/\\-/-/g' | grep -oE -- '--[a-z][a-z-]+' | sort -u
}

missing=
extra=
count=0
for verb in $verbs; do
        [ "$verb" != help ] || continue
        options=$("$monoshim" "$verb" --help | grep -oE -- '--[a-z][a-z-]+' | sort -u)
        page=$(options_of "$verb")
        for option in $options; do
                count=$((count + 1))
                # What create takes as well, run says in a sentence.
                echo "$page" | grep -qx -- "$option" && continue
                [ "$verb" = run ] && options_of create | grep -qx -- "$option" && continue
                missing="$missing $verb:$option"
        done
done
compare "every option of monoshim VERB --help is at that verb in monoshim(1)" "$missing" "$count"

count=0
for option in $(bold man/monoshim.1 | grep -oE -- '--[a-z][a-z-]+' | sort -u); do
        count=$((count + 1))
        { "$monoshim" --help; for verb in $verbs; do "$monoshim" "$verb" --help; done; } | grep -q -- "$option\>" ||
                extra="$extra $option"
done
compare "every option in monoshim(1) is in monoshim --help or that of a verb" "$extra" "$count"

echo "1..$n"
