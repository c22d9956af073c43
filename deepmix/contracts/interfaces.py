"""The interfaces of a model's parts and of what stands beside a model; all are abstract, except `NoOptions`.

A part of a model (Encoder, Decoder, Prior, PosteriorEstimator) is built as `Part(dims, options)`, where
`options` is an instance of its dataclass `Options`; other plugins are built as `Plugin(options)`. The
fields of `Options` become `--set key=value`, checked and shown by `--help`. See `deepmix.maths.values` for the
shape legend.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deepmix.contracts.batch import MixtureStep
from deepmix.contracts.starts import PriorPlacement
from deepmix.contracts.training_rows import TrainingRows
from deepmix.data import Split
from deepmix.maths import (
    Array,
    Gaussian,
    Inference,
    Latents,
    MixtureParameters,
    Responsibilities,
    gaussian_log_prob,
)


@dataclass(frozen=True)
class NoOptions:
    """The options of a plugin that has none."""


class Encoder(nn.Module, abc.ABC):
    """q(z|y,x): maps rows to H diagonal Gaussians over the latent."""

    Options: ClassVar[type] = NoOptions
    needs_images: ClassVar[bool] = False
    """Whether the part reads `dims.image_shape`, so that rows must be images."""
    lr_factor: float = 1.0
    """Factor by which the automatic learning rate is larger than VaDE's, as it can be where layers are narrow."""

    @abc.abstractmethod
    def forward(self, x_ND: Tensor) -> Gaussian:
        """Return q(z|y,x), mean and log-variance of shape (N, H, M)."""

    @abc.abstractmethod
    def code(self, x_ND: Tensor) -> Tensor:
        """Return the plain autoencoder's code used in pretraining, (N, M): the first head's mean."""

    def clustering_view(self, x_ND: Any) -> Any:
        """Return the training rows as initial clusterings should see them; by default, as they are.

        Args:
            x_ND: dense or CSR, float32, of an array; the result is of the same kind and has as many rows.

        """
        return x_ND

    @abc.abstractmethod
    def place(self, shift_M: Tensor, scale_M: Tensor, log_var: float) -> None:
        """Make every head give (code - shift) / scale as its mean and `log_var` as its log-variance."""


class Decoder(nn.Module, abc.ABC):
    """p(x|z,y): maps latents to the parameters of the observation model."""

    Options: ClassVar[type] = NoOptions
    needs_images: ClassVar[bool] = False
    """Whether the part reads `dims.image_shape`, so that rows must be images."""

    @abc.abstractmethod
    def forward(self, z_RM: Tensor, counts_H: list[int]) -> Tensor:
        """Decode packed rows.

        Args:
            z_RM: latents sorted by the head they come from.
            counts_H: number of rows from each head; they sum to R.

        Returns:
            (R, P): Bernoulli logits, Gaussian means, or means followed by log-variances.

        """

    @abc.abstractmethod
    def place(self, shift_M: Tensor, scale_M: Tensor) -> None:
        """Make the decoder apply z * scale + shift to its input first, which undoes `Encoder.place`."""


class Prior(nn.Module, abc.ABC):
    """p(z|y_k) p(y_k): K diagonal Gaussians and K weights; `DensityPrior` is one with any other density."""

    Options: ClassVar[type] = NoOptions

    @abc.abstractmethod
    def forward(self) -> MixtureParameters:
        """Return the components, (K, M) or None for N(0, I), and the log-weights (K,)."""

    @abc.abstractmethod
    def place(self, components: Gaussian, weight_K: Tensor) -> None:
        """Set the prior to an initial clustering's moments, (K, M), and weights, (K,), which sum to 1."""

    def bind(self, encoder: Encoder) -> None:
        """Take the model's encoder, once, when the model is built.

        A prior that keeps it stores it in a tuple or a list: as an attribute of its own it would be a part of the prior
        too, and its weights would be stored twice.
        """

    def place_on(self, start: PriorPlacement) -> None:
        """Start from an initial clustering; by default, from its moments and weights alone, by `place`."""
        self.place(start.components, start.weight_K)


class DensityPrior(Prior):
    """p(z|y_k) p(y_k) with a density of its own in place of K diagonal Gaussians: full covariances, flows, ..."""

    @abc.abstractmethod
    def log_weights(self) -> Tensor:
        """Return log p(y_k), (K,); the weights sum to 1."""

    @abc.abstractmethod
    def log_prob(self, z_LNHM: Tensor) -> Tensor:
        """Return log p(z|y_k) in nats, (L, N, K).

        Args:
            z_LNHM: latents, (L, N, H, M): H is K, and those of head k are for component k; or H is 1, and all
                components share the latents.

        """

    @abc.abstractmethod
    def sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return latents drawn from p(z|y_k) of one component, (n_rows, M)."""

    def kl(self, posterior: Gaussian, z_LNHM: Tensor) -> Tensor:
        """Return KL(q(z|y_k,x) || p(z|y_k)) in nats, (N, K); by default, its Monte-Carlo estimate.

        KL = E_q[log q(z|y_k,x) - log p(z|y_k)]

        Args:
            posterior: q(z|y,x), (N, H, M).
            z_LNHM: samples of it; outside training they come from fixed noise, so that the result is deterministic.

        """
        log_q_LNH = gaussian_log_prob(z_LNHM, posterior.mean, posterior.log_var)
        return (log_q_LNH - self.log_prob(z_LNHM)).mean(0)

    def forward(self) -> MixtureParameters:
        """Return the log-weights; there are no diagonal Gaussians. Subclasses must not override this method."""
        return MixtureParameters(None, self.log_weights())


class PosteriorEstimator(nn.Module, abc.ABC):
    """The E-step: q(y|x) from a batch's latents."""

    Options: ClassVar[type] = NoOptions

    @property
    @abc.abstractmethod
    def needs_likelihood(self) -> bool:
        """Whether q(y|x) depends on log p(x|z_k), so that every component is decoded before the E-step."""

    @abc.abstractmethod
    def forward(self, latents: Latents, log_likelihood_LNK: Tensor | None) -> Responsibilities:
        """Return q(y|x). `log_likelihood_LNK` is None unless `needs_likelihood`."""


class LossTerm(nn.Module, abc.ABC):
    """An additional term of a mixture's objective; a recipe lists the classes of the terms that it adds."""

    Options: ClassVar[type] = NoOptions
    name: ClassVar[str]
    """The name under which the term is logged and plotted; its options are set as `term.NAME.key`."""

    @abc.abstractmethod
    def forward(self, step: MixtureStep) -> Tensor:
        """Return the weighted cost of the term for each row, (N,) in nats, which is subtracted from the objective."""


class Initializer(abc.ABC):
    """An algorithm for the initial clustering, from which encoder heads and prior start."""

    Options: ClassVar[type] = NoOptions

    @abc.abstractmethod
    def initial_labels(self, rows: TrainingRows, n_components: int, seed: int) -> Array:
        """Cluster the training rows.

        Args:
            rows: the training rows: features, codes and weights; a row of weight 2 should count as two rows.
            n_components: K, the number of clusters.
            seed: makes the result reproducible.

        Returns:
            (N,) int64 labels in [0, K); -1: noise, which places no component and is anchored to none.

        """


class Dataset(abc.ABC):
    """A source of data with a split, and with labels where they exist."""

    Options: ClassVar[type] = NoOptions
    downloads: ClassVar[bool] = False
    """Whether it can fetch its files; then its options have a field `download`, and `download=false` forbids it."""

    @abc.abstractmethod
    def load(self, data_dir: Path | None) -> Split:
        """Return the data; `data_dir` is the user's data folder, if any."""


class ClusteringHead(abc.ABC):
    """A method that turns a trained model's output on the rows into clusters.

    A plugin may also register any scikit-learn clusterer with `fit` and `predict`: it is fitted on the
    latents of the training rows, and on their weights where its `fit` takes `sample_weight`.
    """

    Options: ClassVar[type] = NoOptions
    needs_mixture: ClassVar[bool] = False
    """Whether the head reads q(y|x), which makes no sense with a model of one component."""
    refits: ClassVar[bool] = False
    """Whether `predict` fits the rows that it clusters, so that there must be more rows than clusters."""

    @abc.abstractmethod
    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Fit on the training rows; a row of weight 2 (`inference.weight_N`) should count as two rows."""

    @abc.abstractmethod
    def predict(self, inference: Inference) -> Array:
        """Return (N,) int64 cluster numbers, of any number of clusters; -1: noise, a row that is in none."""

    @abc.abstractmethod
    def state(self) -> dict[str, Array] | None:
        """Return the result of `fit` as arrays of numbers, to be stored with the run; None if that is impossible."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the arrays that `state` returned, in place of `fit`; `predict` then returns the same clusters."""
