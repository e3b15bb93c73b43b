#!/usr/bin/env bash
# Makes .venv with everything that the locks name; does nothing where it is
# there already. Usage: .requirements/install.sh [test|gpu|notebook|audit]
set -euo pipefail
cd "$(dirname "$0")/.."

EXTRA=${1:-}
LOCK=requirements.txt
[ -z "$EXTRA" ] || LOCK=.requirements/$EXTRA.txt
PYTHON=.venv/bin/python
LOG=.venv/install.log

fail() {
    echo "error: $*" >&2
    exit 2
}

check_platform() {
    local system machine libc
    system=$(uname -s) machine=$(uname -m)
    [ "$system $machine" = "Linux x86_64" ] ||
        fail "this is $system $machine, but TensorFlow Federated's wheel is for" \
            "Linux x86_64 only: use such a machine, a container or Colab."
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || echo "not glibc")
    [ "$libc" != "not glibc" ] &&
        [ "$(printf '%s\n' 2.31 "${libc#glibc }" | sort -V | head -n 1)" = 2.31 ] ||
        fail "the C library here is $libc, but TensorFlow Federated's wheel needs" \
            "glibc 2.31 or newer (Debian 11, Ubuntu 20.04)."
}

# Whether $1 is Python 3.11 and can make a virtual environment.
fits() {
    "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info[:2] != (3, 11))' \
        >/dev/null 2>&1
}

# Sets BASE to a Python 3.11: the system's, or one that uv brings.
find_python() {
    local candidate found="" version
    for candidate in python3.11 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1; then
            if fits "$candidate"; then
                BASE=$candidate
                return
            fi
            [ -n "$found" ] || ! "$candidate" -c '' >/dev/null 2>&1 ||
                found=$candidate
        fi
    done
    [ -n "$found" ] || command -v uv >/dev/null 2>&1 ||
        fail "no Python was found: install Python 3.11 or any newer Python 3" \
            "with pip (Debian, Ubuntu: sudo apt install python3-pip)."
    version=none
    [ -z "$found" ] || version=$("$found" -c 'import platform; print(platform.python_version())')
    echo "TensorFlow Federated needs Python 3.11 with venv, found is $version:" \
        "bringing one into .uv/ with uv."
    find_uv "$found"
    export UV_PYTHON_INSTALL_DIR=$PWD/.uv/python UV_CACHE_DIR=$PWD/.uv/cache
    export UV_PYTHON_INSTALL_BIN=0  # Nothing in ~/.local/bin.
    # One that uv brought before, or that is where only uv looks.
    BASE=$("$UV" python find 3.11 2>/dev/null || true)
    if [ -n "$BASE" ] && fits "$BASE"; then return; fi
    "$UV" python install 3.11 >.uv/install.log 2>&1 ||
        fail "uv could not download Python 3.11 ($(reason .uv/install.log)):" \
            "check the network, or install Python 3.11 yourself."
    BASE=$("$UV" python find --managed-python 3.11 2>/dev/null || true)
    [ -n "$BASE" ] && fits "$BASE" || fail "the Python 3.11 that uv brought does not work: see .uv/install.log."
}

# Sets UV, installing it with the pip of the Python $1 if need be.
find_uv() {
    UV=.uv/bin/uv
    if [ -x "$UV" ]; then return; fi
    if command -v uv >/dev/null 2>&1; then
        UV=uv
        mkdir -p .uv
        return
    fi
    "$1" -m pip --version >/dev/null 2>&1 ||
        fail "the Python here has no pip to bring Python 3.11 with: install pip" \
            "(Debian, Ubuntu: sudo apt install python3-pip) or Python 3.11."
    mkdir -p .uv
    "$1" -m pip install --quiet --retries 2 --timeout 30 --target .uv \
        --require-hashes --only-binary :all: -r .requirements/uv.txt \
        >.uv/install.log 2>&1 ||
        fail "uv could not be installed ($(reason .uv/install.log)): check the" \
            "network, or install Python 3.11 yourself."
}

# The line of a log that says what went wrong, in a few words.
reason() {
    if grep -qiE 'No space left' "$1"; then
        echo "the disk is full"
    elif grep -qiE 'resolution|resolve|connection|network|timed? ?out|unreachable|from versions: none|error sending request' "$1"; then
        echo "no connection; log: $1"
    else
        echo "$(grep -iE 'error' "$1" | head -n 1 | cut -c1-200); log: $1"
    fi
}

stamp() {
    cat "$1" setup.py .requirements/install.sh | sha256sum | cut -d' ' -f1
}

is_installed() {
    [ "$(cat ".venv/.installed-${EXTRA:-runtime}" 2>/dev/null)" = "$(stamp "$LOCK")" ]
}

install() {
    local total
    total=$(grep -c '==.* \\$' "$LOCK")
    echo "Installing $total packages into .venv (a few minutes, only once) ..."
    # pip names each package as it gets to it; show how far it is.
    PYTHONUNBUFFERED=1 "$PYTHON" -m pip install --retries 2 --timeout 30 \
        --disable-pip-version-check --no-deps --require-hashes -r "$LOCK" 2>&1 |
        tee "$LOG" |
        awk -v total="$total" '
            /^(Collecting|Requirement already)/ { printf "\r  %d/%d", ++n, total; fflush() }
            /^Installing collected/ { printf "\r  unpacking"; fflush() }
            END { printf "\r           \r" }' ||
        fail "the packages could not be installed ($(reason "$LOG")): check the" \
            "network and run the same command again."
    mkdir -p .build
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps \
        --no-build-isolation --editable . >"$LOG" 2>&1 ||
        fail "tff-cnn itself could not be installed ($(reason "$LOG"))."
    stamp "$LOCK" >".venv/.installed-${EXTRA:-runtime}"
    # Every other lock holds all of requirements.txt.
    stamp requirements.txt >.venv/.installed-runtime
}

if [ -x "$PYTHON" ] && is_installed; then exit 0; fi
[ -f "$LOCK" ] || fail "there is no lock $LOCK: the extras are test, gpu, notebook and audit."
check_platform
if ! { [ -x "$PYTHON" ] && fits "$PYTHON"; }; then
    find_python
    rm -rf .venv
    "$BASE" -m venv .venv
fi
install
