"""From the files of format 1, which have no number, to format 2.

Each function takes the JSON object of a file and returns that of the next format. What format 1 left out of it, because
it was known only to the code of its time, stands in the tables here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deepmix.runs import names

OURS = "deepmix"


BUILTINS = {
    "MlpEncoder": "mlp",
    "GroupedMlpEncoder": "grouped-mlp",
    "ConvEncoder": "conv",
    "MlpDecoder": "mlp",
    "GroupedMlpDecoder": "grouped-mlp",
    "ConvDecoder": "conv",
    "StandardPrior": "standard",
    "MixturePrior": "mixture",
    "JointPosterior": "joint",
    "KDvaePosterior": "k-dvae",
    "PriorPosterior": "prior",
    "RatioPosterior": "ratio",
    "ReconstructionPosterior": "reconstruction",
    "GraphInitializer": "graph",
    "GmmInitializer": "gmm",
    "KMeansInitializer": "kmeans",
    "RandomInitializer": "random",
    "VadeInitializer": "vade",
}
"""Names of the built-in parts that a recipe or a model could choose by itself, by class.

Format 1 recorded `module:class`.
"""


BUILTIN_MODULES, CORE_MODULES = f"{OURS}_builtins.", f"{OURS}."
"""How the paths of modules began: those of the built-ins, and that of the class that stood for a file."""


SHARED_LATENT = {"shared_latent": True, "single_component": False}
PER_COMPONENT = {"shared_latent": False, "single_component": False}
SINGLE_COMPONENT = {"shared_latent": True, "single_component": True}
MODELS: Mapping[str, Mapping[str, bool]] = {
    "vae": SINGLE_COMPONENT,
    "ae": SINGLE_COMPONENT,
    "vade": SHARED_LATENT,
    "vade-conv": SHARED_LATENT,
    "dgg": SHARED_LATENT,
    "k-dvae": PER_COMPONENT,
    "k-dvae-paper": PER_COMPONENT,
    "k-dvae-shared": PER_COMPONENT,
    "k-dae": PER_COMPONENT,
    "mvae": PER_COMPONENT,
    "mvae-emv1": PER_COMPONENT,
    "mvae-emv2": PER_COMPONENT,
    "beta-mvae-emv2": PER_COMPONENT,
    "scheduled-beta-mvae-emv2": PER_COMPONENT,
    "gmvae": PER_COMPONENT,
    "m2": PER_COMPONENT,
    "gmm": PER_COMPONENT,
    "kmeans": PER_COMPONENT,
}
"""The structure of the built-in models."""


KINDS = {
    "model": "models",
    "encoder": "encoders",
    "decoder": "decoders",
    "prior": "priors",
    "posterior": "posteriors",
    "initializer": "initializers",
    "data": "datasets",
}
FACTS = ("rows", "columns", "preprocessing", "labels", "fingerprint")
"""What format 1 recorded of the data among the options for it."""


SPLIT_OPTIONS = {"test_fraction", "split_seed", "scale"}
"""Options of a data set that had an option `image_shape` too, in whose place format 1 recorded the shape in use."""


def config(values: dict[str, Any]) -> dict[str, Any]:
    """Upgrade config.json: facts about the data beside the options, plugins by name, the model's structure."""
    resolved = {part: dict(options) for part, options in values["resolved"].items() if isinstance(options, dict)}
    paths = resolved.pop("parts")
    facts = {name: resolved["data"].pop(name) for name in FACTS}
    facts["image_shape"] = resolved["data"].pop("image_shape", None)
    if resolved["data"].keys() >= SPLIT_OPTIONS:
        settings = values.get("settings", {})
        shape = settings.get("data.image_shape", settings.get("image_shape", "auto"))
        resolved["data"]["image_shape"] = shape
    if resolved["training"]["epochs"] == 0:
        resolved["training"]["epochs"] = None  # a model that `place` fits has no epochs
    version = str(values["environment"]["deepmix"])
    model = str(values["model"])
    parts = {"model": _part("model", model, model.rpartition(":")[2] in MODELS, version)}
    for role, path in paths.items():
        if role == "data" and path.startswith(CORE_MODULES):
            continue  # a file
        parts[role] = _part(role, _name(role, path, values), path.startswith(BUILTIN_MODULES), version)
    return {
        **{key: value for key, value in values.items() if key != "resolved"},
        "report": True,
        "resolved": resolved,
        "parts": parts,
        "structure": MODELS.get(model.removeprefix(f"{OURS}:")),
        "data": facts,
        "n_parameters": values["resolved"]["n_parameters"],
    }


def _name(role: str, path: str, values: Mapping[str, Any]) -> str:
    """Return the name of a part: the one that was asked for, else the one that its class had.

    The class of another distribution is returned as its path, which may still lead to an installed plugin.
    """
    if role.startswith("head."):
        return role.removeprefix("head.")
    requested = values.get({"initializer": "init", "data": "dataset"}.get(role, role))
    if requested is not None:
        return str(requested)
    return BUILTINS.get(path.rpartition(":")[2], path) if path.startswith(BUILTIN_MODULES) else path


def _part(role: str, name: str, is_ours: bool, version: str) -> dict[str, str]:
    kind = "heads" if role.startswith("head.") else KINDS[role]
    distribution, _, short = ("", "", name) if "." in name.partition(":")[0] else name.rpartition(":")
    if is_ours and distribution in ("", OURS):
        return {"kind": kind, "name": short, "distribution": OURS, "version": version}
    return {"kind": kind, "name": short, "distribution": distribution, "version": ""}


TERMS = ("reconstruction", "kl_latent", "kl_assignment")


def epoch(values: dict[str, Any]) -> dict[str, Any]:
    """Upgrade a line of metrics.jsonl: the loss's terms in a table of their own."""
    terms = {name: values.pop(name) for name in TERMS if name in values}
    return {**values, "terms": terms}


def checkpoint(values: dict[str, Any]) -> dict[str, Any]:
    """Upgrade a checkpoint's header: what patience watches was the ELBO."""
    return {**values, "best": values["best_elbo"]}


FROM_1: Mapping[str | Path, Callable[[dict[str, Any]], dict[str, Any]]] = {
    names.CONFIG: config,
    names.EPOCHS: epoch,
    names.CHECKPOINT: checkpoint,
}
"""By file; the others are the same in both formats, but for the number."""
