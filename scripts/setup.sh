#!/bin/sh
# Makes the project ready to use: .venv with the pinned packages of constraints.txt, and the Debian
# libraries that Open3D loads. Every other script calls this one first; when nothing has changed
# since the last time it returns at once.
#
#   sh scripts/setup.sh          what working with the project needs
#   sh scripts/setup.sh --dev    and what only its tests need: Chromium, to look at the viewer's page
#
# Environment: PYTHON  the interpreter to build .venv with (default: python3.11, else python3)
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# install_debian REASON PACKAGE...: as root through apt-get, else names what is missing and stops.
install_debian() {
    reason=$1
    shift
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        fail "$reason; these Debian packages provide it: $*" \
            "install them (sudo apt-get update && sudo apt-get install -y --no-install-recommends $*" \
            "or what your system calls them) and run this again."
    fi
    say "$reason; installing with apt-get: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null || say "apt-get update failed; trying with the package lists that are here"
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null || fail "apt-get could not install: $*"
}

# The browser of the viewer's test; without one that test skips, so nothing ends for the lack of it.
install_chromium() {
    for browser in chromium chromium-browser google-chrome; do
        if command -v "$browser" >/dev/null 2>&1; then return; fi
    done
    (install_debian "no Chromium was found, for the test of the viewer's page" chromium) || say "going on without"
}

if [ "${1:-}" = --dev ]; then install_chromium; fi
stamp=.venv/.setup-stamp
# The folder counts too: the commands inside a moved .venv still point at its old place.
want="$(cat pyproject.toml constraints.txt | cksum) $root"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

# usable PYTHON: it runs and is new enough.
usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        usable "$PYTHON" || fail "PYTHON=$PYTHON is not a Python of version 3.10 or newer."
        return
    fi
    for PYTHON in python3.11 python3 python3.12 python3.13 python3.10; do # the pins were made on 3.11
        if usable "$PYTHON"; then return; fi
    done
    install_debian "no Python of version 3.10 or newer was found" python3 python3-venv
    PYTHON=python3
    usable "$PYTHON" || fail "python3 is $(python3 -V 2>&1); 3.10 or newer is needed. Set PYTHON to one."
}

make_venv() {
    if [ -f "$stamp" ] && [ "$(sed 's/^[0-9]* [0-9]* //' "$stamp")" != "$root" ]; then
        say "this folder was moved; making .venv anew"
        rm -rf .venv
    fi
    if .venv/bin/python -m pip --version >/dev/null 2>&1; then return; fi
    find_python
    if ! "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        install_debian "$PYTHON cannot make virtual environments" python3-venv
    fi
    say "making .venv with $("$PYTHON" -V)"
    rm -rf .venv
    "$PYTHON" -m venv .venv || fail "'$PYTHON -m venv .venv' failed."
}

pip_install() {
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --progress-bar off "$@" ||
        fail "pip could not install the packages (its message is above). Nothing is lost: run this again."
}

# Open3D's shared libraries, beside their Debian packages.
install_libraries() {
    command -v ldconfig >/dev/null 2>&1 || [ -x /sbin/ldconfig ] || return 0 # not Linux
    known=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p) || fail "'ldconfig -p' failed; cannot tell which libraries are here."
    missing=
    while read -r library package; do
        case $known in
        *"$library "*) ;;
        *) missing="$missing $package" ;;
        esac
    done <<LIST
libusb-1.0.so.0 libusb-1.0-0
libEGL.so.1 libegl1
libGL.so.1 libgl1
libX11.so.6 libx11-6
libudev.so.1 libudev1
libidn2.so.0 libidn2-0
LIST
    # shellcheck disable=SC2086  # a list of words
    if [ -n "$missing" ]; then install_debian "Open3D lacks shared libraries" $missing; fi
}

say "this happens once and takes a minute or two"
install_libraries
make_venv
rm -f "$stamp"
# First and alone: a build that pip can find beside the index (such as one without CUDA) is taken for
# this exact pin, where a range would fetch the newest with gigabytes of CUDA.
torch=$(grep '^torch==' constraints.txt)
say "installing $torch"
pip_install "$torch"
say "installing the other packages, as pinned in constraints.txt"
pip_install --editable '.[dev]' --constraint constraints.txt
printf '%s\n' "$want" >"$stamp"
say "ready: . .venv/bin/activate && llava --help"
