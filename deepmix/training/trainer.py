"""Pretraining, the initial clustering and training, in steps that can be stopped and resumed exactly.

No random state outlives an epoch: the generator of each epoch is seeded with (seed, stage, epoch), so the weights, the
optimiser's moments, the initial labels and the epoch number are the whole state.

Under torchrun each rank trains on its share of every batch. The random draws for the batch are the same for any number
of ranks, and the gradients are those of the mean over the batch, so that the figures differ only by rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from deepmix.contracts import Batch, EpochStart, Loss, Model, Phase, Placement, Stage
from deepmix.data import Rows
from deepmix.errors import DeepmixError, option
from deepmix.maths import Array, neighbour_votes
from deepmix.models import MOST_VOTING_ROWS, ObjectiveOptions
from deepmix.runs import CHECKPOINT, NEIGHBOURS, CheckpointMeta, EpochRecord, RunStore, damaged
from deepmix.training.adam import Adam
from deepmix.training.carried_labels import carried_labels
from deepmix.training.checkpoint import checkpoint_tensors, last_checkpoint, load_tensors
from deepmix.training.diagnosis import components_in_use, diverged
from deepmix.training.passes import EVALUATION_ROWS, blocks, collect, weighted
from deepmix.training.precision import autocast, update_precision
from deepmix.training.ranks import ALONE, Ranks
from deepmix.training.reporter import Reporter
from deepmix.training.safe_steps import MOST_HALVINGS, SavedState, has_failed, is_finite_step, step_if
from deepmix.training.schedule import (
    LEAST_GAIN,
    TrainingOptions,
    epoch_seed,
    learns_by_gradient,
    planned_epochs,
    start_lr,
)
from deepmix.training.update_threads import update_threads

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
        ranks: Ranks = ALONE,
        sample: Callable[[], Rows] | None = None,
    ) -> None:
        """Prepare the training.

        Args:
            model: the model.
            rows: the training rows.
            options: the options of the training.
            objective: the options of the objective.
            seed: decides every random number.
            folder: where checkpoints and epochs are written.
            reporter: receives stages, epochs and notes.
            ranks: the processes that train the model together.
            sample: returns some of the training rows, which are clustered and on which the mixture is placed where all
                of them do not fit into memory; None: all rows are.

        """
        self.sample = sample
        self.model, self.rows, self.options, self.objective = model, rows, options, objective
        self.seed, self.folder, self.reporter, self.ranks = seed, folder, reporter, ranks
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
        self.state_at_start: dict[str, Tensor] = {}

    @property
    def seconds(self) -> float:
        """Seconds spent on this run, including those before it was resumed."""
        return self.earlier_seconds + time.perf_counter() - self.started

    @property
    def batch_rows(self) -> int:
        """Number of rows per update."""
        return self.options.rows_per_update(self.rows.n_rows)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser of the current stage: the model's choice, or fused Adam."""
        lr = start_lr(self.model, self.options, self.rows.n_rows)
        own = self.model.optimizer(self.stage, lr)
        optimizer = Adam(self.model.parameters(), lr, fused=True) if own is None else own
        for group in optimizer.param_groups:
            group.setdefault("lr_ratio", group["lr"] / lr)
        return optimizer

    def run(self, initial_labels: Callable[[Array], Array]) -> None:
        """Pretrain, place the mixture on an initial clustering of the codes, and train.

        Args:
            initial_labels: returns the initial clusters of the training rows, or of the sample of them, (N,) int64,
                from their codes, (N, M).

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
        self.neighbours_NJ = self.ranks.tensor(self._neighbours).to(self.rows.device)

    def _neighbours(self) -> Tensor:
        """Return the numbers of each row's neighbours, (N, n_neighbours) int64, as the run folder has them or new."""
        if self.folder.has(NEIGHBOURS):
            neighbours_NJ = self.folder.read_tensors(NEIGHBOURS)[0].get("neighbours")
            if neighbours_NJ is None or neighbours_NJ.ndim != 2 or len(neighbours_NJ) != self.rows.n_rows:
                raise damaged(str(self.folder.path / NEIGHBOURS), "it does not hold the neighbours of each row")
            return neighbours_NJ
        self.reporter.start("neighbour graph", 0)
        neighbours_NJ = self.rows.nearest(self.model.n_neighbours)
        self.folder.write_tensors(NEIGHBOURS, {"neighbours": neighbours_NJ}, {})
        return neighbours_NJ

    def _prepare_anchor(self) -> None:
        """Let each row's neighbours vote for its label in the anchor, unless they are too many or labels are unknown.

        Single rows that an initial clustering puts on the wrong side, and borders that wind between rows, cost the
        encoder much and are of no use for new rows.
        """
        labels_N, number = self.labels_N, self.objective.anchor_neighbours
        if labels_N is None or self.objective.anchor == 0.0 or number == 0 or self.model.n_components == 1:
            return
        if 1 < self.rows.n_rows <= MOST_VOTING_ROWS and int(labels_N.min()) >= 0:
            nearest_NJ = self.ranks.tensor(lambda: self.rows.nearest(number)).to(self.rows.device)
            self.anchor_NK = neighbour_votes(labels_N.long(), nearest_NJ, self.model.n_components)

    def _run_stage(self) -> None:
        n_epochs = planned_epochs(self.model, self.options, self.stage, self.rows.n_rows)
        most_stale = self.options.most_stale_epochs(self.stage, n_epochs)
        self.reporter.start(self.stage, n_epochs)
        self.model.train()
        network = self.ranks.wrap(self.model) if self.epoch < n_epochs else self.model
        while self.epoch < n_epochs:
            if most_stale is not None and self.stale_epochs >= most_stale:
                self.reporter.note(f"stopped early: no better objective in {self.stale_epochs} epochs")
                break
            self.epoch_start.take(self.model, self.optimizer)
            self.state_at_start = {name: value.clone() for name, value in self.model.training_state().items()}
            with update_threads(self.model, min(self.batch_rows, self.rows.n_rows), self.rows.device):
                row = self._run_epoch(network, n_epochs)
            if has_failed(row, math.ceil(self.rows.n_rows / self.batch_rows)):
                self._go_back()
                continue
            self.epoch += 1
            self.n_lines += 1
            self.halvings_in_epoch = 0
            assert row.objective is not None
            self._watch_objective(row.objective, n_epochs)
            if self.stage == "train":
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
        if self.state_at_start:
            self.model.restore_training_state(self.state_at_start)
        self.lr_factor *= 0.5
        self.halvings_in_epoch += 1
        self.reporter.note(f"the loss or gradient was not finite {when}; the epoch is done again with half the rate")

    def _watch_objective(self, objective: float, n_epochs: int) -> None:
        """Count the epochs since the objective last improved; restart the count whenever its weights change.

        In pretraining a small gain is none, but small gains add up.
        """
        least_gain = LEAST_GAIN if self.stage == "pretrain" else 0.0
        if self.epoch > 1 and self._phase(self.epoch - 1, n_epochs) != self._phase(self.epoch - 2, n_epochs):
            self.best_objective, self.stale_epochs = -math.inf, 0
        if objective > self.best_objective + least_gain:
            self.best_objective, self.stale_epochs = objective, 0
        else:
            self.stale_epochs += 1

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

    def _run_epoch(self, network: nn.Module, n_epochs: int) -> EpochRecord:
        started = time.perf_counter()
        device = self.rows.device
        generator = torch.Generator(device).manual_seed(epoch_seed(self.seed, self.stage, self.epoch))
        phase = self._phase(self.epoch, n_epochs)
        self._announce_epoch(phase, n_epochs)
        precision = update_precision(self.options.precision, self.model, device)
        full_lr, decay = start_lr(self.model, self.options, self.rows.n_rows), self.options.lr_decay
        lr = self.lr_factor * self.model.learning_rate(self.stage, full_lr, decay, self.epoch / n_epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_ratio"]
        sums: dict[str, Tensor] = {}
        dropped_steps, dropped_rows = torch.zeros(2, dtype=torch.long, device=device)
        for batch_N in self.rows.epoch_batches(self.batch_rows, generator, self.ranks.rows_of):
            share = self.ranks.share(len(batch_N))
            self.optimizer.zero_grad()
            with share.draws(generator):
                batch = self._batch(batch_N[share.rows], generator, phase)
                with autocast(device, precision):
                    loss: Loss = network(batch)
            objective = weighted(loss.objective_N, batch.weight_N).mean()
            self.ranks.backward(objective, share)
            is_finite = is_finite_step(objective, self.model.parameters())
            for name, value in self._sums(loss, batch).items():
                value = torch.where(is_finite & share.counts, value, torch.zeros_like(value))
                sums[name] = sums[name] + value if name in sums else value
            dropped_steps, dropped_rows = dropped_steps + ~is_finite, dropped_rows + ~is_finite * len(batch_N)
            step_if(is_finite, self.optimizer)
        sums = self.ranks.sums(sums)
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

    def _announce_epoch(self, phase: Phase, n_epochs: int) -> None:
        """Let the model prepare for the current epoch; most models need nothing."""
        batches = partial(self._in_order, self.rows, self.labels_N, phase)
        start = EpochStart(self.stage, self.epoch, n_epochs, self.rows.n_rows, batches)
        self.model.eval()
        with torch.no_grad(), autocast(self.rows.device, self.options.precision):
            self.model.epoch_started(start)
        self.model.train()

    def _in_order(self, rows: Rows, labels_N: Tensor | None, phase: Phase) -> Iterator[Batch]:
        """Yield rows in order, with their numbers and initial labels."""
        start = 0
        for tensors in rows.in_order(EVALUATION_ROWS):
            row_N = torch.arange(start, start + len(tensors.x_ND), device=rows.device)
            yield Batch.of(tensors, phase=phase, row_N=row_N, label_N=None if labels_N is None else labels_N[row_N])
            start += len(row_N)

    def _carried_labels(self, code_NM: Tensor, label_N: Tensor) -> Tensor:
        """Return the initial labels of all training rows, carried from those of the sample by their codes."""
        code, label, precision = code_NM.cpu().numpy(), label_N.cpu().numpy(), self.options.precision
        return carried_labels(self.model, self.rows, code, label, precision, self.seed, self.ranks)

    def _batch(self, row_N: Tensor, generator: torch.Generator, phase: Phase) -> Batch:
        """Return these training rows with what the model may need to know about them."""
        neighbours = None
        if self.neighbours_NJ is not None and phase.stage == "train":
            n_neighbours = self.neighbours_NJ.shape[1]
            pick_N = torch.randint(n_neighbours, row_N.shape, generator=generator, device=row_N.device)
            neighbours = Batch.of(self.rows.batch(self.neighbours_NJ[row_N, pick_N]))
        label_N = None if self.labels_N is None else self.labels_N[row_N].long()
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
                label_N = batch.labels_for("anchor")
                whole_N = label_N.ge(0) if batch.hidden_N is None else label_N.ge(0) & ~batch.hidden_N
                values["whole"] = whole_N.float()
                values["left"] = (whole_N & map_N.ne(label_N)).float()
            counts["counts"] = torch.bincount(map_N, weight_N, minlength=self.model.n_components)
        return {name: weighted(value_N, weight_N).sum() for name, value_N in values.items()} | counts

    def _place(self, initial_labels: Callable[[Array], Array]) -> None:
        self.reporter.start("initial clustering", 0)
        placed = self.rows if self.sample is None else self.sample()
        self.model.eval()
        with torch.no_grad(), autocast(self.rows.device, self.options.precision):
            parts = [self.model.pretrained(Batch.of(rows)) for _, rows in blocks(placed, self.ranks)]
        code_NM = collect([code for code, _ in parts], placed.n_rows, self.ranks).float()
        squared_error_N = collect([error for _, error in parts], placed.n_rows, self.ranks).float()
        codes_may_have_gaps = not learns_by_gradient(self.model)  # rows with missing values, which are their own codes
        if not ((codes_may_have_gaps or code_NM.isfinite().all()) and squared_error_N.isfinite().all()):
            raise diverged("at the end of pretraining")
        labels = self.ranks.tensor(lambda: torch.from_numpy(initial_labels(code_NM.cpu().numpy())))
        placed_N = labels.to(self.rows.device, torch.long)
        self.labels_N = placed_N if self.sample is None else self._carried_labels(code_NM, placed_N)
        self.stage, self.epoch = "train", 0
        self.best_objective, self.stale_epochs = -math.inf, 0
        if self.ranks.is_first or learns_by_gradient(self.model):  # else `place` is the whole fit
            batches = partial(self._in_order, placed, placed_N, Phase("train"))
            self.model.place_on(Placement(code_NM, squared_error_N, placed_N, placed.weight_N, batches))
        self.ranks.copy_state(self.model)
        self.optimizer = self._new_optimizer()
        self.save()

    def save(self) -> None:
        """Write the whole training state, atomically."""
        tensors = checkpoint_tensors(self.model, self.optimizer, self.labels_N)
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
        tensors, values = self.ranks.tensors(partial(last_checkpoint, self.folder, self.reporter))
        if values is None:
            self.folder.keep_epochs(0)
            return
        meta = CheckpointMeta.from_json(values, str(self.folder.path / CHECKPOINT))
        self.stage, self.epoch = meta.stage, meta.epoch
        self.optimizer = self._new_optimizer()
        try:
            load_tensors(tensors, self.model, self.optimizer)
            self.labels_N = self._checked_labels(tensors.get("labels"))
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise DeepmixError(
                f"the checkpoint in '{self.folder.path}' does not fit its config.json; "
                f"train again with {option('overwrite')}"
            ) from error
        self.best_objective = -math.inf if meta.best is None else meta.best
        self.n_lines, self.stale_epochs = meta.n_lines, meta.stale_epochs
        self.earlier_seconds = meta.seconds
        self.anchor_factor, self.lr_factor = meta.anchor_factor, meta.lr_factor
        self.folder.keep_epochs(self.n_lines)

    def _checked_labels(self, labels_N: Tensor | None) -> Tensor | None:
        """Return the initial labels of a checkpoint, if it has any, on the device of the rows."""
        if labels_N is None:
            return None
        if labels_N.shape != (self.rows.n_rows,):
            raise ValueError("there must be one label for each row")
        return labels_N.to(self.rows.device)
