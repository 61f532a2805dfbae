#!/usr/bin/env bash
# Prints the tables of docs/performance.md, in under half an hour on 2 cores; nothing else should run meanwhile.
#   bash benchmarks/all.sh FILELIST > tables.md
# FILELIST: a path a line, videos like those of Kinetics (10 s, 340 x 256). Rivals are measured where they are
# installed: pip install torch torchcodec decord
set -euo pipefail
[ $# = 1 ] && [ -f "$1" ] || { echo "usage: bash benchmarks/all.sh FILELIST" >&2; exit 2; }
LIST="$(realpath "$1")"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh requirements.txt > /dev/null
FOLDER="$(mktemp -d)"
trap 'rm -rf "$FOLDER"' EXIT
SECONDS=0
head -n 2 "$LIST" | sed "s|^\([^/]\)|$(dirname "$LIST")/\1|" > "$FOLDER/few.txt"

measure() {
    local words=("${@:2}") k
    for k in "${!words[@]}"; do
        [[ ${words[k]} != *" "* ]] || words[k]="\"${words[k]}\""
    done
    printf '\n## %s\n\n`python benchmarks/%s`\n\n' "$1" "${words[*]}" | sed "s|$FOLDER/few.txt|FILELIST|; s|$LIST|FILELIST|"
    "$PYTHON" benchmarks/"$2" "${@:3}"
    echo "$1: done after $SECONDS s" >&2
}

measure "The network" network.py --rounds 2 --repeats 1 --cases "as it is" "BN folded" PyTorch
measure "Inference" inference.py "$FOLDER/few.txt" --chunk 1
measure "The non-local block" nonlocal_block.py
measure "The reader" reader.py "$LIST" --repeats 3
measure "The loader with many readers" loader_scale.py --clips 1000
measure "Copies for training" copies.py "$FOLDER/few.txt" --repeats 3 --keyints 1 4 32
measure "Memory of the reader" reader_memory.py "$LIST" --clips 3000
echo "all: $SECONDS s" >&2
