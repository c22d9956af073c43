"""`python -m tests.fuzz`: run the fuzzer and record what it did."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from tests.fuzz.fuzzing import Tally, fuzz


def main() -> int:
    """Run the cases; return 1 if there were findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Feed every reader with damaged files.")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--target", action="append", default=[], help="only this reader; may be repeated")
    parser.add_argument("--minutes", type=float, help="stop after this time")
    parser.add_argument("--memory", type=float, default=4.0, help="address space in GB, so that a huge request fails")
    parser.add_argument("--keep", type=Path, help="folder for the files of the findings, one per kind")
    parser.add_argument("--log", type=Path, help="file for the tally, as JSON")
    arguments = parser.parse_args()
    limit = int(arguments.memory * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    start, n_shown, tally = time.monotonic(), 0, Tally()
    for n_done, tally in enumerate(
        fuzz(arguments.cases, arguments.seed, first=arguments.first, names=arguments.target), start=1
    ):
        for finding in tally.findings[n_shown:]:
            seen = {(earlier.target, earlier.kind) for earlier in tally.findings[:n_shown]}
            n_shown += 1
            if (finding.target, finding.kind) in seen:
                continue
            print(f"case {finding.case}, {finding.target}: {finding.kind}\n{finding.text}", flush=True)
            if arguments.keep:
                arguments.keep.mkdir(exist_ok=True)
                (arguments.keep / f"{finding.case}-{finding.target}").write_bytes(finding.content)
        seconds = time.monotonic() - start
        over = arguments.minutes is not None and seconds > 60 * arguments.minutes
        if arguments.log and (n_done % 10_000 == 0 or over):
            _log(arguments.log, tally, seconds)
        if over:
            break
    seconds = time.monotonic() - start
    if arguments.log:
        _log(arguments.log, tally, seconds)
    print(f"{tally.n_cases:,} cases, {len(tally.findings)} findings, {seconds:.0f} s")
    return 1 if tally.findings else 0


def _log(path: Path, tally: Tally, seconds: float) -> None:
    names = sorted({*tally.results, *tally.refusals})
    counts = {name: {"read": tally.results[name], "refused": tally.refusals[name]} for name in names}
    kinds = [{"case": f.case, "target": f.target, "kind": f.kind} for f in tally.findings[:200]]
    content = {
        "command": " ".join(["python -m tests.fuzz", *sys.argv[1:]]), "cases": tally.n_cases, "seconds": round(seconds),
        "findings": len(tally.findings), "first_findings": kinds, "targets": counts,
    }  # fmt: skip
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
