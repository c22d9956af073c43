"""How well clusters fit labels, how they look without any, and how figures spread over seeds.

`__all__` is what a plugin may use; the other rooms of the core may import all that `__init__.pyi` lists. Each name is
imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "Clustering",
    "Metric",
    "clustering_accuracy",
    "declare",
    "silhouette",
]
