"""The kits of the parts of a mixture: encoder, decoder, prior and posterior estimator."""

from __future__ import annotations

import abc
import unittest
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from deepmix.contracts import DensityPrior
from deepmix.maths import Dims, Gaussian, Latents, MixtureParameters, seeded_draws
from deepmix.testing.assertions import assert_close
from deepmix.testing.clauses import PluginKit, clause
from deepmix.testing.contract_checks import DIMS, N_ROWS, check_decoder, check_encoder, check_posterior, check_prior
from deepmix.testing.density_check import StandInEncoder


class ModuleKit(PluginKit, abc.ABC):
    """The clauses of a plugin that is a torch module; `outputs` calls it on rows."""

    @abc.abstractmethod
    def build(self, seed: int = 0) -> Any:
        """Return the module; its initial weights depend on the seed alone."""

    @abc.abstractmethod
    def example(self) -> Tensor:
        """Return rows that `outputs` takes, at least three."""

    @abc.abstractmethod
    def outputs(self, module: Any, rows: Tensor) -> tuple[Tensor, ...]:
        """Return what the module computes for rows; the first axis of each tensor counts the rows."""

    def place(self, module: Any) -> None:
        """Start the module from an initial clustering."""

    @clause("use the dtype of the inputs and parameters, as in torch.zeros(..., dtype=x.dtype)")
    def test_precision(self) -> None:
        """Outputs have the inputs' precision: float32, and float64 for a module in float64."""
        for dtype in (torch.float32, torch.float64):
            module = self.build().to(dtype)
            for tensor in self.outputs(module, self.example().to(dtype)):
                if tensor.dtype != dtype:
                    raise AssertionError(f"an output for {dtype} has {tensor.dtype}")

    @clause("compute with torch's functions only, and keep away from log(0), 0/0 and sqrt(0)")
    def test_gradients(self) -> None:
        """After place(), every gradient is finite, and one is not zero if there are parameters."""
        module = self.build()
        self.place(module)
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not parameters:
            raise unittest.SkipTest("there are no parameters to learn")
        outputs = [tensor for tensor in self.outputs(module, self.example()) if tensor.requires_grad]
        torch.stack([(tensor * torch.rand_like(tensor)).sum() for tensor in outputs]).sum().backward()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            raise AssertionError("a gradient is not finite")
        if not any(bool(gradient.any()) for gradient in gradients):
            raise AssertionError("no output depends on a parameter")

    @clause("draw initial weights with torch's functions in __init__ and nothing in forward")
    def test_seeds(self) -> None:
        """The same seed gives the same module, and the same input the same output."""
        first, second = self.build(seed=3), self.build(seed=3)
        for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
            if not torch.equal(a, b):
                raise AssertionError(f"'{name}' differs between two modules of one seed")
        rows = self.example()
        pairs = zip(self.outputs(first, rows), self.outputs(first, rows), strict=True)
        if not all(torch.equal(a, b) for a, b in pairs):
            raise AssertionError("two calls gave different outputs")

    @clause("create tensors with device=x.device, and keep fixed ones with self.register_buffer(name, tensor)")
    def test_devices(self) -> None:
        """The module works on the device that it is moved to: CUDA if there is one, else torch's meta device."""
        device = "cuda" if torch.cuda.is_available() else "meta"
        module = self.build().to(device)
        try:
            outputs = self.outputs(module, self.example().to(device))
        except (RuntimeError, NotImplementedError) as error:
            if device == "meta" and ("item()" in str(error) or "data-dependent" in str(error)):
                raise unittest.SkipTest("it reads values of tensors, and there is no CUDA device") from error
            raise
        if any(tensor.device.type != device for tensor in outputs):
            raise AssertionError(f"an output for inputs on {device} is on another device")

    @clause("keep whatever place() sets in parameters, or in buffers made with self.register_buffer")
    def test_state(self) -> None:
        """A new module with the state_dict() of another computes the same bits."""
        module, other = self.build(), self.build(seed=1)
        self.place(module)
        other.load_state_dict(module.state_dict())
        pairs = zip(self.outputs(module, self.example()), self.outputs(other, self.example()), strict=True)
        if not all(torch.equal(a, b) for a, b in pairs):
            raise AssertionError("the outputs differ after a round trip of state_dict()")

    @clause("write the forward pass with torch's functions, without side effects")
    def test_compile(self) -> None:
        """torch.compile gives the same outputs; its backend needs no compiler."""
        module, rows = self.build(), self.example()
        expected = self.outputs(module, rows)
        torch.compiler.reset()
        compiled: Callable[[Tensor], Any] = torch.compile(lambda rows: self.outputs(module, rows), backend="aot_eager")
        for a, b in zip(compiled(rows), expected, strict=True):
            assert_close("an output of the compiled module and of the module itself", a, b)


class RowsKit(ModuleKit, abc.ABC):
    """The clauses of a module that maps rows to rows."""

    @clause("treat every row alone: no statistics over the batch")
    def test_rows(self) -> None:
        """A row's outputs don't depend on other rows, even if those are NaN; one row and no rows are valid batches."""
        module, rows = self.build().eval(), self.example()
        whole = self.outputs(module, rows)
        spoiled = rows.clone()
        spoiled[0] = torch.nan
        for what, part, chosen in (
            ("a row alone", slice(1, 2), rows[1:2]),
            ("rows beside NaN", slice(1, None), spoiled),
            ("no rows", slice(0, 0), rows[:0]),
        ):
            for a, b in zip(self.outputs(module, chosen), whole, strict=True):
                a = a[1:] if chosen is spoiled else a
                assert_close(f"the outputs for {what} and in the whole batch", a, b[part])


class PartKit(ModuleKit, abc.ABC):
    """The clauses of a part, which is built from sizes and options."""

    role: ClassVar[str]
    """The option of the command line that names the part."""
    model: ClassVar[str] = "mvae-emv2"
    """The model whose part is replaced in the run through the command line."""
    check: ClassVar[Callable[..., None]]
    """The function of `deepmix.testing` that the first clauses call."""
    dims: ClassVar[Dims] = DIMS
    """The sizes of the part in most clauses."""

    def build(self, seed: int = 0) -> Any:
        """Return the part."""
        with seeded_draws(seed):
            return self.part(self.dims, self.options())

    def train_words(self, name: str) -> list[str]:
        """Return the words that put the part into a recipe."""
        words = ["--model", self.model, f"--{self.role}", name, "--init", "kmeans"]
        if getattr(self.part, "needs_images", False):
            words += ["--set", "image_shape=3x4"]
        return words + [
            word for key, value in self.settings.items() for word in ("--set", f"{self.role}.{key}={value}")
        ]

    @clause("compare with the docstrings of the contract in deepmix.contracts")
    def test_contract(self) -> None:
        """Shapes and values are those that the contract describes, for K latents and for one shared latent."""
        for n_heads in (self.dims.n_heads, 1):
            type(self).check(self.part, replace(self.dims, n_heads=n_heads))

    @clause("use dims.n_components and dims.n_heads, which may be 1")
    def test_one_component(self) -> None:
        """K = 1 is a valid number of components."""
        type(self).check(self.part, replace(self.dims, n_components=1, n_heads=1))


class EncoderKit(PartKit, RowsKit):
    """The kit of an encoder: set `part` to the class."""

    kind, role, check = "encoders", "encoder", staticmethod(check_encoder)

    def example(self) -> Tensor:
        """Return features, (N, D)."""
        return torch.linspace(-1.0, 1.0, N_ROWS * DIMS.n_features).view(N_ROWS, -1)

    def outputs(self, module: Any, rows: Tensor) -> tuple[Tensor, ...]:
        """Return mean, log-variance and code."""
        posterior = module(rows)
        return posterior.mean, posterior.log_var, module.code(rows)

    def place(self, module: Any) -> None:
        """Move and stretch the code."""
        module.place(torch.full((DIMS.latent_dim,), 0.5), torch.full((DIMS.latent_dim,), 2.0), -1.0)


class DecoderKit(PartKit, RowsKit):
    """The kit of a decoder: set `part` to the class."""

    kind, role, check = "decoders", "decoder", staticmethod(check_decoder)
    dims = replace(DIMS, n_outputs=24, image_shape=(2, 2, 3))

    def example(self) -> Tensor:
        """Return latents, (R, M)."""
        return torch.linspace(-1.0, 1.0, N_ROWS * DIMS.latent_dim).view(N_ROWS, -1)

    def outputs(self, module: Any, rows: Tensor) -> tuple[Tensor, ...]:
        """Return the decoded rows, all of the first head."""
        return (module(rows, [len(rows), *[0] * (DIMS.n_heads - 1)]),)

    def place(self, module: Any) -> None:
        """Move and stretch the latents."""
        module.place(torch.full((DIMS.latent_dim,), 0.5), torch.full((DIMS.latent_dim,), 2.0))


class PriorKit(PartKit):
    """The kit of a prior: set `part` to the class."""

    kind, role, check = "priors", "prior", staticmethod(check_prior)

    def build(self, seed: int = 0) -> Any:
        """Return the prior, bound to an encoder, which moves and is stored with it as in a model."""
        prior = super().build(seed)
        with seeded_draws(seed):
            encoder = StandInEncoder(self.dims).requires_grad_(requires_grad=False)
        prior.bind(encoder)
        prior.add_module("encoder_of_the_kit", encoder)
        return prior

    def example(self) -> Tensor:
        """Return latents, which a prior of Gaussians does not look at, (N, M)."""
        return torch.linspace(-1.0, 1.0, N_ROWS * DIMS.latent_dim).view(N_ROWS, -1)

    def outputs(self, module: Any, rows: Tensor) -> tuple[Tensor, ...]:
        """Return log-weights, means and log-variances, or the density."""
        if isinstance(module, DensityPrior):
            return module.log_weights(), module.log_prob(rows.view(1, len(rows), 1, -1))
        parameters = module()
        components = parameters.components
        return parameters.log_weight_K, *(() if components is None else (components.mean, components.log_var))

    def place(self, module: Any) -> None:
        """Adopt random components with unequal weights."""
        shape = (DIMS.n_components, DIMS.latent_dim)
        module.place(Gaussian(torch.randn(shape), torch.randn(shape)), torch.tensor([0.1, 0.2, 0.3, 0.4]))

    @clause("handle rare components in place(): their logarithms must stay finite")
    def test_weights(self) -> None:
        """place() takes components of very different weights, and the log-weights stay finite."""
        module, shape = self.build(), (DIMS.n_components, DIMS.latent_dim)
        module.place(Gaussian(torch.zeros(shape), torch.zeros(shape)), torch.tensor([1e-6, 1e-6, 1e-6, 1.0 - 3e-6]))
        if not bool(module().log_weight_K.isfinite().all()):
            raise AssertionError("a log-weight is not finite")


class PosteriorKit(PartKit, RowsKit):
    """The kit of an estimator of q(y|x): set `part` to the class."""

    kind, role, check = "posteriors", "posterior", staticmethod(check_posterior)

    def example(self) -> Tensor:
        """Return means of q(z|y,x), (N, H, M)."""
        return torch.linspace(-1.0, 1.0, N_ROWS * DIMS.n_heads * DIMS.latent_dim).view(N_ROWS, DIMS.n_heads, -1)

    def outputs(self, module: Any, rows: Tensor) -> tuple[Tensor, ...]:
        """Return log q(y|x) and its normaliser at the means."""
        log_weight_K = rows.new_zeros(DIMS.n_components).log_softmax(0)
        kl_NK = rows.square().sum(-1).expand(-1, DIMS.n_components)
        latents = Latents(None, Gaussian(rows, rows * 0.0 - 1.0), MixtureParameters(None, log_weight_K), kl_NK, True)
        log_likelihood_LNK = -kl_NK.unsqueeze(0) if module.needs_likelihood else None
        result = module(latents, log_likelihood_LNK)
        return result.log_q_NK, result.log_normalizer_N
