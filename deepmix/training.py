"""Pretraining, the initial clustering and training, in steps that can be stopped and resumed exactly.

Nothing random outlives an epoch: each epoch's generator is seeded by (seed, stage, epoch), so the
weights, the optimiser's moments, the initial labels and the epoch number are the whole state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from deepmix.adam import Adam
from deepmix.data import Rows
from deepmix.errors import DeepmixError, UsageError
from deepmix.interfaces import Model
from deepmix.objective import ObjectiveOptions
from deepmix.runs import CHECKPOINT, NEIGHBOURS, RunStore
from deepmix.types import Array, Inference

Stage = Literal["pretrain", "train"]
STAGES: tuple[Stage, ...] = ("pretrain", "train")

MIN_EPOCHS, MIN_UPDATES = 30, 500
"""An automatic number of epochs is at least this many, and enough for this many updates: large data
need the one, small data the other."""
CHECKPOINT_SECONDS = 5.0
"""A checkpoint is written at the end of a stage, and of the first epoch to end this long after the last one."""
EVALUATION_ROWS = 1024
"""Rows a batch where no gradients are kept."""
IN_USE_SHARE = 0.1
"""A component is in use if it is the MAP component of this part of an equal share of the rows."""
ACTIVE_VARIANCE = 0.01
"""A latent dimension is active if its posterior mean varies more than this within the clusters (Burda et
al. 2016, who have one cluster)."""
DIFFUSE_CONFIDENCE = 0.6
"""Mean of max q(y|x) below which the clustering is called diffuse."""


@dataclass(frozen=True)
class TrainingOptions:
    """How long and how fast to train."""

    epochs: int | None = field(
        default=None, metadata={"help": "epochs of training; auto: at least 30, and at least 500 updates"}
    )
    pretrain_epochs: int | None = field(
        default=None, metadata={"help": "epochs of autoencoder pretraining; auto as for epochs"}
    )
    batch_size: int = field(default=128, metadata={"help": "rows an update (VaDE takes 100; a power of 2 near it)"})
    lr: float = field(default=2e-3, metadata={"help": "learning rate at the start of each stage (VaDE's)"})
    lr_decay: float = field(
        default=0.1,
        metadata={
            "help": "part of the learning rate left at the end of each stage (geometric, as VaDE's 0.9 a decade)"
        },
    )
    precision: Literal["fp32", "bf16"] = field(
        default="fp32", metadata={"help": "precision of the networks; densities are always fp32"}
    )
    patience: int | None = field(
        default=None, metadata={"help": "stop after this many epochs without a better training ELBO; auto: never"}
    )

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("pretrain_epochs", 0), ("batch_size", 1), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be at least {least}, got {value}")
        if not (math.isfinite(self.lr) and self.lr > 0.0):
            raise UsageError(f"lr must be above 0, got {self.lr}")
        if not 0.0 < self.lr_decay <= 1.0:
            raise UsageError(f"lr_decay must be above 0 and at most 1, got {self.lr_decay}")

    def n_epochs(self, stage: Stage, n_rows: int) -> int:
        """Return how many epochs a stage has with this many rows."""
        given = self.pretrain_epochs if stage == "pretrain" else self.epochs
        updates_per_epoch = math.ceil(n_rows / self.batch_size)
        return max(MIN_EPOCHS, math.ceil(MIN_UPDATES / updates_per_epoch)) if given is None else given


def planned_epochs(model: Model, options: TrainingOptions, stage: Stage, n_rows: int) -> int:
    """Return how many epochs a stage of this model has; none if `Model.place` is its whole fit."""
    return options.n_epochs(stage, n_rows) if learns_by_gradient(model) else 0


def learns_by_gradient(model: Model) -> bool:
    """Whether any parameter is trained; the others, if there are any, are fitted by `Model.place`."""
    return any(parameter.requires_grad for parameter in model.parameters())


class Reporter(Protocol):
    """Who is told how a run goes."""

    def start(self, stage: str, n_epochs: int) -> None:
        """A stage begins; 0 epochs where their number is not known."""

    def epoch(self, stage: str, row: dict[str, Any]) -> None:
        """An epoch ended; `row` is its line of metrics.jsonl."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class Trainer:
    """Trains one model on one set of rows, from wherever it stands."""

    def __init__(
        self,
        model: Model,
        rows: Rows,
        options: TrainingOptions,
        objective: ObjectiveOptions,
        seed: int,
        folder: RunStore,
        reporter: Reporter,
    ) -> None:
        self.model, self.rows, self.options, self.objective = model, rows, options, objective
        self.seed, self.folder, self.reporter = seed, folder, reporter
        self.stage: Stage = "pretrain"
        self.epoch = 0
        self.n_lines = 0
        self.started, self.earlier_seconds = time.perf_counter(), 0.0
        self.saved = self.started
        self.best_elbo, self.stale_epochs = -math.inf, 0
        self.labels_N: Tensor | None = None
        self.neighbours_NJ: Tensor | None = None
        self.optimizer = Adam(model.parameters(), options.lr)

    @property
    def seconds(self) -> float:
        """Seconds spent on this run, those before it was resumed included."""
        return self.earlier_seconds + time.perf_counter() - self.started

    def run(self, initial_labels: Callable[[Array], Array]) -> None:
        """Pretrain, place the mixture on an initial clustering of the codes, train.

        Args:
            initial_labels: gives the training rows' initial clusters, from their codes (N, M).

        """
        if self.stage == "pretrain":
            self._run_stage(self._pretraining_step)
            self._place(initial_labels)
        self._prepare_neighbours()
        self._run_stage(self._training_step)

    def _prepare_neighbours(self) -> None:
        """Find the training rows' neighbours where the model asks for them; once for a run, resumed or not."""
        if not self.model.n_neighbours:
            return
        if self.folder.has(NEIGHBOURS):
            self.neighbours_NJ = self.folder.read_tensors(NEIGHBOURS)[0]["neighbours"].to(self.rows.device)
            return
        self.reporter.start("neighbour graph", 0)
        self.neighbours_NJ = self.rows.nearest(self.model.n_neighbours)
        self.folder.write_tensors(NEIGHBOURS, {"neighbours": self.neighbours_NJ}, {})

    def _run_stage(self, step: Callable[[Tensor, torch.Generator, int], dict[str, Tensor]]) -> None:
        n_epochs = planned_epochs(self.model, self.options, self.stage, self.rows.n_rows)
        self.reporter.start(self.stage, n_epochs)
        self.model.train()
        while self.epoch < n_epochs:
            if self.options.patience is not None and self.stale_epochs >= self.options.patience:
                self.reporter.note(f"stopped early: no better ELBO in {self.stale_epochs} epochs")
                break
            row = self._run_epoch(step, n_epochs)
            self.epoch += 1
            self.n_lines += 1
            if not math.isfinite(row["elbo"]):
                raise diverged(f"in epoch {self.epoch} ({self.stage})")
            if self.stage == "train":
                self.stale_epochs = 0 if row["elbo"] > self.best_elbo else self.stale_epochs + 1
                self.best_elbo = max(row["elbo"], self.best_elbo)
            self.folder.append_epoch(row)
            if time.perf_counter() - self.saved > CHECKPOINT_SECONDS:
                self.save()
            self.reporter.epoch(self.stage, row)
        self.save()

    def _run_epoch(
        self, step: Callable[[Tensor, torch.Generator, int], dict[str, Tensor]], n_epochs: int
    ) -> dict[str, Any]:
        started = time.perf_counter()
        device = self.rows.device
        generator = torch.Generator(device).manual_seed(epoch_seed(self.seed, self.stage, self.epoch))
        lr = self.options.lr * self.options.lr_decay ** (self.epoch / n_epochs)
        self.optimizer.lr = lr
        sums: dict[str, Tensor] = {}
        order = torch.randperm(self.rows.n_rows, generator=generator, device=device)
        for chosen in order.split(min(self.options.batch_size, self.rows.n_rows)):
            self.optimizer.zero_grad()
            for name, value in step(chosen, generator, n_epochs).items():
                sums[name] = sums[name] + value if name in sums else value
            self.optimizer.step()
        counts_K = sums.pop("counts", None)
        row: dict[str, Any] = {"stage": self.stage, "epoch": self.epoch + 1}
        row |= {name: float(value) / self.rows.n_rows for name, value in sums.items()}
        if counts_K is not None:
            row["clusters_in_use"] = components_in_use(counts_K)
            row["beta"] = self.objective.beta_at(self.epoch, n_epochs)
        return row | {"lr": lr, "seconds": time.perf_counter() - started}

    def _pretraining_step(self, chosen: Tensor, generator: torch.Generator, n_epochs: int) -> dict[str, Tensor]:
        with autocast(self.rows.device, self.options.precision):
            loss_N = self.model.pretraining_loss(self.rows.batch(chosen))
        loss_N.mean().backward()
        return {"elbo": -loss_N.detach().sum()}

    def _training_step(self, chosen: Tensor, generator: torch.Generator, n_epochs: int) -> dict[str, Tensor]:
        assert self.labels_N is not None
        more: dict[str, Tensor] = {}
        if self.neighbours_NJ is not None:
            n_neighbours = self.neighbours_NJ.shape[1]
            pick_N = torch.randint(n_neighbours, chosen.shape, generator=generator, device=chosen.device)
            more["neighbour_ND"] = self.rows.batch(self.neighbours_NJ[chosen, pick_N])
        with autocast(self.rows.device, self.options.precision):
            elbo = self.model.elbo(
                self.rows.batch(chosen),
                generator,
                beta=self.objective.beta_at(self.epoch, n_epochs),
                anchor=self.objective.anchor,
                labels_N=self.labels_N[chosen],
                hold=self.epoch < self.objective.hold * n_epochs,
                **more,
            )
        (-elbo.objective_N.mean()).backward()
        log_max_N, map_N = elbo.log_q_NK.max(-1)
        return {
            "elbo": elbo.elbo_N.sum(),
            "reconstruction": elbo.reconstruction_N.sum(),
            "kl_latent": elbo.kl_latent_N.sum(),
            "kl_assignment": elbo.kl_assignment_N.sum(),
            "dropped_mass": elbo.dropped_N.sum(),
            "confidence": log_max_N.exp().sum(),
            "counts": torch.bincount(map_N, minlength=self.model.n_components),
        }

    def _place(self, initial_labels: Callable[[Array], Array]) -> None:
        self.reporter.start("initial clustering", 0)
        self.model.eval()
        with torch.no_grad(), autocast(self.rows.device, self.options.precision):
            parts = [self.model.pretrained(x_ND) for x_ND in self.rows.in_order(EVALUATION_ROWS)]
        code_NM = torch.cat([code for code, _ in parts]).float()
        squared_error_N = torch.cat([error for _, error in parts]).float()
        if not (code_NM.isfinite().all() and squared_error_N.isfinite().all()):
            raise diverged("at the end of pretraining")
        labels = torch.from_numpy(initial_labels(code_NM.cpu().numpy()))
        self.labels_N = labels.to(self.rows.device, torch.long)
        self.model.place(code_NM, squared_error_N, self.labels_N)
        self.optimizer = Adam(self.model.parameters(), self.options.lr)
        self.stage, self.epoch = "train", 0
        self.save()

    def save(self) -> None:
        """Write the whole training state, atomically."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, state in self.optimizer.state.items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        if self.labels_N is not None:
            tensors["labels"] = self.labels_N
        meta = {
            "stage": self.stage,
            "epoch": self.epoch,
            "n_lines": self.n_lines,
            "best_elbo": None if self.best_elbo == -math.inf else self.best_elbo,
            "stale_epochs": self.stale_epochs,
            "seconds": self.seconds,
        }
        self.folder.write_tensors(CHECKPOINT, tensors, meta)
        self.saved = time.perf_counter()

    def restore(self) -> None:
        """Take up the state of the run folder's checkpoint; without one, start from the beginning."""
        if not self.folder.has(CHECKPOINT):
            self.folder.keep_epochs(0)
            return
        tensors, meta = self.folder.read_tensors(CHECKPOINT)
        device = self.rows.device
        prefix = "model."
        weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            raise DeepmixError(
                f"the checkpoint in '{self.folder.path}' does not fit its config.json; train again with --overwrite"
            ) from error
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                self.optimizer.state.setdefault(int(index), {})[key] = value.to(device)
        self.labels_N = tensors["labels"].to(device) if "labels" in tensors else None
        self.stage, self.epoch = meta["stage"], meta["epoch"]
        self.best_elbo = -math.inf if meta["best_elbo"] is None else meta["best_elbo"]
        self.n_lines, self.stale_epochs = meta["n_lines"], meta["stale_epochs"]
        self.earlier_seconds = meta["seconds"]
        self.folder.keep_epochs(self.n_lines)


def epoch_seed(seed: int, stage: str, epoch: int) -> int:
    """Return the seed of an epoch's generator."""
    names = (*STAGES, "evaluate")
    return int(np.random.SeedSequence((seed, names.index(stage), epoch)).generate_state(1)[0])


def diverged(when: str) -> DeepmixError:
    """Return the error for a training whose figures are no longer finite."""
    return DeepmixError(
        f"training diverged {when}: its figures are no longer finite; try a smaller --lr, "
        "or --set scale=standard for data with very large values"
    )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context networks run in."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def evaluate(model: Model, rows: Rows, precision: str, seed: int) -> tuple[Inference, dict[str, float]]:
    """Return q(y|x) and the MAP latents of all rows, and the mean ELBO and its parts in nats a row."""
    model.eval()
    generator = torch.Generator(rows.device).manual_seed(epoch_seed(seed, "evaluate", 0))
    log_q, latents = [], []
    sums = dict.fromkeys(("elbo", "reconstruction", "kl_latent", "kl_assignment"), 0.0)
    for x_ND in rows.in_order(EVALUATION_ROWS):
        with autocast(rows.device, precision):
            log_q_NK, latent_NM = model.infer(x_ND)
            elbo = model.elbo(x_ND, generator, beta=1.0)
        log_q.append(log_q_NK.float().cpu())
        latents.append(latent_NM.float().cpu())
        for name in sums:
            sums[name] += float(getattr(elbo, f"{name}_N").sum())
    inference = Inference(torch.cat(log_q).numpy(), torch.cat(latents).numpy())
    if not math.isfinite(sums["elbo"]) or np.isnan(inference.log_q_NK).any():
        raise diverged("in the last update")
    return inference, {name: total / rows.n_rows for name, total in sums.items()}


def components_in_use(counts_K: Tensor) -> int:
    """Return how many components are the MAP of at least a tenth of an equal share of the rows."""
    least = IN_USE_SHARE * float(counts_K.sum()) / len(counts_K)
    return int((counts_K >= max(least, 1.0)).sum())


def diagnose(inference: Inference, *, learned_latents: bool = True) -> list[str]:
    """Return, in words, what went wrong with a trained mixture that its metrics don't say."""
    warnings = []
    n_components = inference.log_q_NK.shape[1]
    counts_K = torch.bincount(torch.from_numpy(inference.map_N), minlength=n_components)
    in_use = components_in_use(counts_K)
    if in_use < n_components:
        warnings.append(
            f"collapsed components: only {in_use} of {n_components} are the most probable one of a fair share of rows"
        )
    confidence = float(np.exp(inference.log_q_NK.max(axis=1)).mean())
    if confidence < DIFFUSE_CONFIDENCE and n_components > 1:
        warnings.append(
            f"diffuse clustering: the largest q(y|x) of a row is {confidence:.2f} on average; try a smaller --beta "
            "or a larger --set anchor"
        )
    if not learned_latents:
        return warnings
    centred_NM = np.empty_like(inference.latent_NM)
    for k in np.unique(inference.map_N):
        rows = inference.map_N == k
        centred_NM[rows] = inference.latent_NM[rows] - inference.latent_NM[rows].mean(axis=0)
    variance_M = centred_NM.var(axis=0)
    inactive = int((variance_M < ACTIVE_VARIANCE).sum())
    if inactive:
        warnings.append(
            f"posterior collapse: {inactive} of {len(variance_M)} latent dimensions do not vary with the data within "
            "a cluster; try a smaller --latent-dim or --beta"
        )
    return warnings
