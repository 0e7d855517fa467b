#!/bin/sh
# What needs a GPU, in under ten minutes: tests, then the banks of Location-30 and CIFAR-10.
#   benchmarks/gpu.sh FOLDER    with dataset_location.tgz, cifar10.npz and cscores.npz in it
set -eu
data=$1
python3 -m pytest -q -p no:cacheprovider -m gpu tests/test_gpu.py
python3 -m benchmarks.location30 --data "$data/dataset_location.tgz" --device cuda --workers "${WORKERS:-8}"
python3 -m benchmarks.cifar10 --data "$data/cifar10.npz" --cscores "$data/cscores.npz" --device cuda --models "${MODELS:-32}"
