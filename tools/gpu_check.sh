#!/usr/bin/env bash
# Everything that only a GPU can show, in one command, on a machine with an NVIDIA GPU:
#   tools/gpu_check.sh [OUT]
# OUT (default gpu-check) receives the test log, the benchmarks and a short training run. Any
# failure, a missing GPU included, ends it with an error: nothing passes by being skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=$(realpath -m "${1:-gpu-check}")
VENV=${VENV:-.venv}
RUN=$VENV/bin
mkdir -p "$OUT"

step() { printf '\n== %s\n' "$*" | tee -a "$OUT/summary.txt"; }

step "machine"
nvidia-smi | tee -a "$OUT/summary.txt"
[ -x "$RUN/python" ] || python3 -m venv "$VENV"
"$RUN/python" -m pip install --quiet -e '.[dev,bench]'
"$RUN/python" - <<'PY' | tee -a "$OUT/summary.txt"
import torch
assert torch.cuda.is_available(), "torch sees no GPU"
print(torch.__version__, torch.version.cuda, torch.cuda.get_device_name(0))
import nvidia.dali
print("DALI", nvidia.dali.__version__)
PY

step "tests marked gpu (a skip is a failure)"
FASTLEUK_REQUIRE_GPU=1 "$RUN/python" -m pytest -m gpu -q -ra | tee "$OUT/tests.txt"

step "bench-pipeline"
"$RUN/fastleuk" bench-pipeline --device cuda --amp --batch-size 128 --rounds 5 --seconds 2 \
  --json "$OUT/pipeline.json" --plot "$OUT/pipeline.png" | tee "$OUT/pipeline.txt"

step "bench-pipeline with the sweep"
"$RUN/fastleuk" bench-pipeline --device cuda --amp --sweep --train-seconds 0 --no-operators \
  --methods dali-fused-cache,dali-fused-files,torchvision-pil \
  --json "$OUT/sweep.json" | tee "$OUT/sweep.txt"

step "a short training run, pixels in GPU memory"
"$RUN/fastleuk" train --backbone efficientnet_b0 --weights none --amp --device cuda --epochs 3 \
  --batch-size 64 --cache gpu --out "$OUT/run" | tee "$OUT/train.txt"
"$RUN/fastleuk" evaluate "$OUT/run" | tee -a "$OUT/train.txt"

step "the training loop beside a bare one"
"$RUN/python" benchmarks/train_loop.py --device cuda --amp --scale 30 \
  --json "$OUT/train_loop.json" | tee "$OUT/train_loop.txt"

GPUS=$(nvidia-smi -L | wc -l)
if [ "$GPUS" -gt 1 ]; then
  step "$GPUS processes over NCCL, with and without --sync-bn"
  for sync in --no-sync-bn --sync-bn; do
    "$RUN/torchrun" --standalone --nproc-per-node "$GPUS" -m fastleuk train $sync --amp \
      --backbone efficientnet_b0 --weights none --device cuda --epochs 2 --batch-size 32 \
      --out "$OUT/run$sync" | tee -a "$OUT/distributed.txt"
  done
else
  step "one GPU: training in several processes over NCCL is not checked"
fi

step "done: $OUT"
