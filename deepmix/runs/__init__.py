"""A run is a folder: the names of its files, how they stay whole, and how they are read back.

Other packages import only what this package's `__init__.pyi` lists; each name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
