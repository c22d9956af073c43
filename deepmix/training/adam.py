"""Adam by torch's own function for a step: its class imports torch's compiler, a second at every start."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""The defaults of Kingma and Ba, and of torch."""


class Adam:
    """What `torch.optim.Adam(parameters, lr, fused=True)` does, to the bit.

    Args:
        parameters: what is learned.
        lr: learning rate; may be set anew between steps.

    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        self.parameters, self.lr = list(parameters), lr
        self.state: dict[int, dict[str, Tensor]] = {}
        """Step and moments by the parameter's number; of those that ever had a gradient."""

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        moved = {i: parameter for i, parameter in enumerate(self.parameters) if parameter.grad is not None}
        for i, parameter in moved.items():
            if i not in self.state:
                self.state[i] = {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[i] for i in moved]
        adam(
            list(moved.values()),
            [parameter.grad for parameter in moved.values() if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.lr,
            weight_decay=0.0,
            eps=EPSILON,
            maximize=False,
        )
