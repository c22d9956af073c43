"""What the compiled operators need in Python: shapes without data, gradients and batching rules.

Each operator's backward pass is an operator too, so it traces and compiles like any other; it recomputes from the
inputs whatever the forward pass did not return. An output that a call does not need has no elements. The shape legend
is in `deepmix.maths.values`; the arguments are those of `csrc/ops.cpp`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deepmix.kernels import shortcuts
from deepmix.maths import formulas

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
    for name, save, once in (
        ("mixture_posterior", _save_mixture_posterior, _mixture_posterior_backward),
        ("sampled_mixture_posterior", _save_sampled_mixture_posterior, _sampled_mixture_posterior_backward),
        ("component_log_prob", _save_component_log_prob, _component_log_prob_backward),
        ("component_log_prob_full", _save_component_log_prob, _component_log_prob_full_backward),
        ("component_kl", _save_component_kl, _component_kl_backward),
    ):
        backward = _any_order(getattr(formulas, name), once)
        torch.library.register_autograd(f"deepmix::{name}", backward, setup_context=save)
        _functions[name] = _function(getattr(torch.ops.deepmix, name).default, save, backward)


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

    Eager autograd uses an `autograd.Function`, which is faster than the dispatcher (`deepmix.kernels.shortcuts` has the
    times). Under torch.compile and torch.func the operator itself is called.
    """
    operator = getattr(torch.ops.deepmix, name).default
    if torch.compiler.is_compiling() or shortcuts.may_be_transformed():
        return operator(*inputs)
    if torch.is_grad_enabled():
        return _functions[name](*inputs)
    with shortcuts.below_autograd():
        return operator(*inputs)


def _function(
    operator: Callable[..., Any], save: Callable[..., None], backward: Callable[..., Any]
) -> Callable[..., Any]:
    """Return the operator with its gradient; `forward` saves too, because a separate setup_context costs 30 us more."""

    def forward(ctx: Any, *inputs: Any) -> Any:
        with shortcuts.below_autograd():
            output = operator(*inputs)
        save(ctx, inputs, output)
        return output

    rules = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function: type[torch.autograd.Function] = type("Kernel", (torch.autograd.Function,), rules)
    apply: Callable[..., Any] = function.apply
    return apply


def _any_order(reference: Callable[..., Any], once: Callable[..., Any]) -> Callable[..., Any]:
    """Return a backward pass that has derivatives itself: where they are wanted, the reference computes it."""

    def backward(ctx: Any, *upstream: MaybeTensor) -> tuple[MaybeTensor, ...]:
        if not torch.is_grad_enabled():  # autograd enables it if the backward pass is to be differentiated
            gradients: tuple[MaybeTensor, ...] = once(ctx, *upstream)
            return gradients
        switches = getattr(ctx, "switches", ())
        # A view is a new variable, so a gradient ends here and not where one input was computed from another.
        inputs = [None if value is None else value.view_as(value) for value in ctx.saved_tensors[: ctx.n_tensors]]
        outputs = reference(*inputs, *switches)
        pairs = zip((outputs,) if isinstance(outputs, Tensor) else outputs, upstream, strict=True)
        wanted = [value for value in inputs if value is not None and value.requires_grad]
        results, weights = zip(*((o, u) for o, u in pairs if u is not None and o.requires_grad), strict=True)
        gradients_of = iter(torch.autograd.grad(results, wanted, weights, create_graph=True, allow_unused=True))
        by_inputs = (None if value is None or not value.requires_grad else next(gradients_of) for value in inputs)
        return (*by_inputs, *(None for _ in switches))

    return backward


def _new(like: Tensor, *shape: int | torch.SymInt) -> Tensor:
    return like.new_empty(shape)


def _gradient_like(value: MaybeTensor, like: Tensor) -> Tensor:
    """Return a fake gradient: of the value's shape, or without elements where there is no value."""
    return like.new_empty((0,) if value is None else value.shape)


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


def _mixture_posterior_backward_fake(
    z: Tensor,
    mean: Tensor,
    log_var: Tensor,
    prior_mean: MaybeTensor,
    prior_log_var: MaybeTensor,
    log_weight: Tensor,
    log_likelihood: MaybeTensor,
    use_posterior: bool,
    product: bool,
    *saved_and_upstream: MaybeTensor,
) -> tuple[Tensor, ...]:
    inputs = (z, mean, log_var, prior_mean, prior_log_var, log_weight, log_likelihood)
    return tuple(_gradient_like(value, z) for value in inputs)


def _save_mixture_posterior(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:7], output[0])
    ctx.n_tensors, ctx.switches = 7, inputs[7:]


def _mixture_posterior_backward(ctx: Any, *upstream: MaybeTensor) -> tuple[MaybeTensor, ...]:
    *inputs, log_q_NK = ctx.saved_tensors
    gradients = torch.ops.deepmix.mixture_posterior_backward.default(*inputs, *ctx.switches, log_q_NK, *upstream)
    return (*(None if value is None else d for value, d in zip(inputs, gradients, strict=True)), None, None)


def _sampled_mixture_posterior_fake(noise: Tensor, *others: Any) -> tuple[Tensor, ...]:
    no_likelihood = None
    inputs = (noise, *others[:5], no_likelihood, *others[5:])
    return _new(noise, *noise.shape), *_mixture_posterior_fake(*inputs)


def _sampled_mixture_posterior_backward_fake(noise: Tensor, *others: Any) -> tuple[Tensor, ...]:
    return tuple(_gradient_like(value, noise) for value in others[:5])


def _save_sampled_mixture_posterior(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:6], output[1])
    ctx.n_tensors, ctx.switches = 6, inputs[6:]


def _sampled_mixture_posterior_backward(ctx: Any, *upstream: MaybeTensor) -> tuple[MaybeTensor, ...]:
    *inputs, log_q_NK = ctx.saved_tensors
    gradients = torch.ops.deepmix.sampled_mixture_posterior_backward.default(
        *inputs, *ctx.switches, log_q_NK, *upstream
    )
    noise_has_none = None
    by_inputs = (None if value is None else d for value, d in zip(inputs[1:], gradients, strict=True))
    return (noise_has_none, *by_inputs, None, None)


def _component_log_prob_fake(z: Tensor, mean: Tensor, spread: Tensor, log_weight: Tensor) -> tuple[Tensor, ...]:
    pairs = (z.shape[0], log_weight.shape[0])
    return _new(z, *pairs), _new(z, *pairs), _new(z, z.shape[0])


def _component_log_prob_backward_fake(
    z: Tensor, mean: Tensor, spread: Tensor, log_weight: Tensor, *saved_and_upstream: MaybeTensor
) -> tuple[Tensor, ...]:
    return tuple(z.new_empty(value.shape) for value in (z, mean, spread, log_weight))


def _save_component_log_prob(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, output[1])
    ctx.n_tensors = 4


def _component_log_prob_backward(ctx: Any, *upstream: MaybeTensor) -> tuple[Tensor, ...]:
    gradients: tuple[Tensor, ...] = torch.ops.deepmix.component_log_prob_backward.default(*ctx.saved_tensors, *upstream)
    return gradients


def _component_log_prob_full_backward(ctx: Any, *upstream: MaybeTensor) -> tuple[Tensor, ...]:
    backward = torch.ops.deepmix.component_log_prob_full_backward.default
    gradients: tuple[Tensor, ...] = backward(*ctx.saved_tensors, *upstream)
    return gradients


def _mixture_statistics_fake(
    z: Tensor, mean: Tensor, spread: Tensor, log_weight: Tensor, row_weight: MaybeTensor, log_noise: float
) -> tuple[Tensor, ...]:
    shapes = ((), log_weight.shape, mean.shape, spread.shape)
    return tuple(z.new_empty(shape, dtype=torch.float64) for shape in shapes)


def _component_kl_fake(mean: Tensor, log_var: Tensor, prior_mean: MaybeTensor, prior_log_var: MaybeTensor) -> Tensor:
    return _new(mean, mean.shape[0], mean.shape[1] if prior_mean is None else prior_mean.shape[0])


def _component_kl_backward_fake(
    mean: Tensor, log_var: Tensor, prior_mean: MaybeTensor, prior_log_var: MaybeTensor, by_kl: Tensor
) -> tuple[Tensor, ...]:
    return tuple(_gradient_like(value, mean) for value in (mean, log_var, prior_mean, prior_log_var))


def _save_component_kl(ctx: Any, inputs: tuple[MaybeTensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)
    ctx.n_tensors = 4


def _component_kl_backward(ctx: Any, by_kl: Tensor) -> tuple[MaybeTensor, ...]:
    inputs = ctx.saved_tensors
    gradients = torch.ops.deepmix.component_kl_backward.default(*inputs, by_kl)
    return tuple(None if value is None else d for value, d in zip(inputs, gradients, strict=True))


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
