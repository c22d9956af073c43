"""The report of a run: report.html, one self-contained file for people who did not do the run.

`writing` makes it from a run in memory, `rewriting` from a run folder, and `seeds` from the runs of several seeds.
Below them, `material` holds what a report is made from, `analysis` computes from it, `sections`, `clusters`, `looks`
and `curves` write the report's sections, and `words` holds sentences; the modules of `html` know nothing about
clustering.

A plugin's section may use `__all__`; other packages of the core may import all that `__init__.pyi` lists. Each name is
imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "Material",
    "Section",
    "details",
    "element",
    "figure",
    "fixed",
    "join",
    "number",
    "paragraph",
    "percent",
    "scrolled",
    "table",
]
