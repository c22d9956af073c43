"""The sources use nothing that runs code hidden in data, and nothing that unpacks an archive to the disk."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for place in ("deepmix", "plugins", "benchmarks") for path in (ROOT / place).rglob("*.py"))
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
"""Modules that load objects, and so run code, from data."""
METHODS = {"read_pickle", "to_pickle", "extract", "extractall", "unpack_archive", "system", "popen", "set_trace"}
"""Functions of other modules that do, that write where an archive says, or that start a shell."""
BUILTINS = {"eval", "exec", "compile", "__import__"}
NUMPY_READERS = {("np", "load"), ("numpy", "load"), ("format", "read_array")}


def complaints(source: str) -> list[str]:
    """Return what a file uses that it must not, with the line."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            wrong += [f"line {node.lineno}: import of {name}" for name in names if name.split(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        if isinstance(node.func, ast.Name) and node.func.id in BUILTINS:
            wrong.append(f"line {node.lineno}: {node.func.id}")
        if keywords.get("shell"):
            wrong.append(f"line {node.lineno}: a shell")
        if not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, getattr(node.func.value, "id", getattr(node.func.value, "attr", ""))
        if name in METHODS and owner != "re":
            wrong.append(f"line {node.lineno}: {owner}.{name}")
        if (owner, name) in NUMPY_READERS and keywords.get("allow_pickle", True) is not False:
            wrong.append(f"line {node.lineno}: {owner}.{name} without allow_pickle=False")
        if ast.unparse(node.func) in {"torch.load", "torch.save", "torch.jit.load"}:
            wrong.append(f"line {node.lineno}: {owner}.{name}")
        if (owner, name) in {("np", "save"), ("np", "savez")} and keywords.get("allow_pickle"):
            wrong.append(f"line {node.lineno}: {owner}.{name} with pickle")
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_runs_code_from_data(path):
    assert complaints(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "import torch; torch.load('x')",
        "import torch; torch.load('x', weights_only=True)",
        "import numpy as np; np.load('x')",
        "import numpy as np; np.load('x', allow_pickle=True)",
        "np.lib.format.read_array(file)",
        "pd.read_pickle('x')",
        "archive.extractall('.')",
        "eval('1')",
        "subprocess.run('ls', shell=True)",
        "os.system('ls')",
    ],
)
def test_a_line_that_does_is_seen(line):
    assert len(complaints(line)) == 1
    assert complaints("import re; re.compile('x'); np.load('x', allow_pickle=False); archive.extractfile('x')") == []


def test_commands_print_through_one_door():
    """`click.echo`, `print` and rich's own text would let control characters reach the terminal."""
    for path in sorted((ROOT / "deepmix" / "cli").rglob("*.py")):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                owner = getattr(node.value, "id", "")
                assert (owner, node.attr) not in {("click", "echo"), ("click", "secho")}, f"{path}, line {node.lineno}"
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"print", "Text"}:
                raise AssertionError(f"{path}, line {node.lineno}: {node.func.id}")  # type: ignore[attr-defined]
