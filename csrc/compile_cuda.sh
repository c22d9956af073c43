#!/usr/bin/env bash
# Compile every CUDA source for every architecture, with warnings as errors. This needs nvcc and torch, but no GPU.
set -euo pipefail
cd "$(dirname "$0")"
python="${PYTHON:-python}"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
include=$("$python" -c 'import torch.utils.cpp_extension as e; print(" ".join(f"-isystem {p}" for p in e.include_paths()))')
flags() { "$python" -c "import runpy; print(' '.join(runpy.run_path('../deepmix/kernels/build.py')$1))"; }
for source in cuda/*.cu; do
    # shellcheck disable=SC2046,SC2086
    nvcc $(flags '["cuda_flags"]()') -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror,-fPIC -c "$source" -o "$out/object.o"
    echo "$source: compiled"
done
cuda_include=$(dirname "$(find -L "$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")" -name cuda_runtime.h -print -quit)")
# shellcheck disable=SC2046,SC2086
"${CXX:-c++}" $(flags '["cpp_flags"](with_cuda=True)') -Werror -fPIC $include -isystem "$cuda_include" -c cuda/register_cuda.cpp -o "$out/object.o"
echo "cuda/register_cuda.cpp: compiled"
