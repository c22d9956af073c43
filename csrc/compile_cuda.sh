#!/usr/bin/env bash
# Compile every CUDA source with warnings as errors, for the architectures that are named (80 100), or for all. This needs
# nvcc and torch, but no GPU.
set -euo pipefail
cd "$(dirname "$0")"
python="${PYTHON:-python}"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
include=$("$python" -c 'import torch.utils.cpp_extension as e; print(" ".join(f"-isystem {p}" for p in e.include_paths()))')
architectures=$(printf '"%s",' "$@")
[ $# -gt 0 ] && architectures="[$architectures]" || architectures=""
flags() { "$python" -c "import runpy; print(' '.join(runpy.run_path('../deepmix/kernels/build.py')$1))"; }
compile() { # one source
    # shellcheck disable=SC2046,SC2086
    nvcc $(flags "[\"cuda_flags\"]($architectures)") -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror,-fPIC -c "$1" -o "$out/$(basename "$1").o"
    echo "$1: compiled"
}
export python out architectures
export -f flags compile
printf '%s\n' cuda/*.cu | xargs -P "$(nproc)" -I{} bash -euc 'compile {}'
cuda_include=$(dirname "$(find -L "$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")" -name cuda_runtime.h -print -quit)")
# shellcheck disable=SC2046,SC2086
"${CXX:-c++}" $(flags '["cpp_flags"](with_cuda=True)') -Werror -fPIC $include -isystem "$cuda_include" -c cuda/register_cuda.cpp -o "$out/object.o"
echo "cuda/register_cuda.cpp: compiled"
