"""The latent tree variational autoencoder (Li et al. 2019): a prior that is a tree of discrete variables."""

from deepmix.models import Recipe

from .prior import LatentTreePrior

LTVAE = Recipe(
    "LTVAE: VaDE with a tree of discrete variables, each over its own latent dimensions (Li et al. 2019)",
    posterior="prior",
    prior="deepmix-ltvae:latent-tree",
    encoder_heads="one",
)

__all__ = ["LTVAE", "LatentTreePrior"]
