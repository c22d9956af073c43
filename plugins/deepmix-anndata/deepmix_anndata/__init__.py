"""Single-cell counts: .h5ad files, a negative-binomial likelihood with a library size, and results written back."""

from .counts import LibraryMlp, LibraryNegativeBinomial
from .reading import H5ad
from .writing import write_results

__all__ = ["H5ad", "LibraryMlp", "LibraryNegativeBinomial", "write_results"]
