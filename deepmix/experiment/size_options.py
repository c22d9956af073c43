"""The options for the sizes of a model; `--help` reads them, so nothing slow is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field

from deepmix.errors import UsageError, option
from deepmix.experiment.component_range import ComponentRange


@dataclass(frozen=True)
class SizeOptions:
    """Sizes of the model."""

    components: int | ComponentRange | None = field(
        default=None,
        metadata={
            "help": "K, the number of clusters; auto or a range: chosen from the rows",
            "none": "classes of the labels",
        },
    )
    latent_dim: int | None = field(
        default=None,
        metadata={"help": "M, the number of latent dimensions; auto: VaDE's 10, or the number of columns if smaller"},
    )

    def __post_init__(self) -> None:
        if isinstance(self.components, int) and self.components < 1:
            raise UsageError(f"{option('components')} must be at least 1, got {self.components}")
        if self.latent_dim is not None and self.latent_dim < 1:
            raise UsageError(f"{option('latent_dim')} must be at least 1, got {self.latent_dim}")
