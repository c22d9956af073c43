"""Wrong uses of the command line, each with its exit status and words of its sentence.

The tests run all of them inside one process. This runs every one as a command of its own:

    python -m tests.cli.wrong_uses
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

DEEP = "[" * 100_000


class WrongUse(NamedTuple):
    """A command that deepmix refuses."""

    words: str
    """The command's words after `deepmix`, as a shell reads them."""
    status: int
    """1 where something fails, 2 where the request can't be met as it is."""
    sentence: str
    """Words of the message, which names the cause."""


USES: tuple[WrongUse, ...] = (
    WrongUse("train --model mvea", 2, "unknown model 'mvea'"),
    WrongUse('train --model ""', 2, "unknown model ''"),
    WrongUse("train --seeds 2 --jobs 0", 2, "0 is not in the range x>=1"),
    WrongUse("train --seeds 2 --jobs 3", 2, "--jobs 3 needs at least 3 seeds"),
    WrongUse("train --jobs 2", 2, "--jobs 2 needs at least 2 seeds"),
    WrongUse("train --prior gm", 2, "unknown prior 'gm'"),
    WrongUse("train --posterior nope", 2, "unknown posterior estimator 'nope'"),
    WrongUse("train --encoder nope", 2, "unknown encoder 'nope'"),
    WrongUse("train --decoder nope", 2, "unknown decoder 'nope'"),
    WrongUse("train --init magic", 2, "unknown initializer 'magic'"),
    WrongUse("train --head dbscan", 2, "unknown head 'dbscan'"),
    WrongUse('train --head ""', 2, "unknown head ''"),
    WrongUse("train --dataset missing.csv", 2, "there is no file 'missing.csv'"),
    WrongUse('train --dataset ""', 2, "--dataset must name a data set, a file or a folder, got ''"),
    WrongUse("train --dataset nope", 2, "unknown data set or file 'nope'"),
    WrongUse("train --dataset empty.csv", 2, "'empty.csv' is empty"),
    WrongUse("train --dataset folder", 2, "has no images (.png, .jpg, .jpeg)"),
    WrongUse("train --dataset text.doc", 2, "'text.doc' is not a kind of file deepmix reads"),
    WrongUse("train --dataset broken.npy", 1, "can't be read (the magic string is not correct"),
    WrongUse("train --dataset broken.npz", 1, "can't be read (File is not a zip file)"),
    WrongUse(
        "train --dataset broken.parquet",
        1,
        "can't be read (Parquet magic bytes not found in footer. Either the file is",
    ),
    WrongUse("train --dataset broken.xlsx", 1, "can't be read (File is not a zip file)"),
    WrongUse("train --dataset objects.npy --components 2", 2, "the data holds Python objects"),
    WrongUse(
        "train --dataset void.npy --components 2 --label-column y",
        2,
        "the data must be numbers, got an array of type |V0",
    ),
    WrongUse("train --dataset wide.csv --components 2", 2, "line 1 of 'wide.csv' has more than 250,000 cells"),
    WrongUse("train --dataset ragged.csv --components 2", 2, "in 'ragged.csv', line 2 has 2 cells and the first has 3"),
    WrongUse(
        "train --dataset latin.csv --components 2",
        2,
        "in 'latin.csv', line 1 is not UTF-8 ('naïve' in Windows' Latin-1)",
    ),
    WrongUse("train --dataset t.csv", 2, "the number of clusters is unknown, as there are no labels"),
    WrongUse("train --dataset t.csv --label-column ²", 2, "there is no label column '²'"),
    WrongUse(
        "train --dataset t.csv --label-column 99999999999999999999999999999999",
        2,
        "there is no label column '99999999999999999999999999999999'",
    ),
    WrongUse("train --dataset t.csv --label-column 0", 2, "there is no label column '0'"),
    WrongUse("train --dataset t.csv --label-column -1", 2, "there is no label column '-1'"),
    WrongUse("train --dataset a.npy --label-column ² --components 2", 2, "there is no label column '²'"),
    WrongUse("train --dataset digits --label-column y", 2, "--label-column is for files"),
    WrongUse("train --dataset hostile.csv --label-column nope", 2, "there is no label column 'nope'"),
    WrongUse(
        "train --dataset mnist", 2, "data set 'mnist' is read from mnist.npz in a data folder, or fetched into one"
    ),
    WrongUse("train --dataset mnist --data-dir nowhere", 2, "does not exist"),
    WrongUse(
        "train --dataset mnist --data-dir folder --set download=false",
        2,
        ": train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz,",
    ),
    WrongUse("train --components 1", 2, "--components must be at least 2, got 1: one cluster would hold every row"),
    WrongUse("train --components 0", 2, "--components must be at least 1, got 0"),
    WrongUse("train --components -3", 2, "--components must be at least 1, got -3"),
    WrongUse(
        "train --components many", 2, "--components must be a whole number, auto or a range such as 2:20, got 'many'"
    ),
    WrongUse("train --components 3:2", 2, "the range of --components must go up from at least 1, got 3:2"),
    WrongUse("train --components 2:", 2, "--components must be a whole number, auto or a range such as 2:20, got '2:'"),
    WrongUse("train --components ²", 2, "--components must be a whole number, auto or a range such as 2:20, got '²'"),
    WrongUse(
        "train --components 99999999999999999999999999999999",
        2,
        "--components must be a whole number of at most 18 digits, got '99999999999999999999999999999999'",
    ),
    WrongUse("train --latent-dim 0", 2, "--latent-dim must be at least 1, got 0"),
    WrongUse("train --latent-dim ten", 2, "Invalid value for '--latent-dim': 'ten' is not a valid integer."),
    WrongUse(
        "train --assignment medium", 2, "Invalid value for '--assignment': 'medium' is not one of 'soft', 'hard'."
    ),
    WrongUse("train --beta nan", 2, "--beta must be at least 0 and finite, got nan"),
    WrongUse("train --beta -1", 2, "--beta must be at least 0 and finite, got -1.0"),
    WrongUse("train --epochs 0", 2, "--epochs must be at least 1, got 0"),
    WrongUse("train --epochs 1e3", 2, "Invalid value for '--epochs': '1e3' is not a valid integer."),
    WrongUse("train --pretrain-epochs -1", 2, "--pretrain-epochs must be at least 0, got -1"),
    WrongUse("train --batch-size 0", 2, "--batch-size must be at least 1, got 0"),
    WrongUse("train --lr 0", 2, "--lr must be above 0, got 0.0"),
    WrongUse("train --lr nan", 2, "--lr must be above 0, got nan"),
    WrongUse("train --set anchor", 2, "--set takes key=value, got 'anchor'"),
    WrongUse("train --set anchor=much", 2, "--set anchor must be a number, got 'much'"),
    WrongUse("train --set anchr=3", 2, "unknown option 'anchr'"),
    WrongUse("train --set =3", 2, "--set takes key=value, got '=3'"),
    WrongUse("train --set hidden=64", 2, "option 'hidden' belongs to several parts"),
    WrongUse(
        "train --set encoder.hidden=0", 2, "--set encoder.hidden must be 'auto' or widths such as 500-500-2000, got '0'"
    ),
    WrongUse(
        "train --set encoder.hidden=99999999999999999999999",
        2,
        "the widths in hidden must be at most 10,000,000",
    ),
    WrongUse("train --seed -1", 2, "--seed must be at least 0 and at most 4294967295, got -1"),
    WrongUse(
        "train --seed 99999999999999999999999",
        2,
        "--seed must be at least 0 and at most 4294967295, got 99999999999999999999999",
    ),
    WrongUse("train --seeds 0", 2, "Invalid value for '--seeds': 0 is not in the range 1<=x<=100000."),
    WrongUse(f"train --seeds {'9' * 23}", 2, "is not in the range 1<=x<=100000."),
    WrongUse(f"train --latent-dim {'9' * 23}", 2, "--latent-dim must be a whole number of at most 18 digits"),
    WrongUse(f"train --set latent_dim={'9' * 18}", 1, "a model of these sizes does not fit into memory; choose"),
    WrongUse("train --seed 1 --seeds 2", 2, "--seed and --seeds exclude each other"),
    WrongUse("train --device warp", 2, "device 'warp' can't be used here"),
    WrongUse("train --device cuda", 2, "device 'cuda' can't be used here"),
    WrongUse("train --config none.json", 2, "the configuration 'none.json' can't be read (No such file or directory)"),
    WrongUse("train --config deep.json", 2, "the configuration 'deep.json' can't be read (it is nested too deep)"),
    WrongUse("train --config list.json", 2, "the configuration 'list.json' must be a table of options"),
    WrongUse(
        "train --config broken.toml",
        2,
        "the configuration 'broken.toml' can't be read (Expected ']' at the end of a table",
    ),
    WrongUse("train --columns none.toml --dataset t.csv", 2, "there is no file 'none.toml'"),
    WrongUse(
        "train --columns broken.toml --dataset t.csv",
        2,
        "the schema 'broken.toml' can't be read (Expected ']' at the end of a table",
    ),
    WrongUse("train --column age --dataset t.csv", 2, "--column 'age' can't be read"),
    WrongUse("train --column age=colour --dataset t.csv", 2, "unknown kind 'colour' of column 'age'"),
    WrongUse("train --column nope=count --dataset t.csv", 2, "there is no column 'nope'"),
    WrongUse("train --drop nope --dataset t.csv", 2, "there is no column 'nope'"),
    WrongUse("train --resume", 2, "--resume needs the run folder"),
    WrongUse("train --resume --out empty", 2, "'empty' is not a run folder: it has no config.json"),
    WrongUse("train --resume --out run --lr 0.1", 2, "--resume takes its options from the run folder"),
    WrongUse("train --out run", 2, "'run' exists"),
    WrongUse("train --out t.csv", 2, "'t.csv' exists"),
    WrongUse("train --dataset nowhere.csv --out run", 2, "'run' exists"),
    WrongUse(
        "train --out mine --overwrite", 2, "'mine' is not overwritten, because deepmix did not write 'thesis.txt' in it"
    ),
    WrongUse("train --nope", 2, "No such option '--nope'."),
    WrongUse("train extra", 2, "Got unexpected extra argument (extra); name the data with --dataset"),
    WrongUse("predict", 2, "Missing argument 'RUN'."),
    WrongUse("predict run", 2, "Missing argument 'DATA'."),
    WrongUse("predict nowhere t.csv", 2, "'nowhere' is not a run folder: it has no config.json"),
    WrongUse("predict empty t.csv", 2, "'empty' is not a run folder: it has no config.json"),
    WrongUse("predict t.csv t.csv", 2, "'t.csv' is not a run folder: it has no config.json"),
    WrongUse("predict run missing.csv", 2, "there is no file 'missing.csv'"),
    WrongUse("predict run a.npy", 2, "the rows have 6 column(s) and the run was trained on 2"),
    WrongUse("predict array t.csv", 2, "'t.csv' has columns that are not numbers: 'city' (row 1: 'os')"),
    WrongUse("predict array ragged.csv", 2, "in 'ragged.csv', line 2 has 2 cells and the first has 3"),
    WrongUse("predict run t.csv -o out.doc", 2, "'out.doc' does not have a suffix that can be written here"),
    WrongUse("predict run t.csv -o nowhere/out.csv", 2, "there is no folder 'nowhere'"),
    WrongUse("predict run t.csv -o t.csv", 2, "'t.csv' exists"),
    WrongUse("predict run t.csv --head kmeans", 2, "the run has no head 'kmeans'"),
    WrongUse("predict run t.csv --outliers 2", 2, "--outliers must be at least 0 and below 1, got 2.0"),
    WrongUse("predict run t.csv --outliers nan", 2, "--outliers must be at least 0 and below 1, got nan"),
    WrongUse("predict run t.csv --id-column nope", 2, "there is no column 'nope' in 't.csv'"),
    WrongUse("predict run t.csv --device warp", 2, "device 'warp' can't be used here"),
    WrongUse("embed run a.npy", 2, "the rows have 6 column(s) and the run was trained on 2"),
    WrongUse("embed nowhere a.npy", 2, "'nowhere' is not a run folder: it has no config.json"),
    WrongUse("impute array a.npy", 2, "the run was trained on an array without missing values"),
    WrongUse("impute run t.csv --interval 2", 2, "--interval must be between 0 and 1, got 2.0"),
    WrongUse("impute run t.csv --interval nan", 2, "--interval must be between 0 and 1, got nan"),
    WrongUse("impute run t.csv --seed -1", 2, "Invalid value for '--seed': -1 is not in the range 0<=x<=4294967295."),
    WrongUse("sample run --component 9", 2, "there is no component 9"),
    WrongUse("sample run --component -1", 2, "there is no component -1"),
    WrongUse("sample run -n 0", 2, "the number of rows to sample must be at least 1, got 0"),
    WrongUse("sample run -n -5", 2, "the number of rows to sample must be at least 1, got -5"),
    WrongUse("sample array --shape ²x3 --png x.png", 2, "--shape ²x3 is not an image of 6 values"),
    WrongUse("sample array --shape 2x --png x.png", 2, "--shape 2x is not an image of 6 values"),
    WrongUse("sample array --shape 99999999999x1 --png x.png", 2, "--shape 99999999999x1 is not an image of 6 values"),
    WrongUse("sample run --png x.png", 2, "the run was trained on a table, whose rows are neither images nor an array"),
    WrongUse("sample array --minimum-posterior 2", 2, "the minimum posterior must be at least 0 and below 1, got 2.0"),
    WrongUse("evaluate nowhere", 2, "'nowhere' is not a run folder: it has no config.json"),
    WrongUse("evaluate run --head nope", 2, "unknown head 'nope'"),
    WrongUse("evaluate run --dataset nope", 2, "unknown data set or file 'nope'"),
    WrongUse("evaluate run --dataset a.npy", 2, "the run was trained on a table, and 'a.npy' is an array"),
    WrongUse("evaluate array --label-column ²  --dataset a.npy", 2, "there is no label column '²'"),
    WrongUse("compare run nowhere", 2, "'nowhere' is not a run folder: it has no config.json"),
    WrongUse(
        "compare run array --metric love", 2, "Invalid value for '--metric': 'love' is not one of 'acc', 'nmi', 'ari',"
    ),
    WrongUse("compare run array --plot x.doc", 2, "'x.doc' does not have a suffix that can be written here"),
    WrongUse(
        "export run --format torch-export",
        2,
        "the run was trained on a table, whose columns an exported model can't prepare",
    ),
    WrongUse(
        "export array --format jpeg", 2, "Invalid value for '--format': 'jpeg' is not one of 'onnx', 'torch-export'."
    ),
    WrongUse("report nowhere", 2, "'nowhere' is not a run folder: it has no config.json"),
    WrongUse("report array --dataset missing.npy", 2, "there is no file 'missing.npy'"),
    WrongUse("inspect missing.csv", 2, "there is no file 'missing.csv'"),
    WrongUse("inspect a.npy", 2, "'a.npy' is not a table file"),
    WrongUse("inspect folder", 2, "'folder' is a folder"),
    WrongUse("inspect t.csv --json --toml", 2, "--json and --toml exclude each other"),
    WrongUse("inspect t.csv --label-column nope", 2, "there is no column 'nope'"),
    WrongUse("bench --device tpu", 2, "Invalid value for '--device': 'tpu' is not one of 'cpu', 'cuda', 'all'."),
    WrongUse("bench --model nope", 2, "unknown model 'nope'"),
    WrongUse("completion tcsh", 2, "Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of 'bash', 'zsh', 'fish'."),
    WrongUse("reproduce nope", 2, "unknown table 'nope'"),
    WrongUse("reproduce vade-figure-2 --datasets digts", 2, "unknown data set or file 'digts'"),
    WrongUse("reproduce vade-figure-2 --seeds 0", 2, "Invalid value for '--seeds': 0 is not in the range x>=1."),
    WrongUse("plugin new ring", 2, "Missing option '--kind'"),
    WrongUse("plugin new ring --kind priors", 2, "'priors' is not one of 'model', 'encoder'"),
    WrongUse("plugin new mixture --kind prior", 2, "prior 'mixture' exists already, in deepmix"),
    WrongUse("plugin new deepmix-ring --kind prior", 2, "leave 'deepmix-' out of 'deepmix-ring'"),
    WrongUse("plugin new Ring --kind prior", 2, "'Ring' can't be the name of a plugin; use lower-case letters"),
    WrongUse("plugin check nope", 2, "unknown plugin or distribution 'nope'"),
    WrongUse("plugin check mixture standard", 2, "unexpected extra argument (standard)"),
    WrongUse("plugins --describe nope", 2, "unknown distribution of plugins 'nope'"),
    WrongUse("nope", 2, "No such command 'nope'."),
)


def write_files(folder: Path, deepmix: Callable[..., object]) -> None:
    """Write the files and runs that the commands name.

    Args:
        folder: an empty folder.
        deepmix: runs a command in that folder.

    """
    random = np.random.default_rng(0)
    header = b"{'descr': '|V0', 'fortran_order': False, 'shape': (99999999999,), }\n"
    files = {
        "t.csv": "age,city,kind\n" + "".join(f"{20 + i % 37},{'ro' if i % 3 else 'os'},{i % 2}\n" for i in range(40)),
        "hostile.csv": "\x1b[31mred,=1+1\n" + "1,2\n3,1\n" * 10,
        "empty.csv": "",
        "ragged.csv": "1,2,3\n4,5\n" * 5,
        "text.doc": "words",
        "broken.toml": "[columns\n",
        "list.json": "[1]",
        "deep.json": DEEP,
        "wide.csv": "1," * 300_000 + "1\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "latin.csv").write_bytes("na\u00efve,b\n1,2\n2,3\n".encode("latin-1"))
    for suffix in ("npy", "npz", "parquet", "xlsx"):
        (folder / f"broken.{suffix}").write_bytes(b"PK\x03\x04 this is not the file that it says it is")
    (folder / "void.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    np.save(folder / "a.npy", random.normal(size=(40, 6)))
    np.save(folder / "objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    for name in ("folder", "empty", "mine"):
        (folder / name).mkdir()
    (folder / "folder" / "notes.txt").write_text("notes")
    (folder / "mine" / "thesis.txt").write_text("all my work")
    small = ("--components", "2", "--set", "encoder.hidden=8", "--set", "decoder.hidden=8", "--latent-dim", "2")
    short = ("--init", "kmeans", "--epochs", "1", "--pretrain-epochs", "1", "--quiet", "--no-report")
    deepmix("train", "--dataset", "t.csv", "--label-column", "kind", "--out", "run", *small, *short)
    deepmix("train", "--dataset", "a.npy", "--out", "array", *small, *short)


def environment() -> dict[str, str]:
    """Return the environment of a command: no data folder and one thread."""
    outer = {key: value for key, value in os.environ.items() if key != "DEEPMIX_DATA"}
    return outer | {"OMP_NUM_THREADS": "1", "COLUMNS": "110"}


def run_command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of its own in a folder."""
    command = [sys.executable, "-m", "deepmix", *words]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def fault_of(use: WrongUse, status: int, output: str, errors: str) -> str | None:
    """Return what is wrong with the answer to a wrong use; None if it is a sentence with the right status."""
    sentence = " ".join(errors.split())
    if status != use.status:
        return f"status {status} in place of {use.status}: {sentence[:300]}"
    if "Traceback" in errors or "Error: " not in errors:
        return f"no sentence: {errors[-300:]}"
    if use.sentence not in sentence:
        return f"'{use.sentence}' is not in: {sentence[:300]}"
    if output:
        return f"standard output is not empty: {output[:100]}"
    return "a control character reaches the terminal" if "\x1b" in errors else None


def contents(folder: Path) -> dict[str, int]:
    """Return the files of a folder with their sizes."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def main() -> int:
    """Run every wrong use as a command of its own; return how many have a wrong answer."""
    n_wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, lambda *words: run_command(folder, *words).check_returncode())
        before = contents(folder)
        for use in USES:
            process = run_command(folder, *shlex.split(use.words))
            fault = fault_of(use, process.returncode, process.stdout, process.stderr)
            if fault is None and contents(folder) != before:
                fault = f"it left {sorted(set(contents(folder)) - set(before))}"
            n_wrong += fault is not None
            print(f"{'ok   ' if fault is None else 'WRONG'} deepmix {use.words}{'' if fault is None else f': {fault}'}")
    print(f"{len(USES)} wrong uses, {len(USES) - n_wrong} ended in their sentence and left nothing")
    return n_wrong


if __name__ == "__main__":
    sys.exit(main() and 1)
