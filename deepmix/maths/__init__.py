"""The papers' formulas as pure functions, with equation numbers, and the values that they exchange.

Plugins may use the names in `__all__`; other packages of the core may import every name in `__init__.pyi`. Each name
is imported when it is first used.
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
    "MixtureStatistics",
    "Responsibilities",
    "at_least_float32",
    "categorical_kl",
    "cluster_moments",
    "component_kl",
    "draw_component",
    "gaussian_entropy",
    "gaussian_log_prob",
    "jensen_shannon",
    "normalize_log",
    "own_threads",
    "reparameterise",
    "weighted_mean_and_spread",
    "without_noise",
]
