from . import registry as registry
from .batch import (
    Batch as Batch,
    Loss as Loss,
    MixtureStep as MixtureStep,
    Phase as Phase,
    Stage as Stage,
)
from .descriptions import (
    FILE as FILE,
    Description as Description,
    OptionTable as OptionTable,
    descriptions_text as descriptions_text,
    option_table as option_table,
    package_folder as package_folder,
)
from .extensions import FileRows as FileRows, Format as Format, Tracker as Tracker
from .interfaces import (
    ClusteringHead as ClusteringHead,
    Dataset as Dataset,
    Decoder as Decoder,
    DensityPrior as DensityPrior,
    Encoder as Encoder,
    Initializer as Initializer,
    LossTerm as LossTerm,
    NoOptions as NoOptions,
    PosteriorEstimator as PosteriorEstimator,
    Prior as Prior,
)
from .likelihood import Likelihood as Likelihood
from .model_interface import Model as Model
from .options import (
    OptionRow as OptionRow,
    build_options as build_options,
    describe as describe,
    parse_assignments as parse_assignments,
)
from .permission import API_VERSION as API_VERSION
from .plan import ModelPlan as ModelPlan, source_of as source_of
from .starts import EpochStart as EpochStart, Placement as Placement, PriorPlacement as PriorPlacement
from .steps import Progress as Progress
from .training_rows import TrainingRows as TrainingRows
