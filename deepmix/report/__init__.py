"""The report of a run: report.html, one self-contained file for people who did not do the run.

`writing` makes it from a run at hand, `rewriting` from a run folder, `seeds` from the runs of several seeds. Below
them: `material` is what a report is made from, `analysis` what is worked out of it, `sections` and `looks` its parts,
`words` its plain words; the modules of `html` know nothing of clustering.

Other rooms import only what this package's `__init__.pyi` lists; each name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
