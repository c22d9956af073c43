"""From files and arrays to a checked, scaled and split data set, and from that to batches.

`__all__` is what a plugin may use; the other rooms of the core may import all that `__init__.pyi` lists. Each name is
imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "Collection",
    "RemoteFile",
    "Split",
    "SplitOptions",
    "arrange_rows",
    "find_prepared",
    "load_prepared",
    "obtain",
    "write_atomically",
]
