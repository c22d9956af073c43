#!/usr/bin/env bash
# Run the operators' tests under the sanitizers on the CUDA kernels, compiled for the CPU. This needs neither nvcc nor a
# GPU. The tests of how libraries are found and loaded are left out, because these kernels play no part in them.
set -euo pipefail
cd "$(dirname "$0")"
# 1,000 components of 64 dimensions take half a minute a test, because threads run in turn.
DEEPMIX_TEST_CUDA_ON_CPU=1 LEFT_OUT="1000-64 1000-M64" ./sanitize.sh --ignore tests/ops/test_kernels_loader.py \
    --deselect tests/ops/test_op_registration.py::test_only_compiling_imports_the_compiler "$@"
