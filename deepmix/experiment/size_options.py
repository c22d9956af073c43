"""The options for the sizes of a model; `--help` reads them, so nothing slow is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field

from deepmix.errors import UsageError, option


@dataclass(frozen=True)
class SizeOptions:
    """Sizes of the model."""

    components: int | None = field(
        default=None, metadata={"help": "K, the number of clusters; auto: the number of classes where labels exist"}
    )
    latent_dim: int | None = field(
        default=None,
        metadata={"help": "M, the number of latent dimensions; auto: VaDE's 10, or the number of columns if smaller"},
    )

    def __post_init__(self) -> None:
        if self.components is not None and self.components < 1:
            raise UsageError(f"{option('components')} must be at least 1, got {self.components}")
        if self.latent_dim is not None and self.latent_dim < 1:
            raise UsageError(f"{option('latent_dim')} must be at least 1, got {self.latent_dim}")
