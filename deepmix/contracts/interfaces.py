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
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from deepmix.contracts.batch import Batch, Loss, MixtureStep
from deepmix.contracts.plan import ModelPlan, source_of
from deepmix.contracts.training_rows import TrainingRows
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
    lr_factor: float = 1.0
    """Factor by which the automatic learning rate is larger than VaDE's, as it can be where layers are narrow."""

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
    init: ClassVar[str] = "auto"
    """Name of the initial clustering that the model starts from unless another is requested."""
    single_component: ClassVar[bool] = False
    """Whether the model has one component whatever the number of clusters."""
    n_components: int
    """K, the number of components of q(y|x)."""
    n_neighbours: int = 0
    """Number of nearest training rows from which each row's neighbour is chosen; 0: batches have no neighbours."""
    latent_dim: int
    """M, the number of latent dimensions."""
    takes_conditions: ClassVar[bool] = False
    """Whether the model uses `condition_NQ`."""
    lr_factor: float = 1.0
    """Factor by which the automatic learning rate is larger than VaDE's, as it can be where layers are narrow."""
    generates_from_rows: bool = False
    """Whether a cluster is generated from the latents of its training rows, not at z drawn from p(z|y)."""
    likelihood: Any
    """The `deepmix.models.Composite` that the model was built with: the observation model p(x|z)."""

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
            takes_conditions=cls.takes_conditions,
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
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Start the mixture from an initial clustering of the pretrained codes.

        Args:
            code_NM: codes of all training rows.
            squared_error_N: the autoencoder's mean squared error on each row, in squared units of the data.
            label_N: initial cluster of each row, int64 in [0, K); -1: unknown, in a model that learns from labels.
            weight_N: weights of the rows, with mean 1; None: all rows count alike.

        """

    @abc.abstractmethod
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log q(y|x), (N, K), and the latent of each row's MAP component, (N, M); deterministic."""

    @abc.abstractmethod
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return latents drawn from p(z|y) of one component, (n_rows, M)."""

    @abc.abstractmethod
    def posterior_sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return components drawn from q(y|x), (N,) int64, and latents drawn from q(z|y,x), (N, M).

        Without a generator in the batch, they are the most probable component and the mean of its latents. Before
        `place`, in the phase 'pretrain', they are zeros and the autoencoder's codes, and nothing is random.

        """

    @abc.abstractmethod
    def decode(self, z_NM: Tensor, component_N: Tensor, condition_NQ: Tensor | None = None) -> Tensor:
        """Return the outputs of each row's decoder, (N, P), which the likelihood takes.

        Args:
            z_NM: latents.
            component_N: the component that each row comes from, int64.
            condition_NQ: covariates; None: the training rows' average.

        """

    @final
    @torch.no_grad()
    def sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Generate rows of one component: means of p(x|z) at z drawn from p(z|y), (n_rows, C)."""
        z_NM = self.prior_sample(n_rows, component, generator)
        component_N = torch.full((n_rows,), component, device=z_NM.device)
        mean_NC: Tensor = self.likelihood.mean(self.decode(z_NM, component_N))
        return mean_NC


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
