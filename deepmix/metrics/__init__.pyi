from .scores import (
    against_labels as against_labels,
    clustering_accuracy as clustering_accuracy,
    measure as measure,
    neighbour_errors as neighbour_errors,
    without_labels as without_labels,
)
from .summary import spread as spread, summarize as summarize
