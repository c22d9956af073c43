from .clauses import ClauseResult as ClauseResult, PluginKit as PluginKit, run_kit as run_kit
from .cluster_kits import HeadKit as HeadKit, InitializerKit as InitializerKit
from .contract_checks import (
    check_dataset as check_dataset,
    check_decoder as check_decoder,
    check_encoder as check_encoder,
    check_head as check_head,
    check_initializer as check_initializer,
    check_model as check_model,
    check_posterior as check_posterior,
    check_prior as check_prior,
)
from .dataset_kit import DatasetKit as DatasetKit
from .extension_kits import (
    CommandKit as CommandKit,
    FormatKit as FormatKit,
    MetricKit as MetricKit,
    SectionKit as SectionKit,
    TrackerKit as TrackerKit,
)
from .likelihood_check import check_likelihood as check_likelihood
from .likelihood_kit import LikelihoodKit as LikelihoodKit
from .model_kit import ModelKit as ModelKit
from .part_kits import (
    DecoderKit as DecoderKit,
    EncoderKit as EncoderKit,
    PosteriorKit as PosteriorKit,
    PriorKit as PriorKit,
)
from .split_check import check_split as check_split
from .stand_in_likelihood import StandInLikelihood as StandInLikelihood
from .which_kit import KITS as KITS, kit_of as kit_of
