from .assembly import (
    RowLayout as RowLayout,
    array_layout as array_layout,
    assemble as assemble,
    build_model as build_model,
    check_heads as check_heads,
    make_head as make_head,
    table_layout as table_layout,
)
from .assist import assist_run as assist_run
from .cautions import BETTER_BASELINE as BETTER_BASELINE, worse_than_start as worse_than_start
from .cluster_generators import fit_cluster_latents as fit_cluster_latents
from .config import (
    MAX_SEED as MAX_SEED,
    SHORTHANDS as SHORTHANDS,
    ExperimentConfig as ExperimentConfig,
    config_from_mapping as config_from_mapping,
)
from .dataset import (
    check_dataset as check_dataset,
    load_data as load_data,
    read_run_data as read_run_data,
    with_moved_data as with_moved_data,
    without_download as without_download,
)
from .describe import describe as describe
from .file_formats import read_format as read_format
from .fitted_heads import record_heads as record_heads, with_other_heads as with_other_heads
from .kit_results import kit_results as kit_results
from .model_help import (
    ModelHelp as ModelHelp,
    described_help as described_help,
    imported_help as imported_help,
    model_help as model_help,
)
from .nested import train_nested as train_nested
from .parts import Parts as Parts, n_labelled as n_labelled, resolve as resolve
from .plugin_check import check_plugin as check_plugin
from .plugin_descriptions import describe_distribution as describe_distribution
from .plugin_metrics import declare_installed as declare_installed, metric_failures as metric_failures
from .prepare import Experiment as Experiment, prepare_experiment as prepare_experiment
from .recorded import (
    config_of as config_of,
    is_same_run as is_same_run,
    read_parts as read_parts,
    recorded_parts as recorded_parts,
    requested_of as requested_of,
    with_heads as with_heads,
)
from .results import measure_clusters as measure_clusters
from .run import RunResults as RunResults, Watch as Watch, run_experiment as run_experiment
from .selection import format_of as format_of
