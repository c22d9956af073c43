"""The report of a run: report.html, one self-contained file for people who did not do the run.

`writing` makes it from a run at hand, `rewriting` from a run folder, `seeds` from the runs of several seeds. Below
them: `material` is what a report is made from, `analysis` what is worked out of it, `sections` and `looks` its parts,
`words` its plain words; `markup`, `plots`, `images` and `page` know nothing of clustering.
"""
