"""Adversarial models of deepmix: clustering with an autoencoder, and generation with InfoGAN."""

from .infogan import Infogan
from .model import Aae

__all__ = ["Aae", "Infogan"]
