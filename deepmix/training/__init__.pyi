from .device import choose_device as choose_device
from .diagnosis import IN_USE_SHARE as IN_USE_SHARE, diagnose as diagnose
from .memory import freed_memory_kept as freed_memory_kept, keep_freed_memory as keep_freed_memory
from .messages import gathered as gathered, pack as pack, unpack as unpack
from .passes import (
    EVALUATION_ROWS as EVALUATION_ROWS,
    evaluate_rows as evaluate_rows,
    infer_rows as infer_rows,
)
from .precision import autocast as autocast, has_bfloat16 as has_bfloat16, update_precision as update_precision
from .ranks import (
    ALONE as ALONE,
    Ranks as Ranks,
    is_lost_process as is_lost_process,
    is_under_torchrun as is_under_torchrun,
    job_name as job_name,
    joined_ranks as joined_ranks,
    reports_failure as reports_failure,
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
