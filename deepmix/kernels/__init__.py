"""The compiled kernels: how they are built, found and called. `ops` is the typed face of the formulas they compute.

`__all__` is what a plugin may use; the other rooms of the core may import all that `__init__.pyi` lists. Each name is
imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "ops",
]
