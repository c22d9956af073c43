from . import registry as registry
from .interfaces import (
    ClusteringHead as ClusteringHead,
    Dataset as Dataset,
    Decoder as Decoder,
    Encoder as Encoder,
    Initializer as Initializer,
    Model as Model,
    NoOptions as NoOptions,
    PosteriorEstimator as PosteriorEstimator,
    Prior as Prior,
)
from .options import build_options as build_options, describe as describe, parse_assignments as parse_assignments
