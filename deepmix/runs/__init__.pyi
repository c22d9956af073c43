from .atomic import read_json as read_json, write_atomically as write_atomically
from .folder import RunFolder as RunFolder
from .kept import keep_inference as keep_inference
from .names import (
    ASSIGNMENTS as ASSIGNMENTS,
    CHECKPOINT as CHECKPOINT,
    CONFIG as CONFIG,
    EPOCHS as EPOCHS,
    INFERENCE as INFERENCE,
    METRICS as METRICS,
    MODEL as MODEL,
    NEIGHBOURS as NEIGHBOURS,
    REPORT as REPORT,
    SUMMARY as SUMMARY,
)
from .ownership import delete_checkpoint as delete_checkpoint, fresh_path as fresh_path
from .store import MemoryRun as MemoryRun, RunStore as RunStore, copy_run as copy_run
