"""Clustering with an adversarial autoencoder, as a model of deepmix."""

from .model import Aae

__all__ = ["Aae"]
