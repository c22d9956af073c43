from .assignments import read_assignments as read_assignments
from .checksums import TableChecksum as TableChecksum
from .comparisons import (
    INITIAL as INITIAL,
    SIMPLEST as SIMPLEST,
    TOTAL as TOTAL,
    Baseline as Baseline,
    Baselines as Baselines,
    Candidate as Candidate,
    InitialChoice as InitialChoice,
    Scores as Scores,
    Stability as Stability,
)
from .component_choice import ComponentChoice as ComponentChoice, RunnerUp as RunnerUp
from .consensus_record import Consensus as Consensus, read_consensus_scores as read_consensus_scores
from .conversion import BEFORE as BEFORE, MisfitError as MisfitError, from_plain as from_plain, to_plain as to_plain
from .folder import RunFolder as RunFolder
from .headers import CheckpointMeta as CheckpointMeta, InferenceHeader as InferenceHeader, ModelHeader as ModelHeader
from .kept import keep_choice as keep_choice, keep_inference as keep_inference, read_choice as read_choice
from .names import (
    ASSIGNMENTS as ASSIGNMENTS,
    CHECKPOINT as CHECKPOINT,
    CHOICE as CHOICE,
    CLUSTERS as CLUSTERS,
    CONFIG as CONFIG,
    CONSENSUS as CONSENSUS,
    CONSENSUS_FOLDER as CONSENSUS_FOLDER,
    EPOCHS as EPOCHS,
    INFERENCE as INFERENCE,
    METRICS as METRICS,
    MODEL as MODEL,
    NEIGHBOURS as NEIGHBOURS,
    PREVIOUS as PREVIOUS,
    REPORT as REPORT,
    SUMMARY as SUMMARY,
)
from .ownership import delete_checkpoint as delete_checkpoint, fresh_path as fresh_path
from .records import (
    ADDED_KEYS as ADDED_KEYS,
    FORMAT as FORMAT,
    DataRecord as DataRecord,
    Environment as Environment,
    EpochRecord as EpochRecord,
    Evaluation as Evaluation,
    HeadFigures as HeadFigures,
    InitialLabels as InitialLabels,
    Metrics as Metrics,
    PartRecord as PartRecord,
    Requested as Requested,
    RowCounts as RowCounts,
    RunConfig as RunConfig,
    check_format as check_format,
    damaged as damaged,
    is_config as is_config,
)
from .seed_summary import Summary as Summary, over_seeds as over_seeds, summarize as summarize
from .store import MemoryRun as MemoryRun, RunStore as RunStore, copy_run as copy_run
from .table_block import TableBlock as TableBlock
