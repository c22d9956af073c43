"""Our Adam against torch's class."""

from __future__ import annotations

import subprocess
import sys

import torch

from deepmix.training import Adam


def test_steps_are_those_of_torch_to_the_bit() -> None:
    start = [torch.linspace(-1.0, 1.0, 12).view(3, 4), torch.ones(5), torch.zeros(2)]
    ours = [parameter.clone().requires_grad_() for parameter in start]
    theirs = [parameter.clone().requires_grad_() for parameter in start]
    one, other = Adam(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1, fused=True)
    for step in range(6):
        one.lr = other.param_groups[0]["lr"] = 0.1 * 0.5**step
        for parameters, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            loss = (parameters[0] ** 2).sum() * (step + 1)
            if step % 2:  # a parameter without a gradient is left alone
                loss = loss + parameters[1].exp().sum()
            loss.backward()
            optimizer.step()
    for mine, reference in zip(ours, theirs, strict=True):
        assert torch.equal(mine, reference)
    assert torch.equal(ours[2], start[2])
    assert not torch.equal(ours[1], start[1])
    state = other.state_dict()["state"]
    assert {i: set(values) for i, values in one.state.items()} == {i: set(values) for i, values in state.items()}
    for i, values in state.items():
        for name, value in values.items():
            assert torch.equal(one.state[i][name], value)


IN_A_NEW_PROCESS = """
import sys, torch
from deepmix.training.adam import Adam
weight = torch.ones(3, requires_grad=True)
optimizer = Adam([weight], lr=0.1)
weight.sum().backward()
optimizer.step()
print("torch._dynamo" in sys.modules)
"""


def test_a_step_does_not_import_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_NEW_PROCESS], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False"], done.stderr
