"""The interfaces that a plugin can implement; all classes here are abstract, except `NoOptions`.

A part of a model (Encoder, Decoder, Prior, PosteriorEstimator) is built as `Part(dims, options)`, where
`options` is an instance of its dataclass `Options`; other plugins are built as `Plugin(options)`. The
fields of `Options` become `--set key=value`, checked and shown by `--help`. See `deepmix.maths.values` for the
shape legend.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deepmix.contracts.batch import Batch, Loss, MixtureStep
from deepmix.contracts.plan import ModelPlan, source_of
from deepmix.data import Split
from deepmix.maths import Array, Dims, Gaussian, Inference, Latents, MixtureParameters, Responsibilities


@dataclass(frozen=True)
class NoOptions:
    """The options of a plugin that has none."""


def first_line(documented: Any) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(documented) or "").strip().split("\n")[0]


class Encoder(nn.Module, abc.ABC):
    """q(z|y,x): maps rows to H diagonal Gaussians over the latent."""

    Options: ClassVar[type] = NoOptions
    needs_images: ClassVar[bool] = False
    """Whether the part reads `dims.image_shape`, so that rows must be images."""

    @abc.abstractmethod
    def forward(self, x_ND: Tensor) -> Gaussian:
        """Return q(z|y,x), mean and log-variance of shape (N, H, M)."""

    @abc.abstractmethod
    def code(self, x_ND: Tensor) -> Tensor:
        """Return the plain autoencoder's code used in pretraining, (N, M): the first head's mean."""

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
    """p(z|y_k) p(y_k): K diagonal Gaussians and K weights."""

    Options: ClassVar[type] = NoOptions

    @abc.abstractmethod
    def forward(self) -> MixtureParameters:
        """Return the components, (K, M) or None for N(0, I), and the log-weights (K,)."""

    @abc.abstractmethod
    def place(self, components: Gaussian, weight_K: Tensor) -> None:
        """Set the prior to an initial clustering's moments, (K, M), and weights, (K,), which sum to 1."""


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


class Model(nn.Module, abc.ABC):
    """The interface of every model to training, heads and command line; built as `Model(dims, likelihood, options)`.

    Training calls the model itself, so that hooks, DistributedDataParallel and torch.compile see `forward`.
    """

    Options: ClassVar[type] = NoOptions
    init: ClassVar[str] = "graph"
    """Name of the initial clustering that the model starts from unless another is requested."""
    single_component: ClassVar[bool] = False
    """Whether the model has one component whatever the number of clusters."""
    n_components: int
    """K, the number of components of q(y|x)."""
    n_neighbours: int = 0
    """Number of nearest training rows from which each row's `neighbour_ND` is chosen; 0: batches have no neighbours."""
    latent_dim: int
    """M, the number of latent dimensions."""

    @classmethod
    def likelihood_name(cls, options: Any) -> str:
        """Return the observation model that the options name; 'auto', the default, lets the data decide."""
        return "auto"

    @classmethod
    def n_labelled(cls, options: Any) -> int:
        """Return the number of training rows whose labels the model uses; 0, the default: it starts from clusters."""
        return 0

    @classmethod
    def plan(cls) -> ModelPlan:
        """Return what the core needs to know about the model before building it."""
        return ModelPlan(
            summary=first_line(cls),
            source=source_of(cls),
            options=cls.Options(),
            build=partial(_build, cls),
            likelihood_name=cls.likelihood_name,
            n_labelled=cls.n_labelled,
            init=cls.init,
            single_component=cls.single_component,
        )

    def forward(self, batch: Batch) -> Loss:
        """Return the loss of a batch in the stage of its phase."""
        return self.pretraining_loss(batch) if batch.phase.stage == "pretrain" else self.training_loss(batch)

    @abc.abstractmethod
    def pretraining_loss(self, batch: Batch) -> Loss:
        """Return the plain autoencoder's objective: the log-likelihood of the rows given their codes."""

    @abc.abstractmethod
    def training_loss(self, batch: Batch) -> Loss:
        """Return the evidence lower bound of a batch, its parts and the weighted objective."""

    @abc.abstractmethod
    def pretrained(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the autoencoder's codes, (N, M), and mean squared errors of reconstruction, (N,)."""

    @abc.abstractmethod
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor) -> None:
        """Start the mixture from an initial clustering of the pretrained codes.

        Args:
            code_NM: codes of all training rows.
            squared_error_N: the autoencoder's mean squared error on each row, in squared units of the data.
            label_N: initial cluster of each row, int64 in [0, K); -1: unknown, in a model that learns from labels.

        """

    @abc.abstractmethod
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log q(y|x), (N, K), and the latent of each row's MAP component, (N, M); deterministic."""

    @abc.abstractmethod
    def sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Generate rows of one component: means of p(x|z) at z drawn from p(z|y), (n_rows, D)."""


class Initializer(abc.ABC):
    """An algorithm for the initial clustering, from which encoder heads and prior start."""

    Options: ClassVar[type] = NoOptions

    @abc.abstractmethod
    def initial_labels(self, x_ND: Any, code_NM: Array, n_components: int, seed: int) -> Array:
        """Cluster the training rows.

        Args:
            x_ND: the data, dense or CSR.
            code_NM: the pretrained autoencoder's codes of the same rows.
            n_components: K, the number of clusters.
            seed: makes the result reproducible.

        Returns:
            (N,) int64 labels in [0, K).

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
    latents of the training rows.
    """

    Options: ClassVar[type] = NoOptions
    needs_mixture: ClassVar[bool] = False
    """Whether the head reads q(y|x), which makes no sense with a model of one component."""
    refits: ClassVar[bool] = False
    """Whether `predict` fits the rows that it clusters, so that there must be more rows than clusters."""

    @abc.abstractmethod
    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Fit on the training rows."""

    @abc.abstractmethod
    def predict(self, inference: Inference) -> Array:
        """Return (N,) int64 cluster numbers."""

    @abc.abstractmethod
    def state(self) -> dict[str, Array] | None:
        """Return the result of `fit` as arrays of numbers, to be stored with the run; None if that is impossible."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the arrays that `state` returned, in place of `fit`; `predict` then returns the same clusters."""


def _build(kind: Any, dims: Dims, parts: Mapping[str, Any], likelihood: Any, options: Any) -> Model:
    """Build a model with parts of its own."""
    model: Model = kind(dims, likelihood, options)
    return model
