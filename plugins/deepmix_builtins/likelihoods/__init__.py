"""Observation models p(x|z) of cells, one file for each kind of cell."""
