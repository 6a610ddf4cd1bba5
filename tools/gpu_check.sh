#!/usr/bin/env bash
# Everything that only a GPU can show, in one command, on a machine with an NVIDIA GPU:
#   tools/gpu_check.sh [OUT]
# OUT (default gpu-check) receives a new folder with the test log, the benchmarks and short trainings.
#
# It takes what is installed and needs no network for that: a Python whose torch sees a GPU ($PYTHON,
# python3, or .venv's). Packages are installed only where no such Python is there, or with INSTALL=1.
# What DALI's absence rules out is named and left out; all else must run: no test passes by a skip.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} FASTLEUK_REQUIRE_GPU=1

sees_gpu() { "$1" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; }
has() { "$PY" -c "import $1" 2>/dev/null; }

PY=
for python in ${PYTHON:-} .venv/bin/python python3; do
  if [ -z "${INSTALL:-}" ] && command -v "$python" >/dev/null && sees_gpu "$python"; then
    PY=$python
    break
  fi
done
if [ -z "$PY" ]; then
  command -v nvidia-smi >/dev/null || { echo "No NVIDIA GPU: nvidia-smi is missing." >&2; exit 1; }
  [ -x .venv/bin/python ] || python3 -m venv --system-site-packages .venv
  .venv/bin/python -m pip install --quiet -e '.[dev,bench]' || {
    echo "No Python here has a torch that sees the GPU, and packages can't be installed." >&2
    exit 1
  }
  PY=.venv/bin/python
  sees_gpu "$PY" || { echo "$PY has torch, but it sees no GPU: check the driver." >&2; exit 1; }
fi

ROOT=$(realpath -m "${1:-gpu-check}")
mkdir -p "$ROOT"
OUT=$(mktemp -d "$ROOT/$(date +%Y%m%d-%H%M%S)-XXXX")
step() { printf '\n== %s\n' "$*" | tee -a "$OUT/summary.txt"; }
left_out() { printf '\n-- left out: %s\n' "$*" | tee -a "$OUT/summary.txt"; }
run() { "$PY" -m fastleuk "$@"; }

step "machine"
nvidia-smi | tee -a "$OUT/summary.txt" || true
"$PY" - <<'PY' | tee -a "$OUT/summary.txt"
import importlib.metadata as metadata
import torch
print("torch", torch.__version__, "CUDA", torch.version.cuda, torch.cuda.get_device_name(0))
for name in ("triton", "torchvision", "timm", "nvidia-dali-cuda120", "nvidia-dali-cuda130", "numba"):
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        print(name, "is not installed")
PY

WITHOUT=()
LOADERS=(torchvision)
if has nvidia.dali; then LOADERS+=(dali); else WITHOUT+=(dali); fi
has numba || WITHOUT+=(numba)
FASTLEUK_WITHOUT=$(IFS=,; echo "${WITHOUT[*]-}")
export FASTLEUK_WITHOUT

step "every applier on the GPU beside the CPU's, and its rate"
run gpu-check | tee "$OUT/gpu-check.txt"

step "tests marked gpu (a skip is a failure${FASTLEUK_WITHOUT:+, but for $FASTLEUK_WITHOUT})"
"$PY" -m pytest -m gpu -q -ra -p no:cacheprovider tests | tee "$OUT/tests.txt"

for loader in "${LOADERS[@]}"; do
  step "a short training run, --loader $loader, pixels in GPU memory"
  run train --backbone efficientnet_b0 --weights none --amp --device cuda --epochs 3 \
    --batch-size 64 --cache gpu --loader "$loader" --out "$OUT/run-$loader" \
    | tee "$OUT/train-$loader.txt"
  run evaluate "$OUT/run-$loader" | tee -a "$OUT/train-$loader.txt"
done

step "a short training run, the nine steps by the Triton kernels from GPU memory"
run train --backbone efficientnet_b0 --weights none --amp --device cuda --epochs 3 \
  --batch-size 64 --cache gpu --applier compiled --out "$OUT/run-compiled" \
  | tee "$OUT/train-compiled.txt"

step "the training loop beside a bare one"
"$PY" benchmarks/train_loop.py --device cuda --amp --scale 30 \
  --json "$OUT/train_loop.json" | tee "$OUT/train_loop.txt"

if has nvidia.dali; then
  step "bench-pipeline"
  run bench-pipeline --device cuda --amp --batch-size 128 --rounds 5 --seconds 2 \
    --json "$OUT/pipeline.json" --plot "$OUT/pipeline.png" | tee "$OUT/pipeline.txt"
  step "bench-pipeline with the sweep"
  run bench-pipeline --device cuda --amp --sweep --train-seconds 0 --no-operators \
    --methods dali-fused-cache,dali-fused-files,torchvision-pil \
    --json "$OUT/sweep.json" | tee "$OUT/sweep.txt"
else
  left_out "bench-pipeline's DALI paths, DALI's graphs: NVIDIA DALI is not installed"
  step "bench-pipeline without DALI"
  run bench-pipeline --device cuda --amp --batch-size 128 --rounds 5 --seconds 2 \
    --json "$OUT/pipeline.json" | tee "$OUT/pipeline.txt"
fi

GPUS=$(nvidia-smi -L | wc -l)
if [ "$GPUS" -gt 1 ]; then
  step "$GPUS processes over NCCL, with and without --sync-bn"
  for sync in --no-sync-bn --sync-bn; do
    "$PY" -m torch.distributed.run --standalone --nproc-per-node "$GPUS" -m fastleuk train $sync \
      --amp --backbone efficientnet_b0 --weights none --device cuda --epochs 2 --batch-size 32 \
      --out "$OUT/run$sync" | tee -a "$OUT/distributed.txt"
  done
else
  left_out "training in several processes over NCCL: there is one GPU"
fi

step "done: $OUT"
