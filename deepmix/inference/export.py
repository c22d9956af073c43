"""Export of a run's model to a file that runs without deepmix: ONNX, or torch.export's .pt2."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from deepmix import kernels
from deepmix.contracts import Batch
from deepmix.data import BYTE_RANGE
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.inference.loaded import LoadedRun
from deepmix.maths import Array

Format = Literal["onnx", "torch-export"]


SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch-export": ".pt2"}


ONNX_MODULES = ("onnx", "onnxscript", "onnxruntime")
"""The first two write the file; the third runs it for the check."""


TRACED_ROWS = 2
"""Rows of the example that a model is traced with; the exported model takes any number."""


CHECKED_ROWS = (1, 33)
"""Sizes of the random batches on which the exported model is compared."""


RELATIVE, ABSOLUTE = 1e-4, 1e-3
"""How far results may lie apart: what float32 loses in sums of a few hundred squares, in nats for logarithms."""


class Exported(nn.Module):
    """A map from rows as the user has them to log q(y|x), (N, K), and the MAP component's latent, (N, M)."""

    mean: Tensor
    spread: Tensor

    def __init__(self, run: LoadedRun) -> None:
        super().__init__()
        self.model = run.model
        preparation = run.preparation
        self.divisor = preparation.divisor * (float(BYTE_RANGE) if preparation.scale == "bytes" else 1.0)
        zero, one = np.zeros(()), np.ones(())
        self.register_buffer(
            "mean", torch.from_numpy(np.asarray(zero if preparation.mean is None else preparation.mean))
        )
        spread = one if preparation.spread is None else preparation.spread
        self.register_buffer("spread", torch.from_numpy(np.asarray(spread)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Prepare rows in float64, as deepmix does, and return the model's inference."""
        prepared_ND = (x.double() / self.divisor - self.mean) / self.spread
        return self.model.infer(Batch(prepared_ND.float()))


def export_run(run: LoadedRun, kind: Format, path: Path) -> float:
    """Write a run's model and check it against the original on random rows.

    Args:
        run: the run, on the CPU.
        kind: the format.
        path: the file; it may exist already.

    Returns:
        The largest difference between the file's results and the original's.

    Raises:
        UsageError: a library is missing, or the run was trained on a table.
        DeepmixError: the model can't be exported, or the file does not give the original's results.

    """
    if run.schema is not None:
        raise UsageError(
            "the run was trained on a table, whose columns an exported model can't prepare; train on an array (.npy, "
            f".npz, or a table of numbers with {option('scale', 'standard')})"
        )
    missing = [name for name in ONNX_MODULES if kind == "onnx" and importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"ONNX needs {', '.join(missing)}; install with: pip install 'deepmix[onnx]'")
    module = Exported(run).eval()
    example = torch.zeros(TRACED_ROWS, run.n_features)
    try:
        with _quiet(), kernels.reference_only(), torch.no_grad():
            rows = {0: torch.export.Dim("rows", min=1)}
            program = torch.export.export(module, (example,), dynamic_shapes=(rows,))
            (_write_onnx if kind == "onnx" else _write_pt2)(program, rows, path)
    except Exception as error:  # tracing a plugin's model may fail in any way
        reason = str(error).strip().split("\n")[0]
        raise DeepmixError(
            f"model '{run.config.model}' can't be exported as {kind} ({type(error).__name__}: {reason}); "
            f"try another {option('format')}"
        ) from error
    with _quiet():
        return _check(run, _onnx_runner(path) if kind == "onnx" else _pt2_runner(path))


def _write_onnx(program: Any, rows: Any, path: Path) -> None:
    onnx = torch.onnx.export(
        program, dynamo=True, input_names=["x"], output_names=["log_q", "latent"], dynamic_shapes=(rows,), verbose=False
    )
    assert onnx is not None
    path.write_bytes(onnx.model_proto.SerializeToString())


def _write_pt2(program: Any, rows: Any, path: Path) -> None:
    program.example_inputs = None  # torch would pickle them
    content = io.BytesIO()
    torch.export.save(program, content)
    path.write_bytes(content.getvalue())


def _onnx_runner(path: Path) -> Callable[[Array], list[Array]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

    def call(x: Array) -> list[Array]:
        return [np.asarray(result) for result in session.run(None, {"x": x})]

    return call


def _pt2_runner(path: Path) -> Callable[[Array], list[Array]]:
    module = torch.export.load(io.BytesIO(path.read_bytes())).module()

    def call(x: Array) -> list[Array]:
        with torch.no_grad():
            return [result.numpy() for result in module(torch.from_numpy(x))]

    return call


def _check(run: LoadedRun, exported: Callable[[Array], list[Array]]) -> float:
    """Return the largest difference between exported and original results on random rows; refuse a large one."""
    random = np.random.default_rng(0)
    worst = 0.0
    for n_rows in CHECKED_ROWS:
        shape = (n_rows, run.n_features)
        prepared = random.random(shape) if run.likelihood == "bernoulli" else random.normal(size=shape)
        x = run.preparation.undo(prepared).astype(np.float32)
        inference = run.infer(run.prepare(x))
        expected = (inference.log_q_NK, inference.latent_NM)
        for name, result, original in zip(("log q(y|x)", "latents"), exported(x), expected, strict=True):
            difference = float(np.abs(result - original).max())
            worst = max(worst, difference)
            if result.shape != original.shape or not np.allclose(result, original, rtol=RELATIVE, atol=ABSOLUTE):
                raise DeepmixError(
                    f"the exported model's {name} differ from the original's by {difference:.3g} on random rows, so it "
                    f"is not kept; try another {option('format')}"
                )
    return worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log, warnings and output of torch's exporters."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
