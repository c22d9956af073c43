"""The plugin author's starting point: the interfaces of plugins, their options, and how plugins are found.

Plugins may use the names in `__all__`; other packages of the core may import every name in `__init__.pyi`. Each name
is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "API_VERSION",
    "Batch",
    "ClusteringHead",
    "Dataset",
    "Decoder",
    "DensityPrior",
    "Encoder",
    "EpochStart",
    "FileRows",
    "Format",
    "Initializer",
    "Likelihood",
    "Loss",
    "LossTerm",
    "MixtureStep",
    "Model",
    "ModelPlan",
    "NoOptions",
    "Phase",
    "Placement",
    "PosteriorEstimator",
    "Prior",
    "PriorPlacement",
    "Progress",
    "Tracker",
    "TrainingRows",
]
