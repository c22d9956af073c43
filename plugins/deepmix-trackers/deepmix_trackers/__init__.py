"""Trackers of runs: TensorBoard and MLflow, each through its own client, which is imported when a run asks for it."""

from .ml_flow import MlflowTracker
from .tensor_board import TensorBoardTracker

__all__ = ["MlflowTracker", "TensorBoardTracker"]
