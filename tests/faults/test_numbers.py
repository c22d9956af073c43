"""A loss or gradient that is not finite costs one step; many send training back with half the learning rate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deepmix.contracts import Batch, Loss
from deepmix.errors import DeepmixError
from deepmix.experiment import run_experiment
from deepmix.runs import EpochRecord, MemoryRun, RunFolder
from deepmix.training import Trainer, trainer as trainer_module, warnings_on_steps
from deepmix.training.safe_steps import SavedState, has_failed, is_finite_step, step_if
from tests.unit.training.test_trainer import Listener, PowerCutError, run, small_experiment


def spoil(monkeypatch: pytest.MonkeyPatch, is_spoilt: Callable[[Trainer, int], bool], *, only_gradient: bool) -> None:
    """Make steps not finite for which `is_spoilt`, of the trainer and the step's number in its epoch, is true."""
    original = Trainer._run_epoch

    def run_epoch(self: Trainer, network: torch.nn.Module, n_epochs: int) -> EpochRecord:
        number = 0

        def hook(model: torch.nn.Module, arguments: tuple[Batch], loss: Loss) -> Loss | None:
            nonlocal number
            number += 1
            if not is_spoilt(self, number):
                return None
            one = next(parameter for parameter in model.parameters() if parameter.requires_grad)
            # the square root of zero has no derivative there
            bad = (one.sum() * 0.0).abs().sqrt() if only_gradient else one.sum() * float("nan")
            return Loss(loss.objective_N + bad, loss.elbo_N, loss.terms, loss.log_q_NK)

        handle = self.model.register_forward_hook(hook)
        try:
            return original(self, network, n_epochs)
        finally:
            handle.remove()

    monkeypatch.setattr(Trainer, "_run_epoch", run_epoch)


def at(stage: str, epoch: int, *steps: int) -> Callable[[Trainer, int], bool]:
    return lambda trainer, step: (trainer.stage, trainer.epoch) == (stage, epoch) and step in steps


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("only_gradient", [False, True], ids=["loss", "gradient"])
def test_one_step_is_left_out_and_logged(tmp_path, monkeypatch, only_gradient):
    spoil(monkeypatch, at("train", 1, 2), only_gradient=only_gradient)
    listener = run(tmp_path / "run", small_experiment())
    dropped = [(row.stage, row.epoch, row.dropped_steps) for row in listener.epochs if row.dropped_steps]
    assert dropped == [("train", 2, 1)]
    assert [line.get("dropped_steps") for line in lines(tmp_path / "run")] == [None, None, None, 1, None, None]
    assert all(row.lr_halvings is None for row in listener.epochs)
    warnings = RunFolder(tmp_path / "run").read_json("metrics.json")["warnings"]
    assert any(text.startswith("numerical trouble: 1 updates were left out") for text in warnings)
    for tensor in RunFolder(tmp_path / "run").read_tensors("model.safetensors")[0].values():
        assert tensor.isfinite().all()


def test_a_step_left_out_changes_neither_the_weights_nor_the_optimiser():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=0.5, fused=True)
    for factor, expected in ((1.0, True), (float("inf"), False), (1e30, False)):
        optimizer.zero_grad()
        objective = (factor * weight).sum()
        objective.backward()
        is_finite = is_finite_step(objective, [weight])
        assert bool(is_finite) == expected
        step_if(is_finite, optimizer)
    assert weight.tolist() == pytest.approx([0.5] * 3)
    assert float(optimizer.state[weight]["step"]) == 1.0
    assert optimizer.state[weight]["exp_avg"].tolist() == pytest.approx([0.1] * 3)


def test_a_failed_epoch_is_done_again_with_half_the_rate(tmp_path, monkeypatch):
    spoil(
        monkeypatch,
        lambda trainer, step: at("train", 1, 1, 2)(trainer, step) and trainer.lr_factor > 0.3,
        only_gradient=False,
    )
    listener = run(tmp_path / "run", small_experiment(lr="0.01", lr_decay="1"))
    training = [row for row in listener.epochs if row.stage == "train"]
    assert [row.lr for row in training] == pytest.approx([0.01, 0.0025, 0.0025, 0.0025])
    assert [row.lr_halvings for row in training] == [None, 2, None, None]
    assert [row.epoch for row in training] == [1, 2, 3, 4]
    assert sum("done again with half the rate" in note for note in listener.notes) == 2
    warnings = RunFolder(tmp_path / "run").read_json("metrics.json")["warnings"]
    assert any("training went back 2 times to the start of an epoch" in text for text in warnings)


def test_after_three_halvings_training_ends_with_a_sentence(tmp_path, monkeypatch):
    spoil(monkeypatch, at("train", 1, 1, 2, 3), only_gradient=True)
    listener = Listener()
    with pytest.raises(DeepmixError, match=r"diverged in epoch 2 \(train\), also after 3 halvings.*try a smaller lr"):
        run_experiment(small_experiment(), RunFolder.create(tmp_path / "run", overwrite=False), listener)
    assert sum("done again" in note for note in listener.notes) == 3
    assert len(lines(tmp_path / "run")) == 3  # two epochs of pretraining, one of training
    assert (tmp_path / "run" / "checkpoint" / "state.safetensors").is_file()


def test_going_back_restores_the_bits(monkeypatch):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    state = SavedState()
    for n_before in (0, 2):  # without and with moments
        for _ in range(n_before):
            model(torch.rand(5, 3)).square().sum().backward()
            optimizer.step()
        state.take(model, optimizer)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        moments = [value.clone() for one in optimizer.state.values() for value in one.values()]
        model(torch.rand(5, 3)).square().sum().backward()
        optimizer.step()
        assert not torch.equal(model[0].weight, before["0.weight"])
        state.put_back(model, optimizer)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        after = [value for one in optimizer.state.values() for value in one.values()]
        assert len(after) == len(moments)
        assert all(torch.equal(a, b) for a, b in zip(after, moments, strict=True))


@pytest.mark.parametrize("stop", [3, 4, 5])
def test_a_run_that_went_back_resumes_to_the_same_bits(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(trainer_module, "CHECKPOINT_SECONDS", -1.0)
    spoil(
        monkeypatch,
        lambda trainer, step: at("train", 1, 1, 2)(trainer, step) and trainer.lr_factor == 1.0,
        only_gradient=False,
    )
    run(tmp_path / "whole", small_experiment())
    with pytest.raises(PowerCutError):
        run(tmp_path / "cut", small_experiment(), stop_after=stop)
    run(tmp_path / "cut", small_experiment(), resume=True)
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def epoch(**values: object) -> EpochRecord:
    return EpochRecord(**{"stage": "train", "epoch": 1, "elbo": -1.0, "lr": 0.1, "seconds": 1.0, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "n_steps", "failed"),
    [
        ({}, 3, False),
        ({"dropped_steps": 1}, 3, False),
        ({"dropped_steps": 1}, 1, True),
        ({"dropped_steps": 2}, 3, True),
        ({"dropped_steps": 10}, 100, False),
        ({"dropped_steps": 11}, 100, True),
        ({"elbo": float("nan")}, 3, True),
        ({"terms": {"graph": float("inf")}}, 3, True),
    ],
)
def test_when_an_epoch_has_failed(values, n_steps, failed):
    assert has_failed(epoch(**values), n_steps) == failed


def test_the_warning_on_a_run():
    assert warnings_on_steps([epoch(), epoch()]) == []
    (text,) = warnings_on_steps([epoch(dropped_steps=2), epoch(dropped_steps=1, lr_halvings=1)])
    assert text.startswith("numerical trouble: 3 updates were left out because their loss or gradient was not finite, ")
    assert "went back once to the start of an epoch and on with half the learning rate; try a smaller `lr`" in text


def test_a_run_in_memory_goes_back_too(monkeypatch):
    spoil(monkeypatch, at("pretrain", 0, 1, 2), only_gradient=False)
    with pytest.raises(DeepmixError, match=r"diverged in epoch 1 \(pretrain\)"):
        run_experiment(small_experiment(), MemoryRun(), Listener())
