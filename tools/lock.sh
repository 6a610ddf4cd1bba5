#!/usr/bin/env bash
# Writes requirements/*.txt: of every package the version that an environment has, with hashes.
#   tools/lock.sh .venv/bin
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1
have=$(mktemp)
trap 'rm -f "$have"' EXIT
"$bin/python" -m pip list --format freeze --exclude-editable | sed 's/+[a-z0-9.]*$//' > "$have"

lock() {
    local file=$1
    shift
    local extras=()
    for extra in "$@"; do extras+=(--extra "$extra"); done
    "$bin/uv" pip compile pyproject.toml requirements/build.in "${extras[@]}" \
        --universal --python-version 3.11.5 --generate-hashes --constraint "$have" \
        --no-header --no-annotate --quiet --output-file "requirements/$file"
}

rm -f requirements/image.txt requirements/ci.txt
lock image.txt bundled cpu
lock ci.txt dev docs
