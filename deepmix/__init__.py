"""Deep clustering with mixtures of variational autoencoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepmix.estimator import DeepMixture, load

__all__ = ["DeepMixture", "load"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for: `import deepmix` alone loads neither torch nor scikit-learn."""
    if name in __all__:
        from deepmix import estimator

        return getattr(estimator, name)
    raise AttributeError(f"module 'deepmix' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
