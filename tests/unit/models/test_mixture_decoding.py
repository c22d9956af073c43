"""Only the components that count are decoded, in one packed call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from deepmix.models import MixtureVAE
from deepmix.training.adam import Adam
from deepmix.training.safe_steps import is_finite_step, step_if
from tests.losses import loss_of
from tests.unit.models.mixture import (
    CLOSE,
    THRESHOLD,
    Case,
    K,
    L,
    N,
    assert_same_gradients,
    build,
    grey_rows,
    plain_elbo,
    seeded,
)

pytestmark = pytest.mark.usefixtures("double_precision")


SHARP = [
    Case(equation=5, threshold=THRESHOLD),
    Case(equation=10, threshold=THRESHOLD),
    Case(equation=15, threshold=THRESHOLD),
]


@pytest.mark.parametrize("case", SHARP, ids=str)
def test_dropped_mass_is_what_lies_below_the_threshold(case: Case) -> None:
    loss = loss_of(build(case), grey_rows(), seeded(7), beta=1.0)
    q = loss.log_q_NK.exp()
    torch.testing.assert_close(loss.dropped_N, q.where(q < THRESHOLD, 0.0).sum(-1), **CLOSE)
    assert (loss.dropped_N <= (K - 1) * THRESHOLD).all()
    assert (loss.dropped_N > 0.0).any()  # otherwise nothing would be tested


@pytest.mark.parametrize("case", SHARP, ids=str)
def test_dropping_changes_the_elbo_by_no_more_than_its_bound(case: Case) -> None:
    """With a_k = log p(x|z_k) - KL_k + log p(y_k) - log q_k, renormalising over the kept mass, 1 - delta of q,
    changes sum_k q_k a_k by at most delta times the range of a, and adds log(1 - delta)."""
    model, x = build(case), grey_rows()
    loss = loss_of(model, x, seeded(7), beta=1.0)
    plain = plain_elbo(model, case, x, 7, 1.0)
    a = plain.log_likelihood - plain.kl + plain.log_weight - plain.log_q
    bound = loss.dropped_N * (a.amax(-1) - a.amin(-1)) - torch.log1p(-loss.dropped_N)
    difference = (loss.elbo_N - plain.objective).abs()
    assert (difference <= bound + 1e-10).all()  # rounding
    assert difference.max() > 1e-7  # otherwise nothing would be tested


def test_dropping_costs_the_joint_elbo_exactly_the_log_of_what_is_kept() -> None:
    """At eq. 5 all a_k above are equal, so only the log is left: the bound falls, and never rises."""
    case = SHARP[0]
    model, x = build(case), grey_rows()
    loss = loss_of(model, x, seeded(7), beta=1.0)
    expected = plain_elbo(model, case, x, 7, 1.0).objective + torch.log1p(-loss.dropped_N)
    torch.testing.assert_close(loss.elbo_N, expected, **CLOSE)


def decoded_counts(model: MixtureVAE, x: Tensor) -> list[list[int]]:
    calls: list[list[int]] = []
    hook = model.decoder.register_forward_pre_hook(lambda module, arguments: calls.append(list(arguments[1])))
    loss_of(model, x, seeded(7), beta=1.0)
    hook.remove()
    return calls


@pytest.mark.parametrize("equation", [10, 15])
def test_hard_assignment_decodes_one_component_a_row(equation: Literal[10, 15]) -> None:
    case = Case(equation=equation, assignment="hard", threshold=THRESHOLD)
    model, x = build(case), grey_rows()
    component_N = plain_elbo(model, case, x, 7, 1.0).log_q.argmax(-1)
    assert decoded_counts(model, x) == [(L * torch.bincount(component_N, minlength=K)).tolist()]


@pytest.mark.parametrize("case", SHARP[1:], ids=str)
def test_soft_assignment_decodes_what_reaches_the_threshold_in_one_call(case: Case) -> None:
    model, x = build(case), grey_rows()
    is_kept = plain_elbo(model, case, x, 7, 1.0).log_q.exp() >= THRESHOLD
    assert decoded_counts(model, x) == [(L * is_kept.sum(0)).tolist()]
    assert is_kept.sum() < N * K


def test_threshold_zero_decodes_everything_in_one_call() -> None:
    assert decoded_counts(build(Case(equation=15)), grey_rows()) == [[L * N] * K]


def test_a_shared_latent_is_decoded_once_whatever_the_number_of_components() -> None:
    assert decoded_counts(build(Case(equation=16)), grey_rows()) == [[L * N]]


ALL_OR_KEPT = [
    Case(equation=5, threshold=THRESHOLD),
    Case(equation=10, threshold=THRESHOLD, network="grouped-mlp"),
    Case(equation=15, threshold=THRESHOLD, assignment="hard", e_step="sampled"),
    Case(equation=16, threshold=THRESHOLD, e_step="sampled"),
]


def decode_all(model: MixtureVAE) -> None:
    model.options = replace(model.options, decode_all=True)


@pytest.mark.parametrize("case", ALL_OR_KEPT, ids=str)
def test_decoding_all_changes_neither_the_bound_nor_its_gradients(case: Case) -> None:
    model, x = build(case), grey_rows()
    kept = loss_of(model, x, seeded(7), beta=0.3)
    n_kept = sum(decoded_counts(model, x)[-1])
    decode_all(model)
    everything = loss_of(model, x, seeded(7), beta=0.3)
    assert decoded_counts(model, x)[-1] == [L * N] * case.n_heads
    assert n_kept < L * N * case.n_heads or case.n_heads == 1
    torch.testing.assert_close(everything.terms["reconstruction"], kept.terms["reconstruction"], **CLOSE)
    assert_same_gradients(everything.objective_N.sum(), kept.objective_N.sum(), model)


class HostReads(TorchDispatchMode):
    """Lists the operators whose results or shapes depend on values, for which a GPU would have to finish first."""

    DEPENDENT = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        is_index = function.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put)
        indices = [one for one in arguments[1] if one is not None] if is_index else []
        if any(one.dtype in (torch.bool, torch.uint8) for one in indices) or (
            not is_index and self.DEPENDENT & set(function.tags)
        ):
            self.names.append(str(function))
        return function(*arguments, **(options or {}))


class ListReads(TorchFunctionMode):
    """Lists the methods that copy a tensor to the host, which dispatch no operator where it is there already."""

    NAMES = frozenset({"tolist", "numpy", "cpu"})

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if getattr(function, "__name__", "") in self.NAMES:
            self.names.append(function.__name__)
        return function(*arguments, **(options or {}))


def reads_of_a_step(model: MixtureVAE, phase: Mapping[str, Any]) -> list[str]:
    """Return what an update reads back from the device: bound, gradients, check and fused optimiser."""
    optimizer = Adam(model.parameters(), 1e-3, fused=True)
    with HostReads() as operators, ListReads() as methods:
        objective = loss_of(model, grey_rows(), seeded(7), **phase).objective_N.mean()
        (-objective).backward()
        step_if(is_finite_step(objective, model.parameters()), optimizer)
    return operators.names + methods.names


PHASES = [{}, {"anchor": 0.5, "labels": torch.arange(N) % K}, {"hold": True, "labels": torch.arange(N) % K}]


@pytest.mark.parametrize("phase", PHASES, ids=["plain", "anchor", "hold"])
@pytest.mark.parametrize("case", ALL_OR_KEPT, ids=str)
def test_decoding_all_reads_nothing_back_to_the_host(case: Case, phase: Mapping[str, Any]) -> None:
    model = build(case)
    assert reads_of_a_step(model, phase) != []
    decode_all(model)
    assert reads_of_a_step(model, phase) == []
