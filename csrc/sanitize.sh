#!/usr/bin/env bash
# Run the CPU operator tests under AddressSanitizer and UndefinedBehaviorSanitizer.
# The arguments go to pytest. Large shapes and registration checks are left out, because they only repeat the same code,
# and so is the peak-memory test, because the sanitizers use a lot of memory themselves. LEFT_OUT names further tests.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python}"
compiler="${CXX:-c++}"
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
checks="-O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -Werror"
left_out="compiles opcheck gradcheck gradgrad too_large 65536 20000 30001 300001 peak_memory ${LEFT_OUT:-}"
chosen=$(printf 'not %s and ' $left_out)
chosen=${chosen% and }
# torch's builder calls this script as its compiler, so the flags reach both compiling and linking.
printf '#!/bin/sh\nexec %s "$@" %s\n' "$compiler" "$checks" > "$cache/sanitizing-c++"
chmod +x "$cache/sanitizing-c++"
export CXX="$cache/sanitizing-c++" TORCH_EXTENSIONS_DIR="$cache" DEEPMIX_BUILD=cpu
LD_PRELOAD="$("$compiler" -print-file-name=libasan.so) $("$compiler" -print-file-name=libstdc++.so)" \
    ASAN_OPTIONS="detect_leaks=0:new_delete_type_mismatch=0" UBSAN_OPTIONS="print_stacktrace=1" \
    "$python" -m pytest -q -p no:cacheprovider tests/ops -k "$chosen" "$@"
