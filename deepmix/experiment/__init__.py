"""The way from options to a finished run: configuration, loaded parts, data, training, heads and results.

Other packages import only the names in this package's `__init__.pyi`; each name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
