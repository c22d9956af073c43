"""Clusterings of the neighbourhood graph, as initial clusterings and as heads: Leiden, HDBSCAN and LDMGI."""

from .density import HdbscanHead, HdbscanInitializer
from .ldmgi import LdmgiHead, LdmgiInitializer
from .leiden import LeidenHead, LeidenInitializer

__all__ = [
    "HdbscanHead",
    "HdbscanInitializer",
    "LdmgiHead",
    "LdmgiInitializer",
    "LeidenHead",
    "LeidenInitializer",
]
