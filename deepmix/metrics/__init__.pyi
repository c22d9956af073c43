from .cohesion import cohesion as cohesion, neighbour_links as neighbour_links
from .declarations import (
    ACCURACY as ACCURACY,
    METRICS as METRICS,
    SILHOUETTE as SILHOUETTE,
    Clustering as Clustering,
    Metric as Metric,
    declare as declare,
    measure as measure,
)
from .outliers import bound_quantiles as bound_quantiles, outlier_scores as outlier_scores
from .scores import (
    NEIGHBOUR_COUNTS as NEIGHBOUR_COUNTS,
    clustering_accuracy as clustering_accuracy,
    neighbour_errors as neighbour_errors,
    silhouette as silhouette,
)
from .summary import Spread as Spread, spread as spread
