"""Metrics of clusters with and without labels, and the spread of figures over seeds.

A plugin may use `__all__`; the other packages of the core may import all that `__init__.pyi` lists. Each name is
imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "Clustering",
    "Metric",
    "clustering_accuracy",
    "cohesion",
    "declare",
    "neighbour_links",
    "silhouette",
]
