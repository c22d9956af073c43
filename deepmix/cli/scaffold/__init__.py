"""New distributions with one plugin each, from the templates in this folder."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from string import Template

from deepmix.contracts import API_VERSION, registry
from deepmix.errors import UsageError, unknown_choice

TEMPLATES = Path(__file__).parent
PREFIX = "deepmix-"
"""How the name of every new distribution begins."""
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Kind:
    """What the files of a new plugin of one kind hold."""

    group: str
    """The kind as the registry spells it; `deepmix.GROUP` is the group of its entry point."""
    kit: str
    """The class of `deepmix.testing` that the test inherits."""
    trial: str
    """A command that uses the plugin."""
    is_class: bool = True
    """Whether the plugin is a class, not a function or a value."""


TRAIN = "deepmix train --epochs 2 --pretrain-epochs 2"
KINDS = {
    "model": Kind("models", "ModelKit", f"{TRAIN} --model $name"),
    "encoder": Kind("encoders", "EncoderKit", f"{TRAIN} --encoder $name"),
    "decoder": Kind("decoders", "DecoderKit", f"{TRAIN} --decoder $name"),
    "prior": Kind("priors", "PriorKit", f"{TRAIN} --prior $name"),
    "posterior": Kind("posteriors", "PosteriorKit", f"{TRAIN} --posterior $name"),
    "initializer": Kind("initializers", "InitializerKit", f"{TRAIN} --init $name"),
    "head": Kind("heads", "HeadKit", f"{TRAIN} --head $name"),
    "dataset": Kind("datasets", "DatasetKit", f"{TRAIN} --dataset $name"),
    "likelihood": Kind("likelihoods", "LikelihoodKit", f"{TRAIN} --set likelihood=$name --set scale=standard"),
    "metric": Kind("metrics", "MetricKit", f"{TRAIN}", is_class=False),
    "report-section": Kind("sections", "SectionKit", f"{TRAIN} --out run && deepmix report run", is_class=False),
    "tracker": Kind("trackers", "TrackerKit", f"{TRAIN} --track $name"),
    "command": Kind("commands", "CommandKit", "deepmix $name --help", is_class=False),
    "format": Kind("formats", "FormatKit", f"{TRAIN} --dataset rows.$name --components 3"),
}
"""The kinds that can be written, by the name that `--kind` takes."""


def write_plugin(name: str, kind: str, parent: Path) -> Path:
    """Write the folder of a new distribution, whole or not at all, and return its path.

    Args:
        name: the name of the plugin; the distribution is deepmix-NAME.
        kind: one of `KINDS`.
        parent: the folder in which it is written.

    Raises:
        UsageError: the name is not valid or is taken, or the folder exists.

    """
    if kind not in KINDS:
        raise unknown_choice("kind", kind, KINDS)
    folder, package = parent / f"{PREFIX}{name}", f"deepmix_{name.replace('-', '_')}"
    _check_name(name, kind, package)
    if folder.exists():
        raise UsageError(f"'{folder}' exists; choose another name, or delete the folder first")
    files = _files(name, kind, package)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=parent) as temporary:
        for path, text in files.items():
            target = Path(temporary, folder.name, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        shutil.move(Path(temporary, folder.name), folder)
    return folder


def _check_name(name: str, kind: str, package: str) -> None:
    """Raise a UsageError unless a plugin of this kind can have the name."""
    if not NAME.fullmatch(name) or any(keyword.iskeyword(word) for word in (class_name(name), name)):
        raise UsageError(
            f"'{name}' can't be the name of a plugin; use lower-case letters, digits and dashes, such as my-{kind}"
        )
    if name.startswith(PREFIX):
        raise UsageError(f"leave '{PREFIX}' out of '{name}', as the distribution's name begins with it anyway")
    owners = [plugin.distribution for plugin in registry.discover(KINDS[kind].group) if plugin.name == name]
    if owners:
        raise UsageError(f"{kind} '{name}' exists already, in {owners[0]}; choose another name")
    if importlib.util.find_spec(package) is not None:
        raise UsageError(f"a package '{package}' is installed already; choose another name")


def class_name(name: str) -> str:
    """Return 'MyPrior' for 'my-prior'."""
    return "".join(word[0].upper() + word[1:] for word in name.split("-"))


def _files(name: str, kind: str, package: str) -> dict[str, str]:
    """Return the text of each file by its path in the distribution's folder."""
    entry = KINDS[kind]
    attribute = class_name(name) if entry.is_class else name.replace("-", "_")
    values = {"name": name, "package": package, "cls": attribute, "kit": entry.kit, "group": entry.group}
    values |= {"noun": registry.singular(entry.group), "api": str(API_VERSION)}
    values["try_it"] = Template(entry.trial).substitute(values)
    test = "test-format.py" if kind == "format" else "test.py" if entry.is_class else "test-lower.py"
    sources = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{package}/__init__.py": f"{kind}.py",
        f"tests/test_{package.removeprefix('deepmix_')}.py": test,
    }
    return {
        path: Template((TEMPLATES / f"{source}.template").read_text("utf-8")).substitute(values)
        for path, source in sources.items()
    }
