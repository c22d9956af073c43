"""The test kit for plugins: one class per kind to inherit, which tests each clause of the contract.

    from deepmix.testing import PriorKit
    from my_package import MyPrior

    class TestMyPrior(PriorKit):
        part = MyPrior

A failure names the clause and the cure. `deepmix plugin check` runs the same kits on installed plugins. The functions
`check_prior`, ... assert the most important clauses in one call;
`StandInLikelihood` is for the tests of a model. Each name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "CommandKit",
    "DatasetKit",
    "DecoderKit",
    "EncoderKit",
    "FormatKit",
    "HeadKit",
    "InitializerKit",
    "LikelihoodKit",
    "MetricKit",
    "ModelKit",
    "PosteriorKit",
    "PriorKit",
    "SectionKit",
    "StandInLikelihood",
    "TrackerKit",
    "check_dataset",
    "check_decoder",
    "check_encoder",
    "check_head",
    "check_initializer",
    "check_likelihood",
    "check_model",
    "check_posterior",
    "check_prior",
    "check_split",
]
