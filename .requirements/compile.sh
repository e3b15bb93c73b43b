#!/usr/bin/env bash
# Regenerates the locks from setup.py. Needs uv (pip install uv) and a network.
#   .requirements/compile.sh            keeps what is pinned and still fits
#   .requirements/compile.sh --upgrade  takes the newest that fits
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
    local output=$1
    shift
    uv pip compile setup.py "$@" \
        --override .requirements/overrides.txt \
        --constraint .requirements/constraints.txt \
        --python-version 3.11 --python-platform x86_64-manylinux_2_31 \
        --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command .requirements/compile.sh \
        --quiet --output-file "$output"
}
mkdir -p .build  # Where setup.py puts its metadata.
compile requirements.txt "$@"
# Supersets of requirements.txt, with the same versions of what is in it.
for extra in test gpu notebook audit; do
    compile ".requirements/$extra.txt" --extra "$extra" \
        --constraint requirements.txt
done
# The uv that install.sh uses where the system has no Python 3.11.
uv pip compile .requirements/uv.in "$@" --python-platform x86_64-manylinux_2_31 \
    --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command .requirements/compile.sh \
    --quiet --output-file .requirements/uv.txt
