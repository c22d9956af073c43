"""The built-in likelihoods pass `check_likelihood`, and each kind of broken one fails it with a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from deepmix_builtins.likelihoods.bernoulli import BernoulliLikelihood
from deepmix_builtins.likelihoods.counts import NegativeBinomialLikelihood, PoissonLikelihood
from deepmix_builtins.likelihoods.gaussian import (
    ColumnGaussianLikelihood,
    GaussianLikelihood,
    LearnedGaussianLikelihood,
)
from deepmix_builtins.likelihoods.levels import CategoricalLikelihood, OrdinalLikelihood
from deepmix_builtins.likelihoods.log_normal import LogNormalLikelihood
from deepmix_builtins.likelihoods.student_t import StudentTLikelihood
from scipy import sparse
from torch import Tensor

from deepmix.contracts import Likelihood, registry
from deepmix.testing import check_likelihood

BUILTINS = {
    "bernoulli": BernoulliLikelihood,
    "categorical": CategoricalLikelihood,
    "gaussian": GaussianLikelihood,
    "gaussian-learned": LearnedGaussianLikelihood,
    "gaussian-per-column": ColumnGaussianLikelihood,
    "log-normal": LogNormalLikelihood,
    "negative-binomial": NegativeBinomialLikelihood,
    "ordinal": OrdinalLikelihood,
    "poisson": PoissonLikelihood,
    "student-t": StudentTLikelihood,
}


def test_every_built_in_is_registered():
    ours = [plugin.name for plugin in registry.discover("likelihoods") if plugin.distribution == "deepmix"]
    assert {name: registry.load_plugin("likelihoods", name) for name in ours} == BUILTINS


class Laplace(Likelihood):
    """Laplace with scale 1, correct; the broken ones below change one thing each."""

    def __init__(self, block):
        super().__init__(block)
        self.n_outputs = block.n_cells
        self.register_buffer("centre", torch.zeros(()))

    def log_prob(self, x_RC, outputs_RP):
        return -math.log(2.0) - (x_RC - outputs_RP - self.centre).abs()

    def mean(self, outputs_RP):
        return outputs_RP + self.centre

    def sample(self, outputs_RP, generator):
        u_RC = torch.rand(outputs_RP.shape, generator=generator, dtype=outputs_RP.dtype) - 0.5
        return outputs_RP + self.centre - u_RC.sign() * torch.log1p(-2.0 * u_RC.abs())


def broken(**methods: Callable[..., Tensor]) -> type[Likelihood]:
    return type("Broken", (Laplace,), methods)


def shifted_start(self, x_NC):
    self.centre.fill_(float(x_NC.mean()))  # NaN, as missing cells are not left out


BROKEN = {
    "must have shape": {"log_prob": lambda self, x, o: Laplace.log_prob(self, x, o).sum(-1)},
    "gradients must be finite": {"log_prob": lambda self, x, o: Laplace.log_prob(self, x, o) + (o - o).sqrt()},
    "new likelihood, cell 0, must sum to 1": {"log_prob": lambda self, x, o: Laplace.log_prob(self, x, o) + 0.1},
    "samples and the density": {"sample": lambda self, o, g: 1.1 * (Laplace.sample(self, o, g) - o) + o},
    "the mean of a new": {"mean": lambda self, o: o + 0.1},
    "global generator": {"sample": lambda self, o, g: Laplace.sample(self, o, g) + 0.0 * torch.rand(())},
    "generators of one seed": {"sample": lambda self, o, g: Laplace.sample(self, o, EVER_OTHER)},
    "beside other cells": {"log_prob": lambda self, x, o: Laplace.log_prob(self, x, o) + 0.0 * x + x[:, :1]},
    "location and residual": {"location": lambda self, o: o},
    "log_prob and its gradients": {"start": shifted_start},
    "as many rows as it gets": {"clustering_view": lambda self, x: x[1:]},
    "a dense array for dense rows, and CSR for CSR": {"clustering_view": lambda self, x: sparse.csr_matrix(x)},
    "of CSR rows must agree": {"clustering_view": lambda self, x: abs(x) if sparse.issparse(x) else x},
}
EVER_OTHER = torch.Generator().manual_seed(0)


def test_a_correct_likelihood_passes():
    check_likelihood(Laplace)


@pytest.mark.parametrize("words", list(BROKEN))
def test_a_broken_likelihood_is_named(words):
    with pytest.raises(AssertionError, match=words):
        check_likelihood(broken(**BROKEN[words]))


def test_a_start_that_is_not_saved_is_named():
    class Unsaved(Laplace):
        def __init__(self, block):
            super().__init__(block)
            del self.centre
            self.centre = torch.zeros(())  # an attribute, which state_dict() does not hold

        def start(self, x_NC):
            self.centre = x_NC.nanmean()

    with pytest.raises(AssertionError, match="round trip of state_dict"):
        check_likelihood(Unsaved)


def test_another_class_is_refused():
    with pytest.raises(AssertionError, match=r"must be a subclass of deepmix\.contracts\.Likelihood"):
        check_likelihood(torch.nn.Linear)
