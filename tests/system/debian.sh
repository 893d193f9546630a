# SPDX-License-Identifier: LGPL-2.1-or-later
#
# To be sourced: packages of another Debian release than this machine's, fetched without touching the machine's apt.

# Where everything is kept that takes time to make. None of it is needed for longer than the tests run.
beds_cache() {
        echo "${MONOSHIM_BEDS:-/var/tmp/monoshim-beds}"
}

# The mirror that this machine's own apt uses.
debian_mirror() {
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
                grep -v -e security -e debug -e backports | head -n 1)
        echo "${mirror:-http://deb.debian.org/debian/}"
}

# debian_fetch SUITE DIR CLOSURE PACKAGE...: downloads the packages into DIR, with all that they depend on if CLOSURE is
# "yes". apt checks the archive's signature as ever; but its lists, its cache and its idea of what is installed (nothing)
# are private, in a directory that is removed again.
debian_fetch() (
        suite=$1
        dir=$2
        closure=$3
        shift 3

        apt=$(mktemp -d "${TMPDIR:-/tmp}/monoshim-apt.XXXXXX") || exit 1
        trap 'rm -rf "$apt"' EXIT
        trap 'exit 1' HUP INT TERM
        mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$dir" || exit 1
        keys=/usr/share/keyrings/debian-archive-keyring.gpg
        [ -r "$keys" ] || { echo "$keys is missing (Debian: debian-archive-keyring)" >&2; exit 1; }
        echo "deb [signed-by=$keys] $(debian_mirror) $suite main" >"$apt/sources.list"
        cat >"$apt/apt.conf" <<END
Dir::State "$apt";
Dir::State::status "/dev/null";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
END
        # A frozen mirror's Release file may be older than the days for which it calls itself valid.
        echo 'Acquire::Check-Valid-Until "false";' >>"$apt/apt.conf"
        export APT_CONFIG="$apt/apt.conf"

        # An archive that cannot be reached is a warning to "apt-get update", unless told otherwise.
        apt-get -qq -o APT::Update::Error-Mode=any update >&2 || exit 1
        if [ "$closure" = yes ]; then
                apt-get -qq -y --download-only -o Debug::NoLocking=1 install "$@" >&2 || exit 1
                mv "$apt"/cache/archives/*.deb "$dir"
        else
                cd "$dir" && apt-get -qq download "$@" >&2
        fi
)
