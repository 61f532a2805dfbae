#!/usr/bin/env bash
# Tests a trained NONLOCAL network, 10 clips x 3 crops. Extra arguments are passed on to test.py:
#   bash scripts/test/test_nonlocal.sh --batch_size=8
set -euo pipefail

CONFIG="${CONFIG:-configs/nonlocal.txt}"
WEIGHTS="${WEIGHTS:-checkpoints/best}"
LOG_INTERVAL="${LOG_INTERVAL:-10}"   # videos
LAUNCH="${LAUNCH:-}"                # options of Paddle's launcher, for several GPUs or hosts; empty: one process

cd "$(dirname "${BASH_SOURCE[0]}")/../.."  # relative paths start from the project's folder
# The .venv of the quickstart, unless another environment is active or PYTHON names one.
[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || [ ! -x .venv/bin/python ] || PYTHON="${PYTHON:-.venv/bin/python}"
exec "${PYTHON:-python}" ${LAUNCH:+-m paddle.distributed.launch $LAUNCH} test.py \
    --model_name=NONLOCAL \
    --config="$CONFIG" \
    --log_interval="$LOG_INTERVAL" \
    --weights="$WEIGHTS" \
    "$@"
