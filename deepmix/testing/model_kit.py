"""The kit of a model, either a class or a recipe."""

from __future__ import annotations

import unittest
from typing import Any

import torch
from torch import Tensor

from deepmix.contracts import Batch, Model, Phase, registry
from deepmix.data import CellBlock, RowTensors
from deepmix.maths import Dims, seeded_draws
from deepmix.models import Composite
from deepmix.testing.assertions import assert_close
from deepmix.testing.clauses import PluginKit, clause
from deepmix.testing.contract_checks import check_model

N_ROWS, N_FEATURES, N_COMPONENTS, LATENT_DIM = 9, 12, 3, 2
N_FLAGS = 2
"""Cells of the table that may be missing."""
ROLES = {"encoder": "encoders", "decoder": "decoders", "prior": "priors", "posterior": "posteriors"}


def _rows(n_rows: int = N_ROWS) -> RowTensors:
    """Return rows of an array in 0..1."""
    return RowTensors(torch.rand(n_rows, N_FEATURES, generator=torch.Generator().manual_seed(1)))


def _table_rows() -> RowTensors:
    """Return rows of a table, some cells missing: x has features and flags, the cells have NaN."""
    cells_NC = torch.rand(N_ROWS, N_FEATURES)
    missing_NC = torch.zeros_like(cells_NC, dtype=torch.bool)
    missing_NC[::2, 0] = missing_NC[1::3, 1] = True
    features_NF = cells_NC.masked_fill(missing_NC, 0.0)
    x_ND = torch.cat([features_NF, missing_NC[:, :N_FLAGS].float()], dim=1)
    return RowTensors(x_ND, cells_NC.masked_fill(missing_NC, torch.nan))


class ModelKit(PluginKit):
    """The kit of a model: set `part` to the class or the recipe."""

    kind = "models"

    def defaults(self) -> Any:
        """Return the default options of the model."""
        return self.part.plan().options

    def train_words(self, name: str) -> list[str]:
        """Return the words that choose the model."""
        words = ["--model", name, "--init", "kmeans", "--set", "image_shape=3x4"]
        if self.part.plan().single_component:
            words += ["--head", "gmm"]
        return words + [word for key, value in self.settings.items() for word in ("--set", f"model.{key}={value}")]

    def build(self, seed: int = 0, n_components: int = N_COMPONENTS, *, table: bool = False) -> Model:
        """Return the model, for arrays of images of 3 x 4 pixels or for a table."""
        plan = self.part.plan()
        n_components = 1 if plan.single_component else n_components
        with seeded_draws(seed):
            block = CellBlock("gaussian" if table else "bernoulli", N_FEATURES)
            likelihood = Composite([registry.load_plugin("likelihoods", block.likelihood)(block)], masked=table)
            dims = Dims(
                N_FEATURES + (N_FLAGS if table else 0),
                likelihood.n_outputs,
                n_components,
                1 if plan.shared_latent else n_components,
                LATENT_DIM,
                image_shape=None if table else (3, 4, 1),
                n_flags=N_FLAGS if table else 0,
                cell_of_feature=tuple(range(N_FEATURES)) if table else None,
            )
            parts: dict[str, Any] = {}
            for role, name in plan.part_names.items():
                plugin = registry.load_plugin(ROLES[role], name)
                if table and getattr(plugin, "needs_images", False):
                    raise unittest.SkipTest(f"{role} '{name}' is for images")
                parts[role] = plugin(dims, plugin.Options())
            parts |= {f"term.{name}": term(term.Options()) for name, term in plan.terms.items()}
            model: Model = plan.build(dims, parts, likelihood, self.options())
        return model

    def placed(self, seed: int = 0, weight_N: Tensor | None = None) -> tuple[Model, RowTensors]:
        """Return the model, started from clusters of rows, and the rows."""
        model, rows = self.build(seed), _rows()
        code_NM, squared_error_N = model.pretrained(Batch.of(rows))
        model.place(code_NM, squared_error_N, torch.arange(N_ROWS) % model.n_components, weight_N)
        return model.eval(), rows

    @clause("begin the docstring, or the summary of the recipe, with one line that says what the model is")
    def test_summary(self) -> None:
        """The first line of the docstring is a summary, which listings show."""
        if not self.part.plan().summary:
            raise AssertionError("the model has no summary")

    @clause("follow the message; docs/plugins/index.md has a table of the methods")
    def test_contract(self) -> None:
        """The bound and its terms, inference, samples and decoding are those that the contract describes."""
        check_model(self.build(), N_FEATURES, _rows())

    @clause("use dims.n_components, which may be 1")
    def test_one_component(self) -> None:
        """K = 1 is a valid number of components."""
        check_model(self.build(n_components=1), N_FEATURES, _rows())

    @clause("give the encoder batch.x_ND and the likelihood batch.target_NC, which has NaN where a cell is missing")
    def test_missing_cells(self) -> None:
        """A table with missing cells can be trained on; a row without any cell keeps everything finite."""
        model, rows = self.build(table=True), _table_rows()
        if not isinstance(getattr(model, "likelihood", None), Composite):
            raise unittest.SkipTest("this model has no likelihood of cells")
        check_model(model, N_FEATURES + N_FLAGS, rows)
        assert rows.cells_NC is not None
        rows.cells_NC[0] = torch.nan
        values = (
            model(Batch.of(rows, generator=torch.Generator().manual_seed(0))).objective_N,
            *model.infer(Batch.of(rows)),
        )
        if not all(bool(value.isfinite().all()) for value in values):
            raise AssertionError("a row without any cell gives NaN or infinite values")

    @clause("pass weight_N on to weighted means and moments, as deepmix.maths.cluster_moments takes it")
    def test_weights(self) -> None:
        """place() takes weights of rows; weights of 1 change nothing."""
        model, rows = self.placed()
        weighted, _ = self.placed(weight_N=torch.ones(N_ROWS))
        uneven, _ = self.placed(weight_N=torch.linspace(0.5, 1.5, N_ROWS))
        batch = Batch.of(rows)
        assert_close(
            "q(y|x) with weights of 1 and without", weighted.infer(batch)[0].exp(), model.infer(batch)[0].exp()
        )
        if not bool(uneven.infer(batch)[0].isfinite().all()):
            raise AssertionError("with uneven weights, log q(y|x) is not finite")

    @clause("treat every row alone: no statistics over the batch in infer")
    def test_rows(self) -> None:
        """A row's q(y|x) doesn't depend on other rows; one row and no rows are valid batches."""
        model, rows = self.placed()
        whole_NK, latent_NM = model.infer(Batch.of(rows))
        for n_rows in (1, 0):
            few = rows.take(torch.arange(n_rows))
            log_q_NK, few_NM = model.infer(Batch.of(few))
            assert_close(f"log q(y|x) of {n_rows} rows alone and among others", log_q_NK, whole_NK[:n_rows])
            assert_close(f"latents of {n_rows} rows alone and among others", few_NM, latent_NM[:n_rows])

    @clause("use phase.hold: while it is set, the initial labels batch.label_N replace the E-step")
    def test_phases(self) -> None:
        """Every phase of training gives finite values: the hold, the anchor, and neither."""
        model, rows = self.placed()
        label_N = torch.arange(N_ROWS) % model.n_components
        for phase in (Phase(hold=True, anchor=1.0), Phase(anchor=1.0), Phase(beta=0.3)):
            generator = torch.Generator().manual_seed(0)
            loss = model(Batch.of(rows, generator=generator, phase=phase, label_N=label_N, row_N=torch.arange(N_ROWS)))
            if not bool(loss.objective_N.isfinite().all()):
                raise AssertionError(f"the objective is not finite in {phase}")

    @clause("draw initial weights in __init__, and noise from batch.generator only")
    def test_seeds(self) -> None:
        """The same seed gives the same model, and training draws nothing from torch's global generator."""
        first, second = self.build(seed=3).state_dict(), self.build(seed=3).state_dict()
        if not all(torch.equal(value, second[name]) for name, value in first.items()):
            raise AssertionError("two models of one seed have different weights")
        model, rows = self.placed()
        state = torch.get_rng_state()
        model(Batch.of(rows, generator=torch.Generator().manual_seed(0), label_N=torch.zeros(N_ROWS, dtype=torch.long)))
        if not torch.equal(state, torch.get_rng_state()):
            raise AssertionError("training_loss drew from torch's global generator")

    @clause("keep whatever place() sets in parameters, or in buffers made with self.register_buffer")
    def test_state(self) -> None:
        """A new model with the state_dict() of another infers the same bits."""
        model, rows = self.placed()
        other = self.build(seed=1).eval()
        other.load_state_dict(model.state_dict())
        if not torch.equal(model.infer(Batch.of(rows))[0], other.infer(Batch.of(rows))[0]):
            raise AssertionError("log q(y|x) differs after a round trip of state_dict()")

    @clause("create tensors with device=x.device, and keep fixed ones with self.register_buffer(name, tensor)")
    def test_devices(self) -> None:
        """Inference works on CUDA, if there is such a device."""
        if not torch.cuda.is_available():
            raise unittest.SkipTest("there is no CUDA device")
        model, rows = self.placed()
        log_q_NK, _ = model.to("cuda").infer(Batch.of(RowTensors(rows.x_ND.to("cuda"))))
        if log_q_NK.device.type != "cuda":
            raise AssertionError("log q(y|x) for rows on CUDA is on another device")

    @clause("write the methods with torch's functions, without side effects")
    def test_compile(self) -> None:
        """torch.compile gives the same inference; its backend needs no compiler."""
        model, rows = self.placed()
        expected = model.infer(Batch.of(rows))[0]
        torch.compiler.reset()
        compiled = torch.compile(lambda x_ND: model.infer(Batch(x_ND))[0], backend="aot_eager")
        assert_close("log q(y|x) of the compiled model and of the model itself", compiled(rows.x_ND), expected)
