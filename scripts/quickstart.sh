#!/usr/bin/env bash
# From nothing to a trained, tested network on the CPU: installs the packages, writes a small set of videos of moving
# shapes, trains a narrow network on it, tests it with 10 clips x 3 crops, names the action in one video.
# Everything lies in quickstart/ afterwards. Run it again, and it starts over with the same videos.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh requirements.txt

CONFIG=configs/quickstart.txt
step() { printf '\n== %s\n' "$*"; }

step "1 of 4: videos"
if [ ! -f quickstart/data/classes.json ]; then
    "$PYTHON" tools/make_shapes_dataset.py quickstart/data
else
    echo "quickstart/data is there already"
fi

step "2 of 4: train a narrow network from random weights"
rm -rf quickstart/checkpoints quickstart/test quickstart/infer
SECONDS=0
# One computing thread: of two cores, the reader needs the other one more than this narrow network does.
OMP_NUM_THREADS=1 "$PYTHON" train.py --config=$CONFIG --save_dir=quickstart/checkpoints --pretrain=none --use_gpu=false \
    --log_interval=20 --valid_interval=4 "$@"
TRAIN_SECONDS=$SECONDS

step "3 of 4: test it on videos it has not seen, 10 clips x 3 crops"
"$PYTHON" test.py --config=$CONFIG --weights=quickstart/checkpoints --use_gpu=false

step "4 of 4: name the action in one video"
VIDEO=quickstart/data/videos/bar_spinning/test_000.mp4
"$PYTHON" infer.py --config=$CONFIG --weights=quickstart/checkpoints --use_gpu=false \
    --video_path=$VIDEO --save_dir=quickstart/infer

step "done"
cat <<TEXT
trained for $TRAIN_SECONDS s on quickstart/data/train.txt; what is where:
  quickstart/checkpoints/   the last two checkpoints and the best; 'best' and 'latest' name two; train.log, train_config.txt
  quickstart/test/          report.html (open it), results.json, tables, results_probs.pkl, test.log
  quickstart/infer/         NONLOCAL_infer_result (pickle) and .jsonl
next: source .venv/bin/activate (in each new terminal); your own videos: README.md, "Fine-tune on your own videos"
TEXT
