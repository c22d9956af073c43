"""The compiled kernels: how they are built, found and called. `ops` is the typed face of the formulas they compute.

`__all__` lists what a plugin may use. Other packages of the core may import everything in `__init__.pyi`. Each name is
imported on first use.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "ops",
]
