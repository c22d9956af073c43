"""Draws without a generator come from a seed, and torch's global generator is left alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import torch
from torch import nn

from deepmix.maths import seeded_draws


def draws() -> list[torch.Tensor]:
    layers = [nn.Linear(3, 4), nn.Conv2d(1, 2, 3)]
    tensors = [torch.randn(5), torch.rand(5), torch.randint(9, (5,)), torch.randperm(5), torch.rand_like(torch.ones(5))]
    filled = [torch.empty(5).normal_(), nn.init.orthogonal_(torch.empty(3, 3)), nn.functional.dropout(torch.ones(9))]
    return [*(p.detach() for layer in layers for p in layer.parameters()), *tensors, *filled]


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_draws_are_those_of_the_seed_and_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    with seeded_draws(7):
        one = draws()
    with seeded_draws(8):
        other = draws()
    assert torch.equal(torch.get_rng_state(), state)
    assert not equal(one, other)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        assert equal(one, draws())


def test_a_draw_that_names_its_generator_keeps_it():
    expected = torch.rand(4, generator=torch.Generator().manual_seed(1))
    with seeded_draws(7):
        first = torch.rand(4, generator=torch.Generator().manual_seed(1))
        second = torch.rand(4)
    assert torch.equal(first, expected)
    assert torch.equal(second, torch.rand(4, generator=torch.Generator().manual_seed(7)))


def test_an_operator_that_takes_its_generator_by_position_keeps_it():
    shape = torch.full((4,), 2.0)
    expected = torch._standard_gamma(shape, generator=torch.Generator().manual_seed(1))
    with seeded_draws(7):
        assert torch.equal(torch._standard_gamma(shape, generator=torch.Generator().manual_seed(1)), expected)


def test_another_thread_draws_from_the_global_generator():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = torch.rand(4)
        torch.manual_seed(3)
        drawn: list[torch.Tensor] = []
        with seeded_draws(7):
            thread = threading.Thread(target=lambda: drawn.append(torch.rand(4)))
            thread.start()
            thread.join()
        assert torch.equal(drawn[0], expected)


def test_draws_do_not_import_the_compiler():
    program = """
        import sys
        import torch
        from deepmix.maths import seeded_draws
        with seeded_draws(7):
            torch.zeros(3)
        print("torch._dynamo" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", done.stderr
