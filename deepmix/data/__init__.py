"""From files and arrays to a checked, scaled and split data set, and from that to batches.

Other rooms import only what this package's `__init__.pyi` lists; each name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
