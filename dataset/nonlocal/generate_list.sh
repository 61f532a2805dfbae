#!/bin/bash
# Kinetics lists, under the name they had in the old video zoo: tools/make_filelist.py does the work.
set -e
TRAIN_CSV="${TRAIN_CSV:-kinetics-400_train.csv}"
VAL_CSV="${VAL_CSV:-kinetics-400_val.csv}"
TRAIN_DIR="${TRAIN_DIR:-YOUR_TRAIN_DATA_DIR}" # folders of videos: replace, or set in the environment
VALID_DIR="${VALID_DIR:-YOUR_VALID_DATA_DIR}"

HERE="$(cd "$(dirname "$0")" && pwd)"
exec "${PYTHON:-python}" "$HERE/../../tools/make_filelist.py" csv --out "$HERE" \
    --train_csv "$TRAIN_CSV" --train_videos "$TRAIN_DIR" --val_csv "$VAL_CSV" --val_videos "$VALID_DIR" "$@"
