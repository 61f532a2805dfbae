#!/usr/bin/env bash
# Names the action in the videos of a list. Extra arguments are passed on to infer.py:
#   bash scripts/infer/infer_nonlocal.sh --video_path=clip.mp4
set -euo pipefail

CONFIG="${CONFIG:-configs/nonlocal.txt}"
WEIGHTS="${WEIGHTS:-checkpoints/best}"
FILELIST="${FILELIST:-dataset/nonlocal/inferlist.txt}"
LOG_INTERVAL="${LOG_INTERVAL:-10}"   # videos
LAUNCH="${LAUNCH:-}"                # options of Paddle's launcher, for several GPUs or hosts; empty: one process

cd "$(dirname "${BASH_SOURCE[0]}")/../.."  # relative paths start from the project's folder
# The .venv of the quickstart, unless another environment is active or PYTHON names one.
[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || [ ! -x .venv/bin/python ] || PYTHON="${PYTHON:-.venv/bin/python}"
exec "${PYTHON:-python}" ${LAUNCH:+-m paddle.distributed.launch $LAUNCH} infer.py \
    --model_name=NONLOCAL \
    --config="$CONFIG" \
    --log_interval="$LOG_INTERVAL" \
    --weights="$WEIGHTS" \
    --filelist="$FILELIST" \
    "$@"
