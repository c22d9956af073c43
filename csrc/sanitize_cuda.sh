#!/usr/bin/env bash
# Run every operator on a GPU under compute-sanitizer: memcheck finds accesses out of bounds, racecheck finds threads
# that use shared memory at once. This needs a GPU, nvcc and compute-sanitizer.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python}"
"$python" -m tests.ops.every_operator # compiles the kernels, which would take long under the sanitizer
for tool in memcheck racecheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 1 "$python" -m tests.ops.every_operator
done
