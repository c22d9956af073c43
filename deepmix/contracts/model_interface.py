"""The interface of a model."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from deepmix.contracts.batch import Batch, Loss, Stage
from deepmix.contracts.interfaces import NoOptions
from deepmix.contracts.plan import ModelPlan, source_of
from deepmix.contracts.starts import EpochStart, Placement
from deepmix.maths import Dims, compute_alone_after_fork

compute_alone_after_fork()


def first_line(documented: Any) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(documented) or "").strip().split("\n")[0]


class Model(nn.Module, abc.ABC):
    """The interface of every model to training, heads and command line; built as `Model(dims, likelihood, options)`.

    Training calls the model itself, so that hooks, DistributedDataParallel and torch.compile see `forward`.
    """

    Options: ClassVar[type] = NoOptions
    init: ClassVar[str] = "auto"
    """Name of the initial clustering that the model starts from unless another is requested."""
    objective: ClassVar[Any] = None
    """Default weights of the objective, a `deepmix.models.ObjectiveOptions`; None: the core's defaults."""
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
            objective=cls.objective,
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

    def clustering_view(self, x_ND: Any) -> Any:
        """Return the training rows as initial clusterings should see them, dense or CSR; by default, as they are."""
        return x_ND

    @abc.abstractmethod
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Start the mixture from an initial clustering of the pretrained codes.

        Args:
            code_NM: codes of all training rows.
            squared_error_N: the autoencoder's mean squared error on each row, in squared units of the data.
            label_N: initial cluster of each row, int64 in [0, K); -1: noise, which places no component, or unknown in
                a model that learns from labels.
            weight_N: weights of the rows, with mean 1; None: all rows count alike.

        """

    def place_on(self, start: Placement) -> None:
        """Start the mixture from an initial clustering; by default, by `place`. Training calls this method."""
        weights = {} if start.weight_N is None else {"weight_N": start.weight_N}
        self.place(start.code_NM, start.squared_error_N, start.label_N, **weights)

    def epoch_started(self, start: EpochStart) -> None:
        """Prepare for an epoch, without gradients and in evaluation mode; it must not draw global random numbers.

        An epoch that fails is done again, and so is this call, from the same weights and the same `training_state`.
        """

    def training_state(self) -> dict[str, Tensor]:
        """Return tensors that training needs to go on and inference does not; they are stored in checkpoints only."""
        return {}

    def restore_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `training_state` returned, when a run is resumed or an epoch is done again."""

    def optimizer(self, stage: Stage, lr: float) -> torch.optim.Optimizer | None:
        """Return a new optimiser for a stage; None, the default: torch's fused Adam on all parameters.

        A group of parameters whose rate differs from `lr` keeps its ratio to the other groups' throughout. The values
        of the optimiser's state are tensors.

        Args:
            stage: 'pretrain' or 'train'.
            lr: the learning rate at the start of the stage.

        """
        return None

    def learning_rate(self, stage: Stage, lr: float, decay: float, progress: float) -> float:
        """Return the learning rate of an epoch; by default it falls geometrically.

        Args:
            stage: 'pretrain' or 'train'.
            lr: the learning rate at the start of the stage.
            decay: the option `lr_decay`, the fraction of it that is left at the end of the stage.
            progress: fraction of the stage's epochs that have passed.

        """
        return lr * decay**progress

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


def _build(kind: Any, dims: Dims, parts: Mapping[str, Any], likelihood: Any, options: Any) -> Model:
    """Build a model with parts of its own."""
    model: Model = kind(dims, likelihood, options)
    return model
