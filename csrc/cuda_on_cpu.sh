#!/usr/bin/env bash
# Run the operators' tests on the kernels for CUDA, compiled for the CPU and under the sanitizers; needs neither nvcc nor a GPU.
# Leaves out the tests of how libraries are found, which these kernels have no part in.
set -euo pipefail
cd "$(dirname "$0")"
DEEPMIX_TEST_CUDA_ON_CPU=1 ./sanitize.sh --ignore tests/ops/test_kernels_loader.py \
    --deselect tests/ops/test_op_registration.py::test_only_compiling_imports_the_compiler "$@"
