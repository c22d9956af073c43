"""deepmix's Adam makes the updates of torch's, and does not import torch's compiler."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch
from torch import Tensor, nn

from deepmix.training.adam import Adam


def weights_after(kind: type[torch.optim.Adam]) -> list[Tensor]:
    """Return the weights of a small network after five updates, of which the state is saved and restored midway."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = kind(network.parameters(), 0.1, fused=True)
    for number in range(5):
        optimizer.zero_grad()
        network(torch.randn(6, 3)).square().sum().backward()
        optimizer.step()
        if number == 2:
            state = optimizer.state_dict()
            optimizer = kind(network.parameters(), 0.1, fused=True)
            optimizer.load_state_dict(state)
    return [parameter.detach() for parameter in network.parameters()]


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, which torch's own Adam imports
def test_its_updates_are_those_of_torch() -> None:
    ours, theirs = weights_after(Adam), weights_after(torch.optim.Adam)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_a_step_needs_no_gradient_and_leaves_gradients_on() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = Adam([weight], 0.1)
    (weight * 2.0).sum().backward()
    optimizer.step()
    assert weight.tolist() == pytest.approx([0.9, 0.9])
    assert torch.is_grad_enabled()


def test_it_does_not_import_the_compiler() -> None:
    program = """
        import sys
        import torch
        from deepmix.training.adam import Adam
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = Adam([weight], 0.1, fused=True)
        weight.sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        optimizer.load_state_dict(optimizer.state_dict())
        print("torch._dynamo" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", done.stderr
