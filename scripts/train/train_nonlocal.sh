#!/usr/bin/env bash
# Trains the NONLOCAL network. A run that SIGTERM stops (exit code 75, as on machines that are taken away for a while) is
# started again from where it was, RESTARTS times at most; Ctrl-C stops for good. Extra arguments are passed on to
# train.py and win over the variables below:
#   bash scripts/train/train_nonlocal.sh --batch_size=32 -o TRAIN.filelist=my/train.txt
#   LAUNCH="--gpus 0,1,2,3,4,5,6,7" bash scripts/train/train_nonlocal.sh       on 8 GPUs (docs/distributed.md)
set -euo pipefail

CONFIG="${CONFIG:-configs/nonlocal.txt}"
PRETRAIN="${PRETRAIN:-}"            # weights to start from, or 'none'; empty: what MODEL.pretrain says
SAVE_DIR="${SAVE_DIR:-checkpoints}"
LOG_INTERVAL="${LOG_INTERVAL:-10}"      # iterations
VALID_INTERVAL="${VALID_INTERVAL:-1}"   # epochs
RESTARTS="${RESTARTS:-100}"
LAUNCH="${LAUNCH:-}"                # options of Paddle's launcher, for several GPUs or hosts; empty: one process

cd "$(dirname "${BASH_SOURCE[0]}")/../.."  # relative paths start from the project's folder
# The .venv of the quickstart, unless another environment is active or PYTHON names one.
[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || [ ! -x .venv/bin/python ] || PYTHON="${PYTHON:-.venv/bin/python}"
set -m  # train.py gets a process group of its own, and signals only from here

train() {
    # shellcheck disable=SC2086 - LAUNCH is several words
    "${PYTHON:-python}" ${LAUNCH:+-m paddle.distributed.launch $LAUNCH} train.py \
        --model_name=NONLOCAL \
        --config="$CONFIG" \
        --save_dir="$SAVE_DIR" \
        --log_interval="$LOG_INTERVAL" \
        --valid_interval="$VALID_INTERVAL" \
        ${PRETRAIN:+--pretrain="$PRETRAIN"} \
        "$@" &
    CHILD=$!
    while kill -0 "$CHILD" 2>/dev/null; do wait "$CHILD" || true; done # a signal to this script ends `wait` early
    wait "$CHILD" && CODE=0 || CODE=$?
}

STOPPED=0
trap 'STOPPED=1; kill -INT "$CHILD"' INT
trap 'STOPPED=1; kill -TERM "$CHILD"' TERM
train "$@"
while [ "$CODE" = 75 ] && [ "$STOPPED" = 0 ] && [ "$RESTARTS" -gt 0 ]; do
    RESTARTS=$((RESTARTS - 1))
    train "$@" --resume=auto
done
exit "$CODE"
