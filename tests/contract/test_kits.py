"""Each clause of the kits can fail: plugins that break one clause, and the sentence that names it and its cure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from deepmix_builtins.clustering.heads import KMeansHead
from deepmix_builtins.clustering.initializers import KMeansInitializer
from deepmix_builtins.datasets.synthetic import Gaussians
from deepmix_builtins.mixture.posteriors import PriorPosterior
from deepmix_builtins.mixture.priors import MixturePrior
from deepmix_builtins.models.gmvae import Gmvae
from deepmix_builtins.networks.encoders import MlpEncoder
from sklearn.cluster import Birch

from deepmix.maths import Gaussian
from deepmix.testing import StandInLikelihood, kit_of, run_kit
from deepmix.testing.command_line import target_of


class NoSummary(MixturePrior):
    def forward(self):
        return super().forward()


@dataclasses.dataclass(frozen=True)
class Silent:
    width: int = 3


class NoHelp(MixturePrior):
    """A prior with an option that nobody explains."""

    Options = Silent


class Constant(MixturePrior):
    """A prior whose fixed tensor stays where it was made."""

    def __init__(self, dims, options):
        super().__init__(dims, options)
        self.fixed = torch.zeros(dims.n_components, dims.latent_dim)

    def forward(self):
        parameters = super().forward()
        components = Gaussian(parameters.components.mean + self.fixed, parameters.components.log_var)
        return type(parameters)(components, parameters.log_weight_K)


class Forgetful(MixturePrior):
    """A prior that keeps what place() sets outside of its state."""

    def place(self, components, weight_K):
        self.placed = components.mean

    def forward(self):
        parameters = super().forward()
        mean = getattr(self, "placed", parameters.components.mean)
        return type(parameters)(Gaussian(mean, parameters.components.log_var), parameters.log_weight_K)


class Rash(MixturePrior):
    """A prior that takes the logarithm of a difference that may be 0."""

    def forward(self):
        parameters = super().forward()
        log_var_KM = parameters.components.log_var
        return type(parameters)(
            Gaussian(parameters.components.mean, log_var_KM + (0 * log_var_KM).sqrt()), parameters.log_weight_K
        )


class Noisy(MlpEncoder.__base__):
    """An encoder that draws in forward."""

    Options = MlpEncoder.Options

    def __init__(self, dims, options):
        super().__init__(dims, torch.nn.Identity(), dims.n_features)

    def forward(self, x_ND):
        posterior = super().forward(x_ND)
        return Gaussian(posterior.mean, posterior.log_var + 1e-6 * torch.rand_like(posterior.log_var))


class Centred(MlpEncoder.__base__):
    """An encoder that subtracts the mean of its batch."""

    Options = MlpEncoder.Options

    def __init__(self, dims, options):
        super().__init__(dims, torch.nn.Identity(), dims.n_features)

    def forward(self, x_ND):
        return super().forward(x_ND - x_ND.mean(0))

    def code(self, x_ND):
        return super().code(x_ND - x_ND.mean(0))


class Single(PriorPosterior.__base__):
    """An E-step in single precision."""

    needs_likelihood = use_posterior = False

    def forward(self, latents, log_likelihood_LNK):
        result = super().forward(latents, log_likelihood_LNK)
        return type(result)(result.log_q_NK.float(), result.log_normalizer_N.float())


class Two(MixturePrior):
    """A prior that needs two components."""

    def forward(self):
        parameters = super().forward()
        return type(parameters)(parameters.components, parameters.log_weight_K - 0.0 * parameters.log_weight_K[1])


class Lucky(KMeansHead.__base__):
    """A head that draws at random."""

    def __init__(self, options): ...

    def fit(self, inference, n_clusters, seed): ...

    def predict(self, inference):
        return np.random.default_rng().integers(10**9, size=len(inference.latent_NM))

    def state(self):
        return {"name": np.array("lucky")}

    def restore(self, state): ...


class Greedy(KMeansInitializer.__base__):
    """An initial clustering that scales the rows in place and can't read sparse ones."""

    def __init__(self, options): ...

    def initial_labels(self, rows, n_components, seed):
        rows.x_ND[:] *= 2.0
        return np.argmax(rows.x_ND[:, :3], axis=1).astype(np.int64)


class Backward(KMeansInitializer):
    """K-means that says it has begun again."""

    def initial_labels(self, rows, n_components, seed):
        rows.progress.step("second start", 0.5)
        rows.progress.step("first start", 0.0)
        return super().initial_labels(rows, n_components, seed)


class Changing(Gaussians.__base__):
    """A data set that is another one each time."""

    Options = Gaussians.Options
    calls = 0

    def __init__(self, options):
        self.options = options

    def load(self, data_dir):
        Changing.calls += 1
        return Gaussians(dataclasses.replace(self.options, data_seed=Changing.calls, rows=60, classes=2)).load(data_dir)


class Unheld(Gmvae):
    """A GMVAE that draws noise from the global generator."""

    def training_loss(self, batch):
        torch.rand(())
        return super().training_loss(dataclasses.replace(batch))


BROKEN = [
    ("priors", NoSummary, "summary", "prior NoSummary has no docstring. Cure: begin the docstring"),
    ("priors", NoHelp, "options", "option 'width' has no help text. Cure: declare each as"),
    ("priors", Constant, "devices", "Cure: create tensors with device=x.device, and keep fixed ones"),
    (
        "priors",
        Forgetful,
        "state",
        "the outputs differ after a round trip of state_dict(). Cure: keep whatever place()",
    ),
    ("priors", Rash, "gradients", "a gradient is not finite. Cure: compute with torch's functions only"),
    ("priors", Two, "one-component", "IndexError: index 1 is out of bounds"),
    ("encoders", Noisy, "seeds", "two calls gave different outputs. Cure: draw initial weights"),
    ("encoders", Centred, "rows", "Cure: treat every row alone: no statistics over the batch"),
    ("posteriors", Single, "precision", "an output for torch.float64 has torch.float32. Cure: use the dtype"),
    ("likelihoods", StandInLikelihood, "contract", "must sum to 1, but sums to 2.507. Cure: follow the message"),
    ("heads", Lucky, "seeds", "two fits with one seed gave different clusters. Cure: draw all random numbers"),
    ("heads", Lucky, "state", "'name' of state() is of type <U5. Cure: return arrays of numbers"),
    ("heads", Lucky, "one-row", "one row alone got another cluster than among others. Cure: fit in fit() only"),
    ("initializers", Greedy, "sparse-rows", "Cure: convert rows.x_ND with .toarray()"),
    ("initializers", Greedy, "arrays-stay", "initial_labels changed the rows or their codes. Cure: copy arrays"),
    (
        "initializers",
        Backward,
        "contract",
        "the work that is done must not fall from one step to the next. Cure: compare",
    ),
    ("datasets", Changing, "seeds", "the second load gave other rows or another split. Cure: draw from"),
    ("models", Unheld, "seeds", "training_loss drew from torch's global generator. Cure: draw initial weights"),
]


@pytest.mark.parametrize(
    ("kind", "part", "clause", "words"), BROKEN, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_broken_clause_is_named_with_its_cure(kind, part, clause, words):
    results = run_kit(kit_of(kind, part), "part", without={"command-line", "compile"})
    failed = {result.clause: result.text for result in results if result.state == "failed"}
    assert words in failed[clause]
    assert failed[clause].startswith("the contract says: ")


def test_a_clusterer_of_scikit_learn_is_tested_as_far_as_it_is_the_plugins_own():
    states = {result.clause: result.state for result in run_kit(kit_of("heads", Birch), "birch", {"command-line"})}
    own = {"summary": "ok", "options": "ok", "contract": "ok"}
    assert states == own | dict.fromkeys(("seeds", "weights", "one-row", "state"), "skipped")


def test_a_plugin_that_no_module_has_is_named():
    assert target_of(Birch) in ("sklearn.cluster:Birch", "sklearn.cluster._birch:Birch")
    with pytest.raises(AssertionError, match="is in no module; define it at the top of a module that can be imported"):
        target_of(object())
