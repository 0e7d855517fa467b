#!/bin/sh
# What needs a GPU, in at most ten minutes: tests, Location-30, LoRA adapters, and CIFAR-10 with the time that is left.
#   benchmarks/gpu.sh DIR [RESULTS]    DIR has a folder per data set; the figures go into RESULTS (benchmarks/RESULTS.md)
#   TOY=1 DEVICE=cpu benchmarks/gpu.sh DIR RESULTS    the same at toy size
# Every part has a time limit of its own and writes its block when it ends, so that what was measured is kept.
set -eu
data=$1
results=${2:-benchmarks/RESULTS.md}
[ -f "$results" ] || cp benchmarks/RESULTS.md "$results"
exec timeout --kill-after=5 590 "${PYTHON:-python3}" -m benchmarks gpu \
  --data "$data" --results "$results" --device "${DEVICE:-cuda}" ${TOY:+--toy}
