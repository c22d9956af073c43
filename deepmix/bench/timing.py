"""Timings of the kernels against every sensible form in plain PyTorch, and of training steps with and without them.

All forms of one row are timed in turn, so that other work on the machine slows them equally. Bytes moved are those
that a pass must move: each input read once per pass, each output and gradient written once.
"""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepmix import kernels
from deepmix.bench.forms import Form, component_forms, kl_forms, mixture_forms, sampled_forms
from deepmix.contracts import Batch, Phase, registry
from deepmix.data import Split
from deepmix.experiment import ExperimentConfig, build_model, resolve
from deepmix.kernels import loader
from deepmix.training import TrainingOptions, keep_freed_memory, learns_by_gradient, start_lr

Shape = tuple[int, int, int]


MIXTURE_SHAPES: tuple[Shape, ...] = ((128, 10, 10), (8192, 10, 10), (65536, 10, 10), (8192, 100, 32))


COMPONENT_SHAPES: tuple[Shape, ...] = ((128, 10, 10), (100000, 10, 10))


QUICK_SHAPES: tuple[Shape, ...] = ((128, 10, 10), (2048, 10, 10))


QUICK_MODELS = 2
"""Number of models whose steps are timed with --quick."""


SECONDS, QUICK_SECONDS = 2.0, 0.4
"""Time spent on one row."""


STEP_TIMES = 5
"""How many times longer a training step is timed: steps are long, and differences of 1 % must show."""


WARM_UP = 3


LEAST_SAMPLES = 9
"""Calls of each form that are timed however long they take."""


COPY_ELEMENTS = 1 << 24


STEP_FEATURES, STEP_BATCH, STEP_COMPONENTS = 64, 128, 10
"""Training steps are timed on rows as wide as those of Digits, 128 per step."""


DRIVER = Path("/proc/driver/nvidia/version")


FORMS = ("eager", "distributions", "gemm", "compiled")


@dataclass(frozen=True)
class Timing:
    """Microseconds: median and quartiles."""

    median: float
    lower: float
    upper: float


def time_kernels(
    device: str, *, quick: bool, seconds: float | None = None, models: Sequence[str] = ()
) -> dict[str, Any]:
    """Time operators and training steps on one device; return the machine, the rows and the training steps.

    Args:
        device: 'cpu' or 'cuda'.
        quick: whether to use small shapes and short timings, without torch.compile.
        seconds: time spent on one row.
        models: names of the models whose steps are timed; if empty, all installed models.

    """
    seconds = seconds or (QUICK_SECONDS if quick else SECONDS)
    keep_freed_memory()  # also for the plain forms: how long the system takes to clear pages is not the question
    target = torch.device(device)
    rows = list(kernel_rows(target, quick, seconds))
    steps = list(training_rows(target, quick, STEP_TIMES * seconds, models))
    return {"machine": machine(target), "rows": rows, "training_steps": steps}


def machine(device: torch.device) -> dict[str, Any]:
    """Return the machine, the versions and the settings that the figures were measured with."""
    loaded = loader.load_kernels()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "load_after": os.getloadavg()[0],
        "freed_memory_kept": keep_freed_memory(),
        "driver": _driver() if device.type == "cuda" else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "kernels": loaded.path,
        "simd": loader.build_facts().get("simd"),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _driver() -> str | None:
    try:
        return DRIVER.read_text().splitlines()[0]
    except (OSError, IndexError):
        return None


def time_in_turn(forms: dict[str, Callable[[], object]], device: torch.device, seconds: float) -> dict[str, Timing]:
    """Call every form in turn until the time is up, and return their timings."""
    samples: dict[str, list[float]] = {name: [] for name in forms}
    for call in forms.values():
        for _ in range(WARM_UP):
            call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(samples.values()))) < LEAST_SAMPLES:
        for name, call in forms.items():
            _wait(device)
            started = time.perf_counter()
            call()
            _wait(device)
            samples[name].append((time.perf_counter() - started) * 1e6)
    return {name: Timing(*(float(v) for v in np.percentile(times, (50, 25, 75)))) for name, times in samples.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def kernel_rows(device: torch.device, quick: bool, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield one row per operator, shape and pass."""
    mixtures = QUICK_SHAPES if quick else MIXTURE_SHAPES
    components = QUICK_SHAPES if quick else COMPONENT_SHAPES
    for op, make, shapes in (
        ("mixture_posterior", mixture_forms, mixtures),
        ("sampled_mixture_posterior", sampled_forms, mixtures),
        ("component_kl", kl_forms, mixtures[:3]),
        ("component_log_prob", component_forms(full=False), components),
        ("component_log_prob_full", component_forms(full=True), components),
    ):
        for shape in shapes:
            form = make(shape, device, compiled=not quick)
            for pass_ in ("forward", "forward+backward"):
                yield _row(op, shape, pass_, form, device, seconds)


def _row(op: str, shape: Shape, pass_: str, form: Form, device: torch.device, seconds: float) -> dict[str, Any]:
    backward = pass_ != "forward"
    calls = {name: _call(name, form, backward) for name in form.functions}
    source, target = (torch.empty(COPY_ELEMENTS, device=device) for _ in range(2))
    # The copy is timed separately, because it empties the caches.
    copy = time_in_turn({"copy": lambda: target.copy_(source)}, device, seconds / 10)["copy"]
    timings = time_in_turn(calls, device, seconds)
    kernel = timings["kernel"].median
    plain = {name: timings[name].median for name in FORMS if name in timings}
    copy_gbs = 2 * source.nbytes / copy.median / 1e3
    gbs = form.bytes_moved(backward) / kernel / 1e3
    return {
        "op": op,
        "device": device.type,
        "dtype": "float32",
        "pass": pass_,
        **dict(zip("NKM", shape, strict=True)),
        "kernel_us": kernel,
        "kernel_quartiles_us": [timings["kernel"].lower, timings["kernel"].upper],
        **{f"{name}_us": plain.get(name) for name in FORMS},
        "speedup_vs_eager": plain["eager"] / kernel,
        "speedup_vs_best": min(plain.values()) / kernel,
        "bytes": form.bytes_moved(backward),
        "gbs": gbs,
        "copy_gbs": copy_gbs,
        "fraction_of_copy": gbs / copy_gbs,
        "max_rel_err": _error(form, backward),
        "eager_max_rel_err": _error(form, backward, "eager"),
    }


def _call(name: str, form: Form, backward: bool) -> Callable[[], object]:
    function, inputs = form.functions[name], tuple(form.inputs_of(name))
    if not backward:

        def forward() -> object:
            with torch.no_grad():
                return function(*inputs)

        return forward
    upstream = tuple(form.upstream)
    return lambda: gradients_of(function(*inputs), inputs, upstream)


def gradients_of(
    outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], upstream: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return what `torch.autograd.grad` returns, without its comparison of symbolic shapes.

    With 128 rows, 10 components and 10 latent dimensions, on one thread of an AMD EPYC, the comparison takes 40 to
    75 us of 160 to 300 us; a training step, whose loss is a scalar, does not pay for it. Where torch lacks the private
    name used here, `torch.autograd.grad` itself is called.
    """
    engine = getattr(torch.autograd.Variable, "_execution_engine", None)
    if engine is None:
        return torch.autograd.grad(outputs, inputs, upstream)
    gradients: tuple[Tensor, ...] = engine.run_backward(outputs, upstream, False, False, inputs)
    return gradients


def _error(form: Form, backward: bool, name: str = "kernel") -> float:
    """Return the largest error against float64, in units of each array's largest value."""
    doubles = [tensor.detach().double().requires_grad_() for tensor in form.inputs]
    results = []
    for function, inputs in ((form.functions[name], form.inputs_of(name)), (form.functions["eager"], doubles)):
        outputs = function(*inputs)
        values: Sequence[Tensor] = outputs
        if backward:
            upstream = [gradient.to(inputs[0].dtype) for gradient in form.upstream]
            values = torch.autograd.grad(outputs, inputs, upstream)
        results.append([value.detach() for value in values])
    errors = [
        float((value.double() - exact).abs().max() / exact.abs().max()) for value, exact in zip(*results, strict=True)
    ]
    return max(errors)


def training_rows(
    device: torch.device, quick: bool, seconds: float, models: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the time of each model's whole training step, from E-step to optimiser, with kernels on and off."""
    names = models or registry.names("models")[: QUICK_MODELS if quick else None]
    for name in names:
        row = training_row(ExperimentConfig(model=name), STEP_COMPONENTS, device, seconds)
        if row is not None:
            yield row


def training_row(
    config: ExperimentConfig, n_components: int, device: torch.device, seconds: float
) -> dict[str, Any] | None:
    """Return the times of one training step, or None if the model learns nothing by gradients."""
    step = _training_step(config, n_components, device)
    if step is None:
        return None

    def plain() -> None:
        with kernels.reference_only():
            step()

    timings = time_in_turn({"kernel": step, "plain": plain}, device, seconds)
    return {
        "model": config.model,
        "device": device.type,
        "batch": STEP_BATCH,
        "kernel_us": timings["kernel"].median,
        "kernel_quartiles_us": [timings["kernel"].lower, timings["kernel"].upper],
        "plain_us": timings["plain"].median,
        "plain_quartiles_us": [timings["plain"].lower, timings["plain"].upper],
        "speedup": timings["plain"].median / timings["kernel"].median,
    }


def _training_step(config: ExperimentConfig, n_components: int, device: torch.device) -> Callable[[], None] | None:
    """Return a function that does one training step of a model, or None if the model learns nothing by gradients."""
    x = np.random.default_rng(0).random((STEP_BATCH, STEP_FEATURES), dtype=np.float32)
    rows = np.arange(STEP_BATCH)
    split = Split(x, rows, rows[:0], rows % 10, "bernoulli", "random")
    model = build_model(resolve(config), split, n_components, seed=0).to(device)
    if not learns_by_gradient(model):
        return None
    optimizer = torch.optim.Adam(model.parameters(), lr=start_lr(model, TrainingOptions(), STEP_BATCH), fused=True)
    generator = torch.Generator(device).manual_seed(0)
    x_ND = torch.from_numpy(split.x).to(device)
    label_N = (torch.arange(len(split.x)) % model.n_components).to(device)

    batch = Batch(x_ND, generator, Phase(anchor=1.0), torch.arange(len(x_ND), device=device), label_N)

    def step() -> None:
        optimizer.zero_grad()
        (-model(batch).objective_N.mean()).backward()
        optimizer.step()

    return step
