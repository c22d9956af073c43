"""What the compiled operators need in Python: shapes without data, gradients and batching rules.

Each operator's backward pass is an operator too, so it traces and compiles like any other; it recomputes from the
inputs whatever the forward pass did not return, and computes only the gradients that are needed. An output that a call
does not need has no elements. Where rows are bfloat16, everything else is float32. The shape legend is in
`deepmix.maths.values`; the arguments are those of `csrc/ops.cpp`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from deepmix.kernels import shortcuts
from deepmix.maths import at_least_float32, formulas

MaybeTensor = Tensor | None


def register() -> None:
    """Register everything; the operators must be loaded."""
    fakes: dict[str, Callable[..., Any]] = {
        "mixture_posterior": _mixture_posterior_fake,
        "mixture_posterior_backward": _mixture_posterior_backward_fake,
        "sampled_mixture_posterior": _sampled_mixture_posterior_fake,
        "sampled_mixture_posterior_backward": _sampled_mixture_posterior_backward_fake,
        "component_log_prob": _component_log_prob_fake,
        "component_log_prob_backward": _component_log_prob_backward_fake,
        "component_log_prob_full": _component_log_prob_fake,
        "component_log_prob_full_backward": _component_log_prob_backward_fake,
        "mixture_statistics": _mixture_statistics_fake,
        "component_kl": _component_kl_fake,
        "component_kl_backward": _component_kl_backward_fake,
    }
    for name, fake in fakes.items():
        torch.library.register_fake(f"deepmix::{name}", _on_one_device(fake))
        operator = getattr(torch.ops.deepmix, name).default
        torch.library.register_vmap(f"deepmix::{name}", _one_by_one(operator))
    for rule in RULES:
        save, backward = _save_and_backward(rule)
        torch.library.register_autograd(f"deepmix::{rule.name}", backward, setup_context=save)
        recorded = getattr(torch.ops.deepmix, f"recorded_{rule.name}", None)
        _functions[rule.name] = function_in_python(rule) if recorded is None else recorded.default
    if hasattr(torch.ops.deepmix, "differentiable_gradients"):
        in_any_mode = "CompositeImplicitAutograd"
        torch.library.impl("deepmix::differentiable_gradients", in_any_mode, _gradients_for_nodes)


@dataclass(frozen=True)
class Rule:
    """How an operator is differentiated: by the operator `<name>_backward`, whose arguments `csrc/ops.cpp` explains.

    `csrc/nodes.cpp` has the same rules.
    """

    name: str
    n_tensors: int
    """Number of tensors, or None in their place, with which the inputs begin; the others are switches."""
    saved_output: int | None = None
    """Number of the output that the backward pass reads."""
    first: int = 0
    """Number of the first input that has a gradient."""


RULES = (
    Rule("mixture_posterior", n_tensors=7, saved_output=0),
    Rule("sampled_mixture_posterior", n_tensors=6, saved_output=1, first=1),
    Rule("component_log_prob", n_tensors=4, saved_output=1),
    Rule("component_log_prob_full", n_tensors=4, saved_output=1),
    Rule("component_kl", n_tensors=4),
)


def _on_one_device(fake: Callable[..., Any]) -> Callable[..., Any]:
    """Return what refuses inputs of several devices; a meta tensor among others would give results without values."""

    def checked(*inputs: Any) -> Any:
        devices = {str(tensor.device) for tensor in inputs if isinstance(tensor, Tensor)}
        if len(devices) > 1:
            raise RuntimeError(f"deepmix: the inputs must be on one device, got {' and '.join(sorted(devices))}")
        return fake(*inputs)

    return checked


_functions: dict[str, Callable[..., Any]] = {}


def call(name: str, *inputs: Any) -> Any:
    """Call an operator, and record its gradient where one is wanted.

    Eager autograd uses the nodes of `csrc/nodes.cpp` where the library has them, else an `autograd.Function`; both are
    faster than the dispatcher (`deepmix.kernels.shortcuts` has the times). Under torch.compile and torch.func, the
    operator itself is called.

    Raises:
        NotImplementedError: an input has a derivative in forward mode, which would be lost.

    """
    operator = getattr(torch.ops.deepmix, name).default
    if torch.compiler.is_compiling():
        return operator(*inputs)
    if shortcuts.has_forward_mode():
        _refuse_tangents(inputs)
    if shortcuts.may_be_transformed():
        return operator(*inputs)
    if torch.is_grad_enabled():
        return _functions[name](*inputs)
    with shortcuts.below_autograd():
        return operator(*inputs)


def _refuse_tangents(inputs: Sequence[Any]) -> None:
    for one in inputs:
        if isinstance(one, Tensor) and forward_ad.unpack_dual(one).tangent is not None:
            raise NotImplementedError(
                "deepmix: the kernels have no derivatives in forward mode; take them in reverse mode, or run plain "
                "PyTorch with DEEPMIX_BUILD=none"
            )


def function_in_python(rule: Rule) -> Callable[..., Any]:
    """Return the operator with its gradient; `forward` saves too, because a separate setup_context costs 30 us more."""
    operator = getattr(torch.ops.deepmix, rule.name).default
    save, backward = _save_and_backward(rule)

    def forward(ctx: Any, *inputs: Any) -> Any:
        with shortcuts.below_autograd():
            output = operator(*inputs)
        save(ctx, inputs, output)
        return output

    rules = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function: type[torch.autograd.Function] = type("Kernel", (torch.autograd.Function,), rules)
    return shortcuts.apply_of(function)


def _save_and_backward(rule: Rule) -> tuple[Callable[..., None], Callable[..., Any]]:
    """Return what keeps an operator's inputs for its backward pass, and the pass, which has derivatives itself."""
    name, n_tensors, first = rule.name, rule.n_tensors, rule.first
    operator = getattr(torch.ops.deepmix, f"{name}_backward").default
    reference = getattr(formulas, name)

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        if rule.saved_output is None:
            ctx.save_for_backward(*inputs[:n_tensors])
        else:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(*inputs[:n_tensors], output[rule.saved_output])
        ctx.switches = inputs[n_tensors:]

    def backward(ctx: Any, *upstream: MaybeTensor) -> tuple[MaybeTensor, ...]:
        if torch.is_grad_enabled():  # autograd enables it if the backward pass is to be differentiated
            saved = ctx.saved_tensors[:n_tensors]
            return *_differentiable_gradients(reference, saved, ctx.switches, upstream), *(None for _ in ctx.switches)
        is_needed = ctx.needs_input_grad[first:n_tensors]
        gradients = operator(*ctx.saved_tensors, *ctx.switches, *upstream, _bits(is_needed))
        by_inputs = [one if needed else None for one, needed in zip(gradients, is_needed, strict=True)]
        return (None,) * first + (*by_inputs, *(None for _ in ctx.switches))

    return save, backward


@functools.cache
def _bits(is_needed: tuple[bool, ...]) -> int:
    """Return a number whose bit i says whether the i-th gradient is needed."""
    return sum(1 << i for i, needed in enumerate(is_needed) if needed)


def _differentiable_gradients(
    reference: Callable[..., Any],
    saved: Sequence[MaybeTensor],
    switches: Sequence[bool],
    upstream: Sequence[MaybeTensor],
) -> list[MaybeTensor]:
    """Return the gradients of an operator's tensors, computed by the reference, so that they have derivatives."""
    # A view is a new variable, so a gradient ends here and not where one input was computed from another.
    inputs = [None if value is None else value.view_as(value) for value in saved]
    outputs = reference(*(None if value is None else at_least_float32(value) for value in inputs), *switches)
    pairs = zip((outputs,) if isinstance(outputs, Tensor) else outputs, upstream, strict=True)
    sources = [value for value in inputs if value is not None and value.requires_grad]
    results, weights = zip(*((o, u.to(o.dtype)) for o, u in pairs if u is not None and o.requires_grad), strict=True)
    gradients_of = iter(torch.autograd.grad(results, sources, weights, create_graph=True, allow_unused=True))
    return [None if value is None or not value.requires_grad else next(gradients_of) for value in inputs]


def _gradients_for_nodes(
    name: str, inputs: Sequence[MaybeTensor], switches: Sequence[bool], upstream: Sequence[MaybeTensor]
) -> list[Tensor]:
    """Return what `_differentiable_gradients` does, and a tensor of zeros where there is no gradient."""
    gradients = _differentiable_gradients(getattr(formulas, name), inputs, switches, upstream)
    zero = torch.zeros(())
    return [
        gradient if gradient is not None else zero if value is None else torch.zeros_like(value)
        for value, gradient in zip(inputs, gradients, strict=True)
    ]


def _new(like: Tensor, *shape: int | torch.SymInt) -> Tensor:
    """Return a result without data of an operator with such rows."""
    return like.new_empty(shape, dtype=torch.float32 if like.dtype == torch.bfloat16 else like.dtype)


def _fake_gradients(values: Sequence[MaybeTensor], needed: int) -> tuple[Tensor, ...]:
    """Return gradients without data, in the values' shapes; one that is not needed has no elements."""
    rows = values[0]
    assert rows is not None
    return tuple(
        _new(rows, 0) if value is None else value.new_empty(value.shape if needed >> i & 1 else (0,))
        for i, value in enumerate(values)
    )


def _mixture_posterior_fake(
    z: Tensor,
    mean: Tensor,
    log_var: Tensor,
    prior_mean: MaybeTensor,
    prior_log_var: MaybeTensor,
    log_weight: Tensor,
    log_likelihood: MaybeTensor,
    use_posterior: bool,
    product: bool,
) -> tuple[Tensor, ...]:
    return _new(z, z.shape[1], log_weight.shape[0]), _new(z, z.shape[1])


def _mixture_posterior_backward_fake(*inputs: Any) -> tuple[Tensor, ...]:
    return _fake_gradients(inputs[:7], inputs[-1])


def _sampled_mixture_posterior_fake(noise: Tensor, *others: Any) -> tuple[Tensor, ...]:
    no_likelihood = None
    inputs = (noise, *others[:5], no_likelihood, *others[5:])
    return noise.new_empty(noise.shape), *_mixture_posterior_fake(*inputs)


def _sampled_mixture_posterior_backward_fake(noise: Tensor, *others: Any) -> tuple[Tensor, ...]:
    return _fake_gradients(others[:5], others[-1])


def _component_log_prob_fake(z: Tensor, mean: Tensor, spread: Tensor, log_weight: Tensor) -> tuple[Tensor, ...]:
    pairs = (z.shape[0], log_weight.shape[0])
    return _new(z, *pairs), _new(z, *pairs), _new(z, z.shape[0])


def _component_log_prob_backward_fake(*inputs: Any) -> tuple[Tensor, ...]:
    return _fake_gradients(inputs[:4], inputs[-1])


def _mixture_statistics_fake(
    z: Tensor, mean: Tensor, spread: Tensor, log_weight: Tensor, row_weight: MaybeTensor, log_noise: float
) -> tuple[Tensor, ...]:
    shapes = ((), log_weight.shape, mean.shape, spread.shape)
    return tuple(z.new_empty(shape, dtype=torch.float64) for shape in shapes)


def _component_kl_fake(mean: Tensor, log_var: Tensor, prior_mean: MaybeTensor, prior_log_var: MaybeTensor) -> Tensor:
    return _new(mean, mean.shape[0], mean.shape[1] if prior_mean is None else prior_mean.shape[0])


def _component_kl_backward_fake(*inputs: Any) -> tuple[Tensor, ...]:
    return _fake_gradients(inputs[:4], inputs[-1])


def _one_by_one(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Return the batching rule that calls the operator for each element of the batch."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        results = []
        for i in range(info.batch_size):
            one = [arg if dim is None else arg.select(dim, i) for arg, dim in zip(args, in_dims, strict=True)]
            results.append(operator(*one))
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        stacked = tuple(torch.stack(outputs) for outputs in zip(*results, strict=True))
        return stacked, (0,) * len(stacked)

    return rule
