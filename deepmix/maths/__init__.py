"""The formulas and the values they pass around: pure functions with the papers' equation numbers.

`__all__` is what a plugin may use; the other rooms of the core may import all that `__init__.pyi` lists. Each name is
imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "Array",
    "Dims",
    "Gaussian",
    "Inference",
    "Latents",
    "MixtureParameters",
    "Responsibilities",
    "at_least_float32",
    "categorical_kl",
    "cluster_moments",
    "component_kl",
    "gaussian_entropy",
    "gaussian_log_prob",
    "jensen_shannon",
    "normalize_log",
    "reparameterise",
]
