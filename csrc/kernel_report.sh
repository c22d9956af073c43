#!/usr/bin/env bash
# Print, for each CUDA kernel on 32-bit numbers or bfloat16: how many of its reads of global memory are how wide, and for
# each architecture its registers and, after a plus, bytes of local memory (stack or spills, whichever is more). The
# arguments are architectures, by default all that are supported. This needs nvcc, but no GPU.
set -euo pipefail
cd "$(dirname "$0")/cuda"
architectures=("$@")
[ $# -gt 0 ] || architectures=(80 86 89 90 100)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags=(-O3 -std=c++20 --extended-lambda --expt-relaxed-constexpr)
codes=()
for architecture in "${architectures[@]}"; do
    codes+=("-gencode=arch=compute_$architecture,code=sm_$architecture")
done
echo "| source | kernel | reads of global memory |$(printf ' sm_%s |' "${architectures[@]}")"
echo "|---|---|---|$(printf -- '---:|%.0s' "${architectures[@]}")"
for source in *.cu; do
    nvcc "${flags[@]}" "${codes[@]}" -Xptxas -v -c "$source" -o "$out/object.o" 2>"$out/registers"
    nvcc "${flags[@]}" "-arch=compute_${architectures[0]}" -ptx "$source" -o "$out/ptx"
    "${PYTHON:-python}" - "$source" "$out" "${architectures[@]}" <<'PYTHON'
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

source, out, architectures = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]


def lines(file: str) -> list[str]:
    text = subprocess.run(["c++filt"], input=(out / file).read_text(), capture_output=True, text=True, check=True).stdout
    return re.sub(r"void |deepmix::(cuda::)?|\(anonymous namespace\)::", "", text).splitlines()


widths: dict[str, Counter[int]] = {}
for line in lines("ptx"):
    if entry := re.search(r"\.entry (.*?)\(", line):
        reads = widths.setdefault(entry[1], Counter())
    elif read := re.search(r"\bld\.global[\w.]*?(?:\.v(\d))?\.[a-z](\d+)\b", line):
        reads[int(read[1] or 1) * int(read[2]) // 8] += 1
uses: dict[str, dict[str, str]] = {}
name, architecture, local = "", "", 0
for line in lines("registers"):
    if entry := re.search(r"Compiling entry function '(.*?)\(.*' for 'sm_(\d+)", line):
        name, architecture = entry[1], entry[2]
    elif stack := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", line):
        local = max(int(stack[1]), int(stack[2]))
    elif used := re.search(r"Used (\d+) registers", line):
        uses.setdefault(name, {})[architecture] = used[1] + (f" + {local}" if local else "")
for name, registers in uses.items():
    if "double" in name:
        continue
    reads = ", ".join(f"{count} of {width} B" for width, count in sorted(widths[name].items(), reverse=True))
    print(f"| {source} | `{name}` | {reads} | {' | '.join(registers.get(one, '') for one in architectures)} |")
PYTHON
done
