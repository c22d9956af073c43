"""The packages of the core, its rooms, lie on floors; a room imports only what the rooms of lower floors list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import deepmix

CORE = Path(deepmix.__file__).parent
FLOORS = (
    ("errors", "maths"),
    ("kernels", "data", "metrics"),
    ("contracts",),
    ("models", "runs", "testing"),
    ("training",),
    ("experiment",),
    ("inference", "bench"),
    ("estimator", "report"),
    ("reproduce",),
    ("cli",),
    ("__main__", "__init__"),
)
"""The rooms of each floor, from the ground up."""
WITHIN_A_FLOOR = {
    "maths": {"errors"},
    "data": {"metrics"},
    "testing": {"models"},
}
"""The rooms on its own floor that a room may import."""
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path for path in CORE.rglob("*.py*") if path.suffix in (".py", ".pyi") and "csrc" not in path.parts)
MOST_ENTRIES = 20


def room_of(path: Path, core: Path = CORE) -> str:
    return path.relative_to(core).parts[0].removesuffix(".py").removesuffix(".pyi")


def imports_of(path: Path) -> list[tuple[int, str, list[str]]]:
    """Return (line, module, names) of every absolute import of the core, wherever it stands in the file."""
    imports = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imports += [(node.lineno, alias.name, []) for alias in node.names if alias.name.startswith("deepmix.")]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "deepmix":
            names = [alias.name for alias in node.names]
            if node.module == "deepmix":
                imports += [(node.lineno, f"deepmix.{name}", []) for name in names]
            else:
                imports.append((node.lineno, str(node.module), names))
    return imports


def listed_names(room: str) -> set[str] | None:
    """Return the names that a room's `__init__.pyi` lists; None if the room is a single module."""
    door = CORE / room / "__init__.pyi"
    if not door.is_file():
        return None
    nodes = [node for node in ast.walk(ast.parse(door.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in nodes for alias in node.names}


def complaints(path: Path, core: Path = CORE) -> list[str]:
    """Return the wrong imports of a file, each with the file, the line and the import."""
    own, wrong = room_of(path, core), []
    for line, module, names in imports_of(path):
        other = module.split(".")[1]
        if other == own:
            continue
        here = f"{path.relative_to(core.parent)}, line {line}: import of {module}"
        if FLOOR_OF[other] >= FLOOR_OF[own] and other not in WITHIN_A_FLOOR.get(own, set()):
            wrong.append(f"{here} runs up a floor, from {own} to {other}")
        listed = listed_names(other)
        if listed is None:
            continue
        if module.count(".") > 1:
            wrong.append(f"{here} reaches past the door of {other}; import from deepmix.{other}")
        wrong += [f"{here} takes '{name}', which {other} does not list" for name in names if name not in listed]
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_imports_run_down_and_through_doors(path):
    assert complaints(path) == []


def test_a_broken_import_is_named(tmp_path):
    core = tmp_path / "deepmix"
    (core / "data").mkdir(parents=True)
    broken = core / "data" / "rows.py"
    broken.write_text("from deepmix.report import write_report\nfrom deepmix.maths.values import Array\n")
    assert complaints(broken, core) == [
        "deepmix/data/rows.py, line 1: import of deepmix.report runs up a floor, from data to report",
        "deepmix/data/rows.py, line 2: import of deepmix.maths.values reaches past the door of maths; "
        "import from deepmix.maths",
    ]


def test_every_room_has_a_floor_and_the_top_is_short():
    entries = {path.name for path in CORE.iterdir() if path.suffix != ".so"} - {"__pycache__", "csrc"}
    rooms = {entry.removesuffix(".py").removesuffix(".pyi") for entry in entries} - {"py.typed"}
    assert rooms == set(FLOOR_OF)
    assert len(entries) <= MOST_ENTRIES


def test_no_circle_within_a_room():
    """Modules of one room import each other in one direction."""
    for room in sorted({room_of(path) for path in FILES if path.parent != CORE}):
        graph: dict[str, set[str]] = {}
        for path in (CORE / room).rglob("*.py"):
            name = ".".join(("deepmix", *path.relative_to(CORE).with_suffix("").parts))
            targets = {f"{module}.{n}" for _, module, names in imports_of(path) for n in names}
            targets |= {module for _, module, _ in imports_of(path)}
            graph[name] = targets
        names = set(graph)
        remaining = {name: targets & names - {name} for name, targets in graph.items()}
        while leaves := [name for name, targets in remaining.items() if not targets]:
            for leaf in leaves:
                del remaining[leaf]
            remaining = {name: targets - set(leaves) for name, targets in remaining.items()}
        assert not remaining, f"these modules import each other in a circle: {remaining}"


MODULE_NAMES_THAT_RECUR = {"__init__", "compare", "evaluate", "export", "report", "bench", "errors", "train", "predict"}


def test_no_module_name_stands_twice():
    """The module of a command may share the name of what it runs; any other module name is used once."""
    paths_by_name: dict[str, Path] = {}
    for path in sorted([*CORE.rglob("*.py"), *(CORE.parent / "plugins" / "deepmix_builtins").rglob("*.py")]):
        if path.stem in MODULE_NAMES_THAT_RECUR or "commands" in path.parts:
            continue
        assert path.stem not in paths_by_name, f"{path} and {paths_by_name[path.stem]} have the same name"
        paths_by_name[path.stem] = path
