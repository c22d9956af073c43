"""The grid's single model class, the recipes that assemble it, its likelihoods and its objective.

Plugins may use the names in `__all__`; other packages of the core may import every name in `__init__.pyi`. Each name
is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "INITIAL_LOG_VAR",
    "MIN_SCALE",
    "SMALL_TRUNK",
    "Composite",
    "GaussianMixture",
    "MixtureOptions",
    "NetworkOptions",
    "ObjectiveOptions",
    "Recipe",
    "TrunkEncoder",
    "check_hidden",
    "check_likelihood_name",
    "check_widths",
    "mlp",
    "trunk_widths",
]
