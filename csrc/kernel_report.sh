#!/usr/bin/env bash
# Print, for each CUDA kernel on 32-bit numbers: registers, bytes of local memory (stack and spills), and how many of its
# reads of global memory are how wide. The argument is the architecture. This needs nvcc, but no GPU.
set -euo pipefail
cd "$(dirname "$0")/cuda"
architecture="${1:-90}"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags=(-O3 -std=c++20 --extended-lambda --expt-relaxed-constexpr "-gencode=arch=compute_$architecture,code=sm_$architecture")
for source in *.cu; do
    nvcc "${flags[@]}" -Xptxas -v -c "$source" -o "$out/object.o" 2>"$out/registers"
    nvcc "${flags[@]/code=sm_/code=compute_}" -ptx "$source" -o "$out/ptx"
    "${PYTHON:-python}" - "$source" "$out" <<'PYTHON'
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

source, out = sys.argv[1], Path(sys.argv[2])


def lines(file: str) -> list[str]:
    text = subprocess.run(["c++filt"], input=(out / file).read_text(), capture_output=True, text=True, check=True).stdout
    return re.sub(r"void |deepmix::cuda::|\(anonymous namespace\)::", "", text).splitlines()


widths: dict[str, Counter[int]] = {}
for line in lines("ptx"):
    if entry := re.search(r"\.entry (.*?)\(", line):
        reads = widths.setdefault(entry[1], Counter())
    elif read := re.search(r"\bld\.global[\w.]*?(?:\.v(\d))?\.[a-z](\d+)\b", line):
        reads[int(read[1] or 1) * int(read[2]) // 8] += 1
name, local = "", (0, 0)
for line in lines("registers"):
    if entry := re.search(r"Compiling entry function '(.*?)\(", line):
        name = entry[1]
    elif stack := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", line):
        local = int(stack[1]), int(stack[2])
    elif (used := re.search(r"Used (\d+) registers", line)) and "double" not in name:
        shown = ", ".join(f"{count} of {width} B" for width, count in sorted(widths[name].items(), reverse=True))
        print(f"| {source} | `{name}` | {used[1]} | {local[0]} + {local[1]} | {shown} |")
PYTHON
done
