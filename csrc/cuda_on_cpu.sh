#!/usr/bin/env bash
# Run the operators' tests on the kernels for CUDA, compiled for the CPU and under the sanitizers; needs neither nvcc nor a GPU.
# Leaves out tests of what is not in those kernels: the module for NumPy, and how libraries are found.
set -euo pipefail
cd "$(dirname "$0")"
DEEPMIX_TEST_CUDA_ON_CPU=1 ./sanitize.sh --ignore tests/ops/test_kernels_loader.py \
    --deselect tests/ops/test_op_component_log_prob.py::test_numpy_callers_get_the_same \
    --deselect tests/ops/test_op_registration.py::test_only_compiling_imports_the_compiler "$@"
