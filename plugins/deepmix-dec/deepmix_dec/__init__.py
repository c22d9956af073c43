"""Deep embedded clustering: DEC, IDEC and DCN, as models of deepmix."""

from .embedding import Dec, Idec
from .k_means import Dcn

__all__ = ["Dcn", "Dec", "Idec"]
