"""Which precision the updates have; everything after them is in float32 unless the user asks otherwise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepmix.training import evaluate_rows, has_bfloat16, precision, update_precision
from tests.unit.training.test_forward import thirds, trainer_of

CPU = torch.device("cpu")
LARGE, SMALL = nn.Linear(1024, 512), nn.Linear(1023, 512)


@pytest.mark.parametrize(
    ("requested", "model", "device", "expected"),
    [
        (None, LARGE, "cpu", "bf16"),
        (None, SMALL, "cpu", "fp32"),
        (None, nn.Linear(1024, 512).requires_grad_(False), "cpu", "fp32"),
        (None, LARGE, "cuda", "fp32"),
        ("fp32", LARGE, "cpu", "fp32"),
        ("bf16", SMALL, "cuda", "bf16"),
    ],
)
def test_updates_are_in_bf16_where_that_is_faster_or_asked_for(requested, model, device, expected, monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    assert update_precision(requested, model, torch.device(device)) == expected


def test_updates_are_in_fp32_on_a_processor_without_bf16(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert update_precision(None, LARGE, CPU) == "fp32"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True, "avx512_bf16": False}, True), ({"avx512_f": True}, False)],
)
def test_the_processor_says_whether_it_has_bf16(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_bfloat16() is expected


def test_only_the_updates_are_in_bf16(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "LARGE_LAYER", 1)
    trainer = trainer_of()
    during: set[tuple[bool, bool]] = set()

    def watch(*_: object) -> None:
        during.add((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))

    trainer.model.encoder.register_forward_hook(watch)
    trainer.run(thirds)
    evaluate_rows(trainer.model, trainer.rows, trainer.options.precision, seed=0)
    assert during == {(True, True), (False, False)}
