from .device import choose_device as choose_device
from .diagnosis import IN_USE_SHARE as IN_USE_SHARE, diagnose as diagnose
from .memory import keep_freed_memory as keep_freed_memory
from .passes import (
    EVALUATION_ROWS as EVALUATION_ROWS,
    autocast as autocast,
    evaluate_rows as evaluate_rows,
    infer_rows as infer_rows,
)
from .reporter import Reporter as Reporter, SilentReporter as SilentReporter
from .safe_steps import warnings_on_steps as warnings_on_steps
from .schedule import (
    TrainingOptions as TrainingOptions,
    learns_by_gradient as learns_by_gradient,
    planned_epochs as planned_epochs,
    start_lr as start_lr,
)
from .trainer import Trainer as Trainer
