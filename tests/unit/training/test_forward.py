"""Training calls the model's forward, and watches every named term and the objective."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from deepmix.contracts import Batch, Loss, Phase
from deepmix.data import Rows
from deepmix.experiment import build_model
from deepmix.models import ObjectiveOptions
from deepmix.runs import EpochRecord, MemoryRun
from deepmix.training import SilentReporter, Trainer, TrainingOptions, evaluate_rows, schedule, start_lr
from tests.unit.training.test_trainer import N_TRAIN, small_experiment


def trainer_of(objective: ObjectiveOptions | None = None, **settings: str) -> Trainer:
    """Return an untrained trainer of a small mvae-emv2 on three groups."""
    of = small_experiment(**settings)
    model = build_model(of.parts, of.split, 3, seed=0)
    rows = Rows(of.split.x, of.split.train, torch.device("cpu"))
    options = of.parts.options["training"]
    return Trainer(model, rows, options, objective or of.parts.options["objective"], 0, MemoryRun(), SilentReporter())


def thirds(code_NM: np.ndarray) -> np.ndarray:
    return np.arange(len(code_NM)) % 3


def test_hooks_on_the_model_see_both_stages():
    trainer = trainer_of()
    calls: list[tuple[str, int, bool]] = []

    def hook(model: torch.nn.Module, arguments: tuple[Batch], loss: Loss) -> None:
        batch = arguments[0]
        assert batch.row_N is not None
        assert torch.equal(batch.x_ND, trainer.rows.batch(batch.row_N).x_ND)
        calls.append((batch.phase.stage, len(batch.x_ND), batch.label_N is not None))

    trainer.model.register_forward_hook(hook)
    trainer.run(thirds)
    batches = N_TRAIN // 16
    assert calls == [("pretrain", 16, False)] * 2 * batches + [("train", 16, True)] * 4 * batches


def test_a_wrapped_model_trains_as_the_model_itself():
    """A wrapper like DistributedDataParallel and torch.compile, which replaces the model and calls its forward."""
    plain, wrapped = trainer_of(), trainer_of()
    inner = wrapped.model

    class Wrapper(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = inner

        def __getattr__(self, name: str) -> object:
            return super().__getattr__(name) if name == "module" else getattr(inner, name)

        def forward(self, batch: Batch) -> Loss:
            return self.module(batch)

    wrapped.model = Wrapper()  # type: ignore[assignment]
    wrapped.optimizer = wrapped._new_optimizer()
    for trainer in (plain, wrapped):
        trainer.run(thirds)
    for one, other in zip(plain.model.parameters(), inner.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_objective_and_every_term_are_logged():
    trainer = trainer_of(graph_weight="2.0", graph_neighbours="3")
    trainer.run(lambda code_NM: np.arange(len(code_NM)) // 5 % 3)  # labels that do not match the rows
    *pretraining, last = trainer.folder.read_epochs()
    assert pretraining[0].objective == pretraining[0].elbo
    terms = last.terms
    bound = terms["reconstruction"] - terms["kl_latent"] - terms["kl_assignment"]
    assert last.elbo == pytest.approx(bound, rel=1e-5)
    assert last.objective == pytest.approx(bound - terms["anchor"] - terms["graph"], rel=1e-5)
    assert min(terms["anchor"], terms["graph"]) > 0.0


def records_with_wrong_labels(**objective: float) -> list[EpochRecord]:
    """Return the training epochs of a run whose initial labels do not match the rows."""
    trainer = trainer_of(ObjectiveOptions(hold=0.0, **objective))
    trainer.run(lambda code_NM: np.arange(len(code_NM)) // 5 % 3)
    return [record for record in trainer.folder.read_epochs() if record.stage == "train"]


def test_the_anchor_grows_while_rows_leave_their_initial_clusters():
    first, *others = records_with_wrong_labels(anchor=0.1)
    assert first.fraction_left is not None
    assert first.fraction_left > 0.01
    assert first.anchor == 0.1
    growth = ObjectiveOptions().anchor_growth(1.0, len(others), len(others) + 1)
    assert others[0].anchor == pytest.approx(0.1 * growth)
    fixed = records_with_wrong_labels(anchor=0.1, may_leave=1.0)
    assert {record.anchor for record in fixed} == {0.1}
    without = records_with_wrong_labels(anchor=0.0)
    assert {(record.anchor, record.fraction_left) for record in without} == {(None, None)}


def test_half_of_a_rows_label_in_the_anchor_comes_from_its_neighbours():
    trainer = trainer_of(ObjectiveOptions(anchor_neighbours=4))
    trainer.labels_N = torch.from_numpy(np.arange(N_TRAIN) % 3)  # the groups of the rows
    trainer.labels_N[0] = 1
    trainer._prepare_anchor()
    assert trainer.anchor_NK is not None
    assert trainer.anchor_NK[0].tolist() == [0.5, 0.5, 0.0]
    others_NK = trainer.anchor_NK[1:][trainer.labels_N[1:] == 2]
    assert others_NK.tolist() == [[0.0, 0.0, 1.0]] * len(others_NK)
    without = trainer_of(ObjectiveOptions(anchor_neighbours=0))
    unlabelled = trainer_of(ObjectiveOptions())
    without.labels_N, unlabelled.labels_N = trainer.labels_N, torch.full((N_TRAIN,), -1)
    for one in (without, unlabelled):
        one._prepare_anchor()
        assert one.anchor_NK is None


def test_the_anchor_takes_soft_labels_where_there_are_any():
    log_q_NK = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]).log()
    label_N, phase = torch.tensor([0, 2]), Phase(anchor=2.0)
    hard = Batch(torch.zeros(2, 3), phase=phase, label_N=label_N)
    soft = dataclasses.replace(hard, anchor_NK=torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    assert hard.anchor_cost(log_q_NK).tolist() == pytest.approx([2 * math.log(2.0), -2 * math.log(0.8)])
    assert soft.anchor_cost(log_q_NK).tolist() == pytest.approx([3 * math.log(2.0), -2 * math.log(0.8)])


def test_rows_with_hidden_values_do_not_count_as_leavers():
    trainer = trainer_of(ObjectiveOptions())
    log_q_NK = torch.eye(3)[torch.tensor([0, 1, 1, 0])].log_softmax(-1)
    loss = Loss(torch.zeros(4), torch.zeros(4), {"anchor": torch.zeros(4)}, log_q_NK)
    batch = Batch(torch.zeros(4, 4), phase=Phase(anchor=1.0), label_N=torch.tensor([0, 0, 0, 1]))
    sums = trainer._sums(loss, batch)
    assert (float(sums["left"]), float(sums["whole"])) == (3.0, 4.0)
    hidden = dataclasses.replace(batch, hidden_N=torch.tensor([True, False, True, False]))
    sums = trainer._sums(loss, hidden)
    assert (float(sums["left"]), float(sums["whole"])) == (2.0, 2.0)


def test_automatic_batches_are_those_of_an_epoch(monkeypatch):
    monkeypatch.setattr(schedule, "BATCH", 4)
    monkeypatch.setattr(schedule, "MOST_UPDATES", 3)  # of 48 rows: batches of 16
    trainer = trainer_of(batch_size="auto", epochs="1", pretrain_epochs="0")
    trainer.run(thirds)
    (group,) = trainer.optimizer.param_groups
    assert {int(trainer.optimizer.state[one]["step"]) for one in group["params"] if one in trainer.optimizer.state} == {
        3
    }
    assert group["lr"] == pytest.approx(2.0 * schedule.LR * trainer.model.lr_factor)


def test_patience_starts_again_when_the_anchor_grows():
    trainer = trainer_of(ObjectiveOptions(hold=0.0))
    trainer.best_objective, trainer.stale_epochs = -1.0, 3
    record = EpochRecord(stage="train", epoch=1, elbo=-2.0, lr=0.1, seconds=1.0, fraction_left=0.0)
    trainer._watch_leavers(record, 4)
    assert (trainer.best_objective, trainer.stale_epochs) == (-1.0, 3)
    trainer._watch_leavers(dataclasses.replace(record, fraction_left=0.5), 4)
    assert (trainer.best_objective, trainer.stale_epochs) == (-math.inf, 0)


def test_evaluation_reports_the_parts_of_the_bound():
    trainer = trainer_of()
    trainer.run(thirds)
    _, figures = evaluate_rows(trainer.model, trainer.rows, "fp32", seed=0)
    assert list(figures) == ["elbo", "reconstruction", "kl_latent", "kl_assignment"]
    parts = figures["reconstruction"] - figures["kl_latent"] - figures["kl_assignment"]
    assert figures["elbo"] == pytest.approx(parts, rel=1e-5)


def test_the_optimiser_is_torchs():
    trainer = trainer_of()
    assert isinstance(trainer.optimizer, torch.optim.Optimizer)
    trainer.run(thirds)
    decayed = start_lr(trainer.model, TrainingOptions(), 64) * TrainingOptions().lr_decay ** (3 / 4)
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [pytest.approx(decayed)]


def test_patience_starts_again_in_each_phase():
    trainer = trainer_of(ObjectiveOptions(hold=0.5, anchor=0.0))
    trainer.stage = "train"
    counted = []
    for objective in (-1.0, -2.0, -9.0, -8.5, -8.7):
        trainer.epoch += 1
        trainer._watch_objective(objective, 4 if trainer.epoch < 5 else 5)
        counted.append(trainer.stale_epochs)
    assert counted == [0, 1, 0, 0, 1], "the third epoch is the first without hold: its objective is not compared"
    assert trainer.best_objective == -8.5


def test_a_batch_without_labels_says_so():
    with pytest.raises(ValueError, match="hold needs the initial labels"):
        Batch(torch.zeros(2, 3), phase=Phase(hold=True)).labels_for("hold")


def test_a_loss_subtracts_its_costs_in_turn():
    ones = torch.ones(3, requires_grad=True)
    loss = Loss.of_bound(
        5.0 * ones, 2.0 * ones, 1.0 * ones, ones.unsqueeze(-1), objective_N=4.0 * ones, costs={"a": ones, "b": 2 * ones}
    )
    assert loss.objective_N.tolist() == [1.0] * 3
    assert loss.elbo_N.tolist() == [2.0] * 3
    assert {name: float(value[0]) for name, value in loss.terms.items()} == {
        "reconstruction": 5.0, "kl_latent": 2.0, "kl_assignment": 1.0, "a": 1.0, "b": 2.0,
    }  # fmt: skip
    loss.objective_N.sum().backward()
    assert ones.grad is not None
    assert ones.grad.tolist() == [1.0] * 3
    assert not any(value.requires_grad for value in (loss.elbo_N, *loss.terms.values()))
    assert math.isfinite(float(loss.elbo_N.sum()))
