"""What a model may do beside its loss: see all rows between epochs, choose its optimiser and rate, keep a state."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from deepmix.contracts import Batch, EpochStart, Loss
from deepmix.models import MixtureVAE
from deepmix.runs import EpochRecord
from deepmix.training import trainer
from tests.unit.training.test_forward import trainer_of
from tests.unit.training.test_trainer import N_TRAIN, PowerCutError, run, small_experiment

PERIOD = 3

PULL = 1e3
"""Strength of the pull, with which one epoch without it has other bits."""


@pytest.fixture
def pulling(monkeypatch) -> list[tuple[str, int, int]]:
    """Let the mixture pull its prior along the mean code, as of every third epoch; return the epochs that it saw."""
    seen: list[tuple[str, int, int]] = []
    plain_loss = MixtureVAE.training_loss

    def epoch_started(self: MixtureVAE, start: EpochStart) -> None:
        assert not self.training
        seen.append((start.stage, start.number, start.n_rows))
        batches = list(start.batches())
        assert torch.equal(torch.cat([b.row_N for b in batches if b.row_N is not None]), torch.arange(N_TRAIN))
        assert all((b.label_N is None) == (start.stage == "pretrain") for b in batches)
        if start.stage == "train" and start.number % PERIOD == 0:
            self.pull_M = torch.cat([self.encoder.code(b.x_ND) for b in batches]).mean(0)

    def training_loss(self: MixtureVAE, batch: Batch) -> Loss:
        loss = plain_loss(self, batch)
        if not hasattr(self, "pull_M"):  # the check of the model, before the run
            return loss
        return dataclasses.replace(
            loss, objective_N=loss.objective_N + PULL * (self.pull_M * self.prior.mean_KM).mean()
        )

    def optimizer(self: MixtureVAE, stage: str, lr: float) -> torch.optim.Optimizer:
        slow, fast = list(self.prior.parameters()), list(self.encoder.parameters())
        groups = [{"params": fast}, {"params": slow, "lr": 0.5 * lr}]
        return torch.optim.SGD(groups, lr, momentum=0.9)

    changes = {
        "epoch_started": epoch_started,
        "training_loss": training_loss,
        "optimizer": optimizer,
        "training_state": lambda self: {"pull": self.pull_M} if hasattr(self, "pull_M") else {},
        "restore_training_state": lambda self, state: setattr(self, "pull_M", state["pull"]),
        "learning_rate": lambda self, stage, lr, decay, progress: lr * (1.0 - progress),
    }
    for name, function in changes.items():
        monkeypatch.setattr(MixtureVAE, name, function)
    return seen


def test_a_model_with_a_state_and_an_optimiser_of_its_own_resumes_exactly(tmp_path, monkeypatch, pulling):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", -1.0)
    of = small_experiment(lr="0.001")
    whole = run(tmp_path / "whole", of)
    assert pulling == [("pretrain", n, N_TRAIN) for n in range(2)] + [("train", n, N_TRAIN) for n in range(4)]
    assert [row.lr for row in whole.epochs] == pytest.approx([1e-3, 5e-4, 1e-3, 7.5e-4, 5e-4, 2.5e-4])
    with pytest.raises(PowerCutError):
        run(tmp_path / "cut", of, stop_after=4)  # the state is from the first epoch of training
    run(tmp_path / "cut", of, resume=True)
    for name in ("model.safetensors", "assignments.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_groups_of_parameters_keep_the_ratio_of_their_rates_and_an_epoch_that_fails_has_its_state_again(pulling):
    one = trainer_of(lr="0.001")
    one.run(lambda code_NM: np.arange(len(code_NM)) % 3)
    assert [group["lr"] for group in one.optimizer.param_groups] == pytest.approx([2.5e-4, 1.25e-4])
    before_M = one.model.pull_M.clone()
    one.state_at_start = {"pull": before_M}
    one.model.pull_M = before_M + 1.0
    one.epoch_start.take(one.model, one.optimizer)
    one._go_back()
    assert torch.equal(one.model.pull_M, before_M)


def test_noise_rows_are_neither_held_nor_anchored_and_do_not_count_as_leavers():
    log_q_NK = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]).log()
    batch = Batch(torch.zeros(2, 4), label_N=torch.tensor([2, -1]))
    assert batch.held_weights(log_q_NK).tolist() == [[0.0, 0.0, 1.0], pytest.approx([0.2, 0.7, 0.1])]
    anchored = dataclasses.replace(batch, phase=dataclasses.replace(batch.phase, anchor=2.0))
    assert anchored.anchor_cost(log_q_NK).tolist() == pytest.approx([-2.0 * float(log_q_NK[0, 2]), 0.0])
    loss = Loss(torch.zeros(2), torch.zeros(2), {"anchor": torch.zeros(2)}, log_q_NK)
    sums = trainer_of()._sums(loss, anchored)
    assert (float(sums["left"]), float(sums["whole"])) == (1.0, 1.0)


def test_noise_places_no_component():
    one = trainer_of()

    def labels(code_NM: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(code_NM)) % 4 == 0, -1, np.arange(len(code_NM)) % 3)

    one.run(labels)
    records: list[EpochRecord] = [row for row in one.folder.read_epochs() if row.stage == "train"]
    assert all(row.objective is not None and np.isfinite(row.objective) for row in records)
