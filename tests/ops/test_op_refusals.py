"""Every operator refuses arguments of a wrong shape, type or device before native code reads memory.

Each tensor of a good call is changed in every way that could make a kernel read beyond it. The operator must then raise
an error, or the call must be legal all the same (no rows, one head for all components) and give what the reference
gives. `csrc/sanitize.sh` runs this under AddressSanitizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from deepmix.maths import formulas
from tests.ops.test_op_registration import calls, operator

REFUSALS = (RuntimeError, TypeError, ValueError, NotImplementedError, IndexError)
CALLS = calls(torch.float32)
LEAST_REFUSED = 0.9
"""Fraction of the changed calls that are not legal; were it small, the changes would be too tame."""


def changed(tensor: Tensor) -> Iterator[tuple[str, Any]]:
    """Yield a tensor with a wrong rank, size, type or device, and what was changed."""
    for axis in range(tensor.dim()):
        size = tensor.shape[axis]
        yield f"axis {axis} longer", torch.cat([tensor, tensor.narrow(axis, 0, 1)], axis)
        yield f"axis {axis} empty", tensor.narrow(axis, 0, 0)
        yield f"axis {axis} missing", tensor.select(axis, 0)
        yield f"axis {axis} doubled", tensor.unsqueeze(axis)
        if size > 1:
            yield f"axis {axis} shorter", tensor.narrow(axis, 0, size - 1)
            yield f"axis {axis} of one", tensor.narrow(axis, 0, 1)
    yield "flat", tensor.reshape(-1)
    yield "a number", torch.tensor(1.0)
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64):
        yield str(dtype), tensor.to(dtype)
    yield "on another device", tensor.to("meta")
    yield "sparse", tensor.to_sparse()
    yield "quantized", torch.quantize_per_tensor(tensor.contiguous(), 0.1, 0, torch.qint8)


def outcome(compute: Any, arguments: list[Any]) -> list[Tensor] | None:
    """Return the results, or None where the call is refused."""
    try:
        results = compute(*arguments)
    except REFUSALS:
        return None
    return list(results) if isinstance(results, tuple) else [results]


@pytest.mark.filterwarnings("ignore")  # torch's own, of quantized and complex tensors
@pytest.mark.parametrize("number", range(len(CALLS)))
def test_changed_arguments_are_refused_or_legal(number: int) -> None:
    name, arguments = CALLS[number]
    n_refused, n_all = 0, 0
    for position, argument in enumerate(arguments):
        if not isinstance(argument, Tensor):
            continue
        for what, wrong in changed(argument):
            n_all += 1
            call = [*arguments[:position], wrong, *arguments[position + 1 :]]
            results = outcome(operator(name), call)
            if results is None or all(
                result.device.type == "meta" for result in results
            ):  # meta tensors have no memory
                n_refused += 1
                continue
            expected = outcome(getattr(formulas, name), call)
            assert expected is not None, f"{name}: argument {position}, {what}"
            for one, other in zip(results, expected, strict=True):
                torch.testing.assert_close(one, other.expand(one.shape), msg=f"{name}: argument {position}, {what}")
    assert n_refused >= LEAST_REFUSED * n_all


def spread_out(tensor: Tensor) -> Iterator[Tensor]:
    """Yield tensors of the same values whose elements do not lie side by side in memory."""
    wide = torch.full((*tensor.shape[:-1], tensor.shape[-1] * 2 + 1), torch.nan, dtype=tensor.dtype)
    wide[..., 1::2] = tensor
    yield wide[..., 1::2]
    order = list(reversed(range(tensor.dim())))
    yield tensor.permute(order).contiguous().permute(order)
    padded = torch.full((tensor.numel() + 3,), torch.nan, dtype=tensor.dtype)
    padded[3:] = tensor.reshape(-1)
    yield padded[3:].view(tensor.shape)


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_strides_and_offsets_change_nothing(number: int) -> None:
    name, arguments = CALLS[number]
    expected = outcome(operator(name), arguments)
    assert expected is not None
    for position, argument in enumerate(arguments):
        if not isinstance(argument, Tensor):
            continue
        for same in spread_out(argument):
            results = outcome(operator(name), [*arguments[:position], same, *arguments[position + 1 :]])
            assert results is not None
            for one, other in zip(results, expected, strict=True):
                assert torch.equal(one, other), f"{name}: argument {position}, strides {same.stride()}"


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_a_row_repeated_without_memory_of_its_own_is_read_as_often_as_needed(number: int) -> None:
    """A stride of 0 is legal."""
    name, arguments = CALLS[number]
    for position, argument in enumerate(arguments):
        if not isinstance(argument, Tensor):
            continue
        repeated = argument[:1].expand(argument.shape)
        plain, strided = (
            outcome(operator(name), [*arguments[:position], one, *arguments[position + 1 :]])
            for one in (repeated.contiguous(), repeated)
        )
        assert plain is not None
        assert strided is not None
        for one, other in zip(plain, strided, strict=True):
            assert torch.equal(one, other), f"{name}: argument {position}"
