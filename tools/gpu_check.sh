#!/usr/bin/env bash
# Everything that only a GPU can show, in one command, on a machine with an NVIDIA GPU:
#   tools/gpu_check.sh [OUT]
# OUT (default gpu-check) receives a new folder with the test log, the benchmarks and short trainings.
#
# It takes what is installed and needs no network for that: a Python whose torch sees a GPU ($PYTHON,
# .venv's, or python3). Packages are installed only where no such Python is there, or with INSTALL=1.
# What a missing package rules out is named and left out; all else must run: no test passes by a skip.
# A check that fails is named, the others go on, and the exit code is 1.
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
  .venv/bin/python -m pip install --quiet --retries 1 --timeout 15 -e '.[dev,bench]' || {
    echo "No Python here has a torch that sees the GPU, and packages can't be installed." >&2
    exit 1
  }
  PY=.venv/bin/python
  sees_gpu "$PY" || { echo "$PY has torch, but it sees no GPU: check the driver." >&2; exit 1; }
fi

ROOT=$(realpath -m "${1:-gpu-check}")
mkdir -p "$ROOT"
OUT=$(mktemp -d "$ROOT/$(date +%Y%m%d-%H%M%S)-XXXX")
FAILED=0
say() { printf '\n%s\n' "$*" | tee -a "$OUT/summary.txt"; }
left_out() { say "-- left out: $*"; }
# check WHAT LOG COMMAND…: run it, keep its output, and go on if it fails.
check() {
  local what=$1 log=$OUT/$2 status=0
  shift 2
  say "== $what"
  "$@" 2>&1 | tee -a "$log" || status=$?
  [ "$status" -eq 0 ] || { say "!! FAILED ($status): $what"; FAILED=$((FAILED + 1)); }
}
fastleuk() { "$PY" -m fastleuk "$@"; }

say "== machine"
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

NEEDED=()
for module in typer timm scipy sklearn matplotlib safetensors tqdm filelock packaging PIL; do
  has "$module" || NEEDED+=("$module")
done
if [ ${#NEEDED[@]} -ne 0 ]; then
  say "!! not installed, though fastleuk needs it: ${NEEDED[*]}. Install it first: pip install -e ."
  exit 2
fi

WITHOUT=() DALI= TRITON= PEERS=
LOADERS=(torchvision)
if has nvidia.dali; then
  DALI=1 LOADERS+=(dali)
else
  WITHOUT+=(dali)
  left_out "DALI's loaders, appliers and benchmarks (fused, exact, --loader dali): NVIDIA DALI is not installed"
fi
if has triton; then
  TRITON=1
else
  WITHOUT+=(triton)
  left_out "the Triton kernels (applier compiled on the GPU): Triton is not installed"
fi
if ! has numba; then
  WITHOUT+=(numba)
  left_out "tests that compare with the CPU's kernel: numba is not installed"
fi
if has kornia; then PEERS=--peers; else left_out "kornia and its relatives as peers: kornia is not installed"; fi
FASTLEUK_WITHOUT=$(IFS=,; echo "${WITHOUT[*]-}")
export FASTLEUK_WITHOUT

check "every applier on the GPU beside the CPU's, and its rate" gpu-check.txt fastleuk gpu-check

if has pytest; then
  check "tests marked gpu (a skip is a failure${FASTLEUK_WITHOUT:+, but for $FASTLEUK_WITHOUT})" tests.txt \
    "$PY" -m pytest -m gpu -q -ra -p no:cacheprovider tests
else
  left_out "the tests: pytest is not installed"
fi

METHODS=(torchvision-pil)
[ -z "$DALI" ] || METHODS=(dali-fused-cache dali-fused-files "${METHODS[@]}")
[ -z "$TRITON" ] || METHODS=(triton-cache-gpu triton-cache triton-files "${METHODS[@]}")
check "bench-pipeline, and training fed by each" pipeline.txt \
  fastleuk bench-pipeline --device cuda --amp --batch-size 128 --rounds 5 --seconds 2 --train-all \
  --backbone efficientnet_b3 $PEERS --json "$OUT/pipeline.json" --plot "$OUT/pipeline.png"
check "bench-pipeline in float32" float32.txt \
  fastleuk bench-pipeline --device cuda --batch-size 128 --rounds 5 --seconds 2 --train-seconds 0 \
  --no-operators --methods "$(IFS=,; echo "${METHODS[*]}")" --json "$OUT/float32.json"
check "bench-pipeline with the sweep" sweep.txt \
  fastleuk bench-pipeline --device cuda --amp --sweep --train-seconds 0 --no-operators \
  --methods "$(IFS=,; echo "${METHODS[*]}")" --json "$OUT/sweep.json"

TRAIN=(train --backbone efficientnet_b0 --weights none --amp --device cuda --epochs 3 --batch-size 64)
for loader in "${LOADERS[@]}"; do
  check "a short training run, --loader $loader, pixels in GPU memory" "train-$loader.txt" \
    fastleuk "${TRAIN[@]}" --cache gpu --loader "$loader" --out "$OUT/run-$loader"
  check "its evaluation" "train-$loader.txt" fastleuk evaluate "$OUT/run-$loader"
done
if [ -n "$TRITON" ]; then
  for cache in gpu auto off; do
    check "a short training run by the Triton kernels, --cache $cache" "train-compiled-$cache.txt" \
      fastleuk "${TRAIN[@]}" --cache "$cache" --applier compiled --out "$OUT/run-compiled-$cache"
  done
fi
check "the training loop beside a bare one" train_loop.txt \
  "$PY" benchmarks/train_loop.py --device cuda --amp --scale 30 --json "$OUT/train_loop.json"

GPUS=$(nvidia-smi -L 2>/dev/null | wc -l)
if [ "$GPUS" -gt 1 ]; then
  for sync in --no-sync-bn --sync-bn; do
    check "$GPUS processes over NCCL, $sync" distributed.txt \
      "$PY" -m torch.distributed.run --standalone --nproc-per-node "$GPUS" -m fastleuk train "$sync" \
      --amp --backbone efficientnet_b0 --weights none --device cuda --epochs 2 --batch-size 32 \
      --out "$OUT/run$sync"
  done
else
  left_out "training in several processes over NCCL: there is one GPU"
fi

say "== done, $FAILED failed: $OUT"
[ "$FAILED" -eq 0 ]
