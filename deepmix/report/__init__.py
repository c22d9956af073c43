"""The report of a run: report.html, one self-contained file for people who did not do the run.

`writing` makes it from a run in memory, `rewriting` from a run folder, and `seeds` from the runs of several seeds.
Below them, `material` holds what a report is made from, `analysis` computes from it, `sections`, `clusters`, `looks`
and `curves` write the report's sections, and `words` holds sentences; the modules of `html` know nothing about
clustering.

Other packages import only what this package's `__init__.pyi` lists; each name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
