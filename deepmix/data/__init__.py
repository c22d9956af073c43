"""From files and arrays to a checked, scaled and split data set, and from that to batches.

`__all__` lists what a plugin may use. Other packages of the core may import everything in `__init__.pyi`. Each name is
imported on first use.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "CellBlock",
    "Collection",
    "RemoteFile",
    "Split",
    "SplitOptions",
    "StoredRows",
    "arrange_rows",
    "find_prepared",
    "is_sparse_group",
    "load_prepared",
    "narrow",
    "obtain",
    "stored_matrix",
    "write_atomically",
]
