"""Small updates are computed with one thread, and torch has its threads back afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepmix.maths import own_threads
from deepmix.training import update_threads
from tests.unit.training.test_forward import thirds, trainer_of


@pytest.fixture(autouse=True)
def three_threads():
    with own_threads():
        torch.set_num_threads(3)
        yield


@pytest.mark.parametrize(
    ("model", "n_rows", "device", "expected"),
    [
        (nn.Linear(128, 256, bias=False), 800, "cpu", 1),
        (nn.Linear(128, 256, bias=False), 801, "cpu", 3),
        (nn.Linear(128, 256, bias=False), 800, "cuda", 3),
        (nn.Linear(128, 256, bias=False).requires_grad_(False), 801, "cpu", 1),
        (nn.Conv2d(1, 1, 3), 1, "cpu", 3),
    ],
)
def test_small_updates_have_one_thread(model, n_rows, device, expected):
    with update_threads.update_threads(model, n_rows, torch.device(device)):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(("limit", "expected"), [(update_threads.SMALL_UPDATE, {1}), (0, {3})])
def test_a_trainer_asks_for_its_own_batches(limit, expected, monkeypatch):
    monkeypatch.setattr(update_threads, "SMALL_UPDATE", limit)
    trainer, during = trainer_of(), set()

    def watch(*_: object) -> None:
        if torch.is_grad_enabled():
            during.add(torch.get_num_threads())

    trainer.model.encoder.register_forward_hook(watch)
    trainer.run(thirds)
    assert during == expected
    assert torch.get_num_threads() == 3
