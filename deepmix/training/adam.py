"""torch's Adam, without the two seconds that its first use takes to import the compiler."""

from __future__ import annotations

import inspect
from typing import final

import torch
from torch.optim import Optimizer


@final
class Adam(torch.optim.Adam):
    """torch.optim.Adam, whose methods do not import `torch._dynamo`.

    torch wraps these methods so that its compiler passes over them, and the wrappers import the compiler, which takes a
    fifth of the time of a small table's run. An update is not compiled, so they are called without the wrappers.
    """

    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
