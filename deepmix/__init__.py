"""Deep clustering with mixtures of variational autoencoders."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from deepmix.estimator import DeepMixture as DeepMixture, load as load
    from deepmix.models import GaussianMixture as GaussianMixture

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"estimator": ["DeepMixture", "load"], "models": ["GaussianMixture"]}
)
