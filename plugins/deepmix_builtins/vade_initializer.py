"""Initial clusters from a VaDE trained for nothing else: how k-DVAE's paper starts (section 4.2)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from deepmix.configuration import ExperimentConfig, build_model, choose_device, resolve
from deepmix.data import Rows, SplitOptions, prepare
from deepmix.interfaces import Initializer
from deepmix.runs import RunFolder
from deepmix.training import Trainer, evaluate
from deepmix.types import Array

from .initializers import GmmInitializer, KMeansInitializer, RestartOptions

AS_PRINTED = {"anchor": "0", "hold": "0", "batch_size": "100", "lr_decay": "0.73"}
"""VaDE's training as printed (section 4.2): nothing is kept of the initial clustering, batches of 100, and the
learning rate falls by 0.9 every ten of some thirty epochs."""


@dataclass(frozen=True)
class VadeOptions(RestartOptions):
    """Options of the VaDE that is trained, and of the k-means on its latents."""

    vade_epochs: int | None = field(
        default=None, metadata={"help": "epochs of VaDE, and of its pretraining; auto as for epochs"}
    )
    vade_device: str = field(default="auto", metadata={"help": "where VaDE is trained; as for --device"})


class _Unheard:
    """A reporter for a training within a training."""

    def start(self, stage: str, n_epochs: int) -> None:
        """Pass."""

    def epoch(self, stage: str, row: dict[str, Any]) -> None:
        """Pass."""

    def note(self, text: str) -> None:
        """Pass."""


@final
class VadeInitializer(Initializer):
    """Train VaDE, started from a GMM on its codes, and run k-means on its latents (k-DVAE, section 4.2)."""

    Options = VadeOptions

    def __init__(self, options: VadeOptions) -> None:
        self.options = options

    def initial_labels(self, x_ND: Any, code_NM: Array, n_components: int, seed: int) -> Array:
        """Return the labels; the given codes serve only for their number of dimensions."""
        settings = {"latent_dim": str(code_NM.shape[1]), **AS_PRINTED}
        if self.options.vade_epochs is not None:
            epochs = str(self.options.vade_epochs)
            settings |= {"epochs": epochs, "pretrain_epochs": epochs}
        parts = resolve(ExperimentConfig(model="vade", settings=settings))
        split = prepare(x_ND, None, SplitOptions(scale="none"))
        device = choose_device(self.options.vade_device)
        rows = Rows(split.x, np.arange(split.x.shape[0]), device)
        model = build_model(parts, split, n_components, seed).to(device)
        restarts = RestartOptions(self.options.n_init)
        start = GmmInitializer(restarts)
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model,
                rows,
                parts.options["training"],
                parts.options["objective"],
                seed,
                RunFolder(Path(folder)),
                _Unheard(),
            )
            trainer.run(lambda own_NM: start.initial_labels(x_ND, own_NM, n_components, seed))
        latent_NM = evaluate(model, rows, "fp32", seed)[0].latent_NM
        return KMeansInitializer(restarts).initial_labels(x_ND, latent_NM, n_components, seed)
