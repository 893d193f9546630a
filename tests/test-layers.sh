#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Keeps the layers: util < host < core < bus < daemon, and ctl, the client, beside them on util alone. A file includes
# its own layer and those below it, and spells the folder.

cd "${top_srcdir:-.}/src" || exit 99
n=0

# check LAYER ALLOWED...: no file of LAYER includes anything but <...> and files of the folders ALLOWED.
check() {
        layer=$1
        shift
        allowed=$(echo "$*" | tr ' ' '|')
        n=$((n + 1))

        files=$(find "$layer" -name '*.[ch]' | wc -l)
        includes=$(find "$layer" -name '*.[ch]' -exec grep -hE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' {} + | wc -l)
        wrong=$(find "$layer" -name '*.[ch]' -exec grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' {} /dev/null \; |
                grep -vE "\"($allowed)/[a-z0-9-]+\.h\"")

        if [ "$files" -eq 0 ] || [ "$includes" -eq 0 ]; then
                echo "not ok $n - $layer: has no sources"
        elif [ -n "$wrong" ]; then
                echo "not ok $n - $layer: includes what it must not"
                echo "$wrong" | sed 's/^/# /'
        else
                echo "ok $n - $layer: $includes includes in $files files"
        fi
}

echo 1..7
check util util
check host util host
check core util host core
check bus util host core bus
check daemon util host core bus daemon
check ctl util ctl

# Whatever lies elsewhere would have escaped.
n=$((n + 1))
others=$(find . -name '*.[ch]' | grep -vE '^\./(util|host|core|bus|daemon|ctl)/[^/]+$')
if [ -z "$others" ]; then
        echo "ok $n - there are no other sources"
else
        echo "not ok $n - there are no other sources"
        echo "$others" | sed 's/^/# /'
fi
