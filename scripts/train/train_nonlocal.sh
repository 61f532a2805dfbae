#!/usr/bin/env bash
# Trains the NONLOCAL network. Extra arguments are passed on to train.py and win over the variables below:
#   bash scripts/train/train_nonlocal.sh --batch_size=32 -o TRAIN.filelist=my/train.txt
set -euo pipefail

CONFIG="${CONFIG:-configs/nonlocal.txt}"
PRETRAIN="${PRETRAIN:-}"            # weights to start from, or 'none'; empty: what MODEL.pretrain says
SAVE_DIR="${SAVE_DIR:-checkpoints}"
LOG_INTERVAL="${LOG_INTERVAL:-10}"      # iterations
VALID_INTERVAL="${VALID_INTERVAL:-1}"   # epochs

cd "$(dirname "${BASH_SOURCE[0]}")/../.."  # relative paths start from the project's folder
# The .venv of the quickstart, unless another environment is active or PYTHON names one.
[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || [ ! -x .venv/bin/python ] || PYTHON="${PYTHON:-.venv/bin/python}"
exec "${PYTHON:-python}" train.py \
    --model_name=NONLOCAL \
    --config="$CONFIG" \
    --save_dir="$SAVE_DIR" \
    --log_interval="$LOG_INTERVAL" \
    --valid_interval="$VALID_INTERVAL" \
    ${PRETRAIN:+--pretrain="$PRETRAIN"} \
    "$@"
