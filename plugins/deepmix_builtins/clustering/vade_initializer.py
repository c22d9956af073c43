"""Initial clusters from a VaDE trained only for that purpose, as in k-DVAE's paper (section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import final

from deepmix.contracts import Initializer, TrainingRows
from deepmix.experiment.nested import train_nested
from deepmix.maths import Array

from .initializers import GmmInitializer, KMeansInitializer, RestartOptions

AS_PRINTED = {"anchor": "0", "hold": "0", "batch_size": "100", "lr_decay": "0.73"}
"""VaDE's training as printed (section 4.2): the initial clustering is not held on to, batches have 100 rows, and the
learning rate falls by a factor of 0.9 every ten of about thirty epochs."""


@dataclass(frozen=True)
class VadeOptions(RestartOptions):
    """Options of the VaDE that is trained, and of the k-means on its latents."""

    vade_epochs: int | None = field(
        default=None, metadata={"help": "epochs of VaDE and of its pretraining; auto: as for epochs"}
    )
    vade_device: str = field(default="auto", metadata={"help": "where VaDE is trained, such as cpu or cuda"})


@final
class VadeInitializer(Initializer):
    """Train VaDE, started from a GMM on its codes, and run k-means on its latents (k-DVAE, section 4.2)."""

    Options = VadeOptions

    def __init__(self, options: VadeOptions) -> None:
        self.options = options

    def initial_labels(self, rows: TrainingRows, n_components: int, seed: int) -> Array:
        """Return the labels; of the codes only the number of dimensions is used, and VaDE's loss takes no weights."""
        settings = {"latent_dim": str(rows.code_NM.shape[1]), **AS_PRINTED}
        if self.options.vade_epochs is not None:
            epochs = str(self.options.vade_epochs)
            settings |= {"epochs": epochs, "pretrain_epochs": epochs}
        restarts = RestartOptions(self.options.n_init)
        start = GmmInitializer(restarts)
        latent_NM = train_nested(
            "vade",
            rows.x_ND,
            lambda own_NM: start.initial_labels(replace(rows, code_NM=own_NM), n_components, seed),
            n_components=n_components,
            seed=seed,
            settings=settings,
            device=self.options.vade_device,
            progress=rows.progress,
        )
        return KMeansInitializer(restarts).initial_labels(replace(rows, code_NM=latent_NM), n_components, seed)
