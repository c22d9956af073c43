"""Pretraining, the initial clustering and training, in steps that can be stopped and resumed exactly.

No random state outlives an epoch: the generator of each epoch is seeded with (seed, stage, epoch), so the weights, the
optimiser's moments, the initial labels and the epoch number are the whole state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from deepmix.contracts import Batch, Loss, Model, Phase, Stage
from deepmix.data import Rows
from deepmix.errors import DeepmixError, option
from deepmix.maths import Array, neighbour_votes
from deepmix.models import MOST_VOTING_ROWS, ObjectiveOptions
from deepmix.runs import CHECKPOINT, NEIGHBOURS, PREVIOUS, CheckpointMeta, EpochRecord, RunStore, damaged
from deepmix.training.adam import Adam
from deepmix.training.diagnosis import components_in_use, diverged
from deepmix.training.passes import EVALUATION_ROWS, autocast, weighted
from deepmix.training.reporter import Reporter
from deepmix.training.safe_steps import MOST_HALVINGS, SavedState, has_failed, is_finite_step, step_if
from deepmix.training.schedule import TrainingOptions, epoch_seed, learns_by_gradient, planned_epochs, start_lr

CHECKPOINT_SECONDS = 5.0
"""A checkpoint is written at the end of a stage, and after an epoch if the last one is at least this old."""


class Trainer:
    """A trainer of one model on one set of rows, from the start or from a checkpoint."""

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
        self.best_objective, self.stale_epochs = -math.inf, 0
        self.anchor_factor, self.lr_factor = 1.0, 1.0
        self.epoch_start, self.halvings_in_epoch = SavedState(), 0
        self.labels_N: Tensor | None = None
        self.anchor_NK: Tensor | None = None
        self.neighbours_NJ: Tensor | None = None
        self.optimizer = self._new_optimizer()

    @property
    def seconds(self) -> float:
        """Seconds spent on this run, including those before it was resumed."""
        return self.earlier_seconds + time.perf_counter() - self.started

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return Adam(self.model.parameters(), start_lr(self.model, self.options), fused=True)

    def run(self, initial_labels: Callable[[Array], Array]) -> None:
        """Pretrain, place the mixture on an initial clustering of the codes, and train.

        Args:
            initial_labels: returns the training rows' initial clusters, (N,) int64, from their codes, (N, M).

        """
        if self.stage == "pretrain":
            self._run_stage()
            self._place(initial_labels)
        self._prepare_neighbours()
        self._prepare_anchor()
        self._run_stage()

    def _prepare_neighbours(self) -> None:
        """Find the training rows' neighbours if the model needs them; a resumed run reads them back."""
        if not self.model.n_neighbours:
            return
        if self.folder.has(NEIGHBOURS):
            neighbours_NJ = self.folder.read_tensors(NEIGHBOURS)[0].get("neighbours")
            if neighbours_NJ is None or neighbours_NJ.ndim != 2 or len(neighbours_NJ) != self.rows.n_rows:
                raise damaged(str(self.folder.path / NEIGHBOURS), "it does not hold the neighbours of each row")
            self.neighbours_NJ = neighbours_NJ.to(self.rows.device)
            return
        self.reporter.start("neighbour graph", 0)
        self.neighbours_NJ = self.rows.nearest(self.model.n_neighbours)
        self.folder.write_tensors(NEIGHBOURS, {"neighbours": self.neighbours_NJ}, {})

    def _prepare_anchor(self) -> None:
        """Let each row's neighbours vote for its label in the anchor, unless they are too many or labels are unknown.

        Single rows that an initial clustering puts on the wrong side, and borders that wind between rows, cost the
        encoder much and are of no use for new rows.
        """
        labels_N, number = self.labels_N, self.objective.anchor_neighbours
        if labels_N is None or self.objective.anchor == 0.0 or number == 0 or self.model.n_components == 1:
            return
        if 1 < self.rows.n_rows <= MOST_VOTING_ROWS and int(labels_N.min()) >= 0:
            self.anchor_NK = neighbour_votes(labels_N, self.rows.nearest(number), self.model.n_components)

    def _run_stage(self) -> None:
        n_epochs = planned_epochs(self.model, self.options, self.stage, self.rows.n_rows)
        self.reporter.start(self.stage, n_epochs)
        self.model.train()
        while self.epoch < n_epochs:
            if self.options.patience is not None and self.stale_epochs >= self.options.patience:
                self.reporter.note(f"stopped early: no better objective in {self.stale_epochs} epochs")
                break
            self.epoch_start.take(self.model, self.optimizer)
            row = self._run_epoch(n_epochs)
            if has_failed(row, math.ceil(self.rows.n_rows / self.options.batch_size)):
                self._go_back()
                continue
            self.epoch += 1
            self.n_lines += 1
            self.halvings_in_epoch = 0
            if self.stage == "train":
                assert row.objective is not None
                self._watch_objective(row.objective, n_epochs)
                self._watch_leavers(row, n_epochs)
            self.folder.append_epoch(row)
            if time.perf_counter() - self.saved > CHECKPOINT_SECONDS:
                self.save()
            self.reporter.epoch(self.stage, row)
        self.save()

    def _go_back(self) -> None:
        """Go back to the start of an epoch, with half the learning rate from now on.

        Raises:
            DeepmixError: the run has done so three times already.

        """
        when = f"in epoch {self.epoch + 1} ({self.stage})"
        if self.lr_factor <= 0.5**MOST_HALVINGS:
            raise diverged(f"{when}, also after {MOST_HALVINGS} halvings of the learning rate")
        self.epoch_start.put_back(self.model, self.optimizer)
        self.lr_factor *= 0.5
        self.halvings_in_epoch += 1
        self.reporter.note(f"the loss or gradient was not finite {when}; the epoch is done again with half the rate")

    def _watch_objective(self, objective: float, n_epochs: int) -> None:
        """Count the epochs since the objective last improved; restart the count whenever its weights change."""
        if self.epoch > 1 and self._phase(self.epoch - 1, n_epochs) != self._phase(self.epoch - 2, n_epochs):
            self.best_objective, self.stale_epochs = -math.inf, 0
        self.stale_epochs = 0 if objective > self.best_objective else self.stale_epochs + 1
        self.best_objective = max(objective, self.best_objective)

    def _watch_leavers(self, row: EpochRecord, n_epochs: int) -> None:
        """Let the anchor grow if too many rows left their initial clusters in an epoch."""
        growth = 1.0
        if row.fraction_left is not None:
            growth = self.objective.anchor_growth(row.fraction_left, row.epoch - 1, n_epochs)
        if growth > 1.0:
            self.anchor_factor *= growth
            self.best_objective, self.stale_epochs = -math.inf, 0

    def _phase(self, epoch: int, n_epochs: int) -> Phase:
        """Return the stage and the weights of the objective in an epoch, counted from 0."""
        if self.stage == "pretrain":
            return Phase("pretrain")
        objective = self.objective
        anchor = objective.anchor * self.anchor_factor
        return Phase("train", objective.beta_at(epoch, n_epochs), anchor, hold=epoch < objective.hold * n_epochs)

    def _run_epoch(self, n_epochs: int) -> EpochRecord:
        started = time.perf_counter()
        device = self.rows.device
        generator = torch.Generator(device).manual_seed(epoch_seed(self.seed, self.stage, self.epoch))
        phase = self._phase(self.epoch, n_epochs)
        lr = self.lr_factor * start_lr(self.model, self.options) * self.options.lr_decay ** (self.epoch / n_epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        sums: dict[str, Tensor] = {}
        dropped_steps, dropped_rows = torch.zeros(2, dtype=torch.long, device=device)
        order = torch.randperm(self.rows.n_rows, generator=generator, device=device)
        for row_N in order.split(min(self.options.batch_size, self.rows.n_rows)):
            self.optimizer.zero_grad()
            batch = self._batch(row_N, generator, phase)
            with autocast(device, self.options.precision):
                loss: Loss = self.model(batch)
            objective = weighted(loss.objective_N, batch.weight_N).mean()
            (-objective).backward()
            is_finite = is_finite_step(objective, self.model.parameters())
            for name, value in self._sums(loss, batch).items():
                value = torch.where(is_finite, value, torch.zeros_like(value))
                sums[name] = sums[name] + value if name in sums else value
            dropped_steps, dropped_rows = dropped_steps + ~is_finite, dropped_rows + ~is_finite * len(row_N)
            step_if(is_finite, self.optimizer)
        counts_K = sums.pop("counts", None)
        n_rows = max(self.rows.n_rows - int(dropped_rows), 1)
        means = {name: float(value) / n_rows for name, value in sums.items()}
        left, whole = means.pop("left", None), means.pop("whole", 0.0)
        return EpochRecord(
            stage=self.stage,
            epoch=self.epoch + 1,
            elbo=means.pop("elbo"),
            objective=means.pop("objective"),
            dropped_mass=means.pop("dropped_mass", None),
            confidence=means.pop("confidence", None),
            clusters_in_use=None if counts_K is None else components_in_use(counts_K),
            beta=None if counts_K is None else phase.beta,
            anchor=None if left is None else phase.anchor,
            fraction_left=None if left is None or whole == 0.0 else left / whole,
            terms=means,
            dropped_steps=int(dropped_steps) or None,
            lr_halvings=self.halvings_in_epoch or None,
            lr=lr,
            seconds=time.perf_counter() - started,
        )

    def _batch(self, row_N: Tensor, generator: torch.Generator, phase: Phase) -> Batch:
        """Return these training rows with what the model may need to know about them."""
        neighbours = None
        if self.neighbours_NJ is not None and phase.stage == "train":
            n_neighbours = self.neighbours_NJ.shape[1]
            pick_N = torch.randint(n_neighbours, row_N.shape, generator=generator, device=row_N.device)
            neighbours = Batch.of(self.rows.batch(self.neighbours_NJ[row_N, pick_N]))
        label_N = None if self.labels_N is None else self.labels_N[row_N]
        whole = self.rows.batch(row_N)
        rows = self.rows.hide(whole, self.options.hide, generator)
        return Batch.of(
            rows,
            generator=generator,
            phase=phase,
            row_N=row_N,
            label_N=label_N,
            anchor_NK=None if self.anchor_NK is None else self.anchor_NK[row_N],
            hidden_N=None if rows is whole else (rows.x_ND != whole.x_ND).any(-1),
            neighbours=neighbours,
        )

    def _sums(self, loss: Loss, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted sum over a batch of each logged quantity."""
        weight_N = batch.weight_N
        values = {"objective": loss.objective_N.detach(), "elbo": loss.elbo_N, **loss.terms}
        if loss.dropped_N is not None:
            values["dropped_mass"] = loss.dropped_N
        counts = {}
        if loss.log_q_NK is not None:
            log_max_N, map_N = loss.log_q_NK.max(-1)
            values["confidence"] = log_max_N.exp()
            if "anchor" in loss.terms and batch.phase.anchor > 0.0:
                whole_N = torch.ones_like(map_N) if batch.hidden_N is None else 1 - batch.hidden_N.long()
                values["whole"] = whole_N.float()
                values["left"] = (whole_N * map_N.ne(batch.labels_for("anchor"))).float()
            counts["counts"] = torch.bincount(map_N, weight_N, minlength=self.model.n_components)
        return {name: weighted(value_N, weight_N).sum() for name, value_N in values.items()} | counts

    def _place(self, initial_labels: Callable[[Array], Array]) -> None:
        self.reporter.start("initial clustering", 0)
        self.model.eval()
        with torch.no_grad(), autocast(self.rows.device, self.options.precision):
            parts = [self.model.pretrained(Batch.of(rows)) for rows in self.rows.in_order(EVALUATION_ROWS)]
        code_NM = torch.cat([code for code, _ in parts]).float()
        squared_error_N = torch.cat([error for _, error in parts]).float()
        codes_may_have_gaps = not learns_by_gradient(self.model)  # rows with missing values, which are their own codes
        if not ((codes_may_have_gaps or code_NM.isfinite().all()) and squared_error_N.isfinite().all()):
            raise diverged("at the end of pretraining")
        labels = torch.from_numpy(initial_labels(code_NM.cpu().numpy()))
        self.labels_N = labels.to(self.rows.device, torch.long)
        weight_N = self.rows.weight_N
        weights = {} if weight_N is None else {"weight_N": weight_N}
        self.model.place(code_NM, squared_error_N, self.labels_N, **weights)
        self.optimizer = self._new_optimizer()
        self.stage, self.epoch = "train", 0
        self.save()

    def save(self) -> None:
        """Write the whole training state, atomically."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        if self.labels_N is not None:
            tensors["labels"] = self.labels_N
        meta = CheckpointMeta(
            stage=self.stage,
            epoch=self.epoch,
            n_lines=self.n_lines,
            best=None if self.best_objective == -math.inf else self.best_objective,
            stale_epochs=self.stale_epochs,
            seconds=self.seconds,
            anchor_factor=self.anchor_factor,
            lr_factor=self.lr_factor,
        )
        self.folder.write_checkpoint(meta, tensors)
        self.saved = time.perf_counter()

    def restore(self) -> None:
        """Restore the state from the run folder's last checkpoint that is whole; without one, start from the beginning.

        Raises:
            DeepmixError: every checkpoint is damaged, or does not fit the model, or lines of metrics.jsonl are missing.

        """
        checkpoint = self._last_checkpoint()
        if checkpoint is None:
            self.folder.keep_epochs(0)
            return
        tensors, meta = checkpoint
        try:
            self._load(tensors)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise DeepmixError(
                f"the checkpoint in '{self.folder.path}' does not fit its config.json; "
                f"train again with {option('overwrite')}"
            ) from error
        self.stage, self.epoch = meta.stage, meta.epoch
        self.best_objective = -math.inf if meta.best is None else meta.best
        self.n_lines, self.stale_epochs = meta.n_lines, meta.stale_epochs
        self.earlier_seconds = meta.seconds
        self.anchor_factor, self.lr_factor = meta.anchor_factor, meta.lr_factor
        self.folder.keep_epochs(self.n_lines)

    def _last_checkpoint(self) -> tuple[dict[str, Tensor], CheckpointMeta] | None:
        """Return the contents of the last checkpoint that is whole; None if there are none."""
        failure: DeepmixError | None = None
        for name in (CHECKPOINT, PREVIOUS):
            if not self.folder.has(name):
                continue
            try:
                tensors, meta = self.folder.read_weights(CheckpointMeta, name)
            except DeepmixError as error:
                failure = failure or error
                continue
            if failure is not None:
                self.reporter.note(
                    f"'{self.folder.path / CHECKPOINT}' is damaged; the run goes on from the checkpoint before it"
                )
            return tensors, meta
        if failure is not None:
            raise failure
        return None

    def _load(self, tensors: dict[str, Tensor]) -> None:
        """Load the tensors of a checkpoint."""
        prefix = "model."
        self.model.load_state_dict(
            {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        )
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        if "labels" in tensors:
            if tensors["labels"].shape != (self.rows.n_rows,):
                raise ValueError("there must be one label for each row")
            self.labels_N = tensors["labels"].to(self.rows.device)
