#!/usr/bin/env bash
# Installs the test dependencies and runs linters and tests. Safe to run again.
#   bash scripts/run_tests.sh                   the quick tests
#   bash scripts/run_tests.sh --all             the slow ones too, and the quick ones on the oldest Paddle
#   bash scripts/run_tests.sh --paddle 2.6.2    the quick tests on that Paddle, in an environment of its own
#   bash scripts/run_tests.sh --gpu             a self-test on this machine's GPUs (tests/gpu_self_test.py)
# Other arguments go to pytest, for example: bash scripts/run_tests.sh -k sampling
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OLDEST_PADDLE=2.6.2

# An older Paddle wants older companions: NumPy 1 and the OpenCV made for it; 2.6 also needs setuptools to start.
run_on_paddle() {
    local version="$1" prefix=".venv-paddle-$1"
    shift
    [ -x "$prefix/bin/python" ] || python3 -m venv "$prefix"
    grep -v -E '^(paddlepaddle|numpy|opencv-python-headless)' requirements.txt > "$prefix/requirements.txt"
    "$prefix/bin/python" -m pip install --quiet --disable-pip-version-check -r "$prefix/requirements.txt" \
        "paddlepaddle==$version" "numpy<2" "opencv-python-headless>=4.11,<4.12" setuptools "pytest>=8,<10" "pytest-xdist>=3.5,<4" \
        "scikit-learn>=1.3,<2"
    echo "== the quick tests on Paddle $version"
    "$prefix/bin/python" -m pytest -p no:cacheprovider -n 2 "$@"
}

if [ "${1:-}" = --paddle ]; then
    run_on_paddle "${2:?--paddle needs a version, for example 2.6.2}" "${@:3}"
    exit
fi
if [ "${1:-}" = --gpu ]; then  # not run on a GPU
    command -v nvidia-smi > /dev/null || { echo "error: no NVIDIA driver here (no nvidia-smi)" >&2; exit 2; }
    [ -x .venv-gpu/bin/python ] || python3 -m venv .venv-gpu
    .venv-gpu/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-gpu.txt "pytest>=8,<10" \
        onnx onnxruntime-gpu paddle2onnx
    exec .venv-gpu/bin/python tests/gpu_self_test.py "${@:2}"
fi
source scripts/environment.sh requirements-dev.txt
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PREFIX/bin/vermin" --target=3.10- --no-tips --quiet configs datareader engine metrics models tools utils ./*.py  # no newer Python
"$PYTHON" -m pytest -n 2 "$@"  # two at a time: many wait for programs that start
if [ "${1:-}" = --all ]; then
    # What does not import Paddle has just been tested: by the import law configs, reader and utils/ do not.
    run_on_paddle "$OLDEST_PADDLE" --ignore-glob='tests/test_datareader_*' --ignore-glob='tests/test_utils*' \
        --ignore-glob='tests/test_tools_videos.py' --ignore-glob='tests/test_configs*' --ignore-glob='tests/test_docs*' \
        --ignore-glob='tests/test_import_law.py' --ignore-glob='tests/test_fuzzed*' --ignore-glob='tests/test_benchmarks.py'
fi
