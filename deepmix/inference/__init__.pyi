from .compare import (
    ELBO as ELBO,
    comparable as comparable,
    compare_runs as compare_runs,
    read_compared as read_compared,
)
from .consensus import ConsensusRun as ConsensusRun, open_clusters as open_clusters, write_consensus as write_consensus
from .evaluate import evaluate_run as evaluate_run
from .export import SUFFIXES as SUFFIXES, export_run as export_run
from .imputation import Imputation as Imputation
from .loaded import LoadedRun as LoadedRun, open_run as open_run
from .sampling import MAX_TRIALS as MAX_TRIALS
