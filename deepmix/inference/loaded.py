"""A loaded run: its model, its heads, and the preparation of new rows like the training rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepmix import runs
from deepmix.contracts import Batch, ClusteringHead, Model
from deepmix.data import Preparation, Rows, Split, as_table, column_namer, value_range
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.experiment import assemble, config_of, load_data, make_head, read_parts
from deepmix.maths import Array, Inference
from deepmix.training import EVALUATION_ROWS, autocast, choose_device, evaluate_rows

BERNOULLI_SLACK = 1.0
"""How far outside 0..1 new rows may lie under a Bernoulli likelihood: enough for rows scaled by a scaler that was
fitted to other rows, too little for rows that were not scaled at all."""


MAX_TRIALS, MIN_DRAW = 100, 64
"""Number of batches, and least rows of each, that are drawn before giving up on a minimum posterior."""


def open_run(path: Path | str, device: str = "auto") -> LoadedRun:
    """Return the finished run in a folder.

    Raises:
        UsageError: there is no run, or it is not finished.
        DeepmixError: a file is damaged, or a plugin that the run needs is missing.

    """
    path = Path(path)
    if (path / runs.SUMMARY).is_file() and not (path / runs.CONFIG).is_file():
        seeds = sorted(entry.name for entry in path.glob("seed-*"))
        raise UsageError(f"'{path}' holds the runs of several seeds; choose one of: {', '.join(seeds) or 'none'}")
    return LoadedRun(runs.RunFolder.open(path), device)


class LoadedRun:
    """A trained model with its heads and data preparation.

    Rows are 'raw' as the user has them, and 'prepared' as the model takes them.
    """

    def __init__(self, store: runs.RunStore, device: str = "auto") -> None:
        """Read a finished run.

        Raises:
            UsageError: the run is not finished.
            DeepmixError: a file is damaged, or a plugin that the run needs is missing.

        """
        self.store = store
        if not store.has(runs.METRICS):
            raise UsageError(
                f"the run in '{store.path}' is not finished; finish it with: deepmix train --resume --out {store.path}"
            )
        self.record, self.parts = read_parts(store)
        self.config = config_of(self.record.requested)
        self.device = choose_device(device)
        weights, model_header = store.read_weights(runs.ModelHeader)
        tensors, header = store.read_weights(runs.InferenceHeader)
        self.n_components, self.n_features = model_header.n_components, header.n_features
        self.likelihood, self.image_shape = header.likelihood, header.image_shape
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        try:
            self.preparation = Preparation(
                columns=header.columns,
                row_shape=header.row_shape,
                divisor=header.divisor,
                scale=header.scale,
                mean=arrays.get("preparation.mean"),
                spread=arrays.get("preparation.spread"),
            )
            self.weight_K: Array = arrays["weights"]
            self.model: Model = assemble(
                self.parts,
                self.n_features,
                self.image_shape,
                self.likelihood,
                self.n_components,
                self.config.seed,
            )
            self.model.load_state_dict(weights)
            self.heads = {name: self._restored(name, arrays) for name in header.heads}
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise DeepmixError(
                f"the files of '{store.path}' do not fit together ({error}); train again with {option('overwrite')}"
            ) from error
        self.model.to(self.device).eval()

    def _restored(self, name: str, arrays: Mapping[str, Array]) -> ClusteringHead:
        head = make_head(name, self.parts)
        prefix = f"head.{name}/"
        head.restore({key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)})
        return head

    def save(self, folder: runs.RunStore) -> None:
        """Write the run to another folder, without its checkpoint."""
        runs.copy_run(self.store, folder)

    @property
    def metrics(self) -> runs.Metrics:
        """The contents of metrics.json."""
        return self.store.read(runs.Metrics)

    def assignments(self) -> dict[str, Array]:
        """Return the columns of assignments.csv: row, split, each head's clusters, probability, and label if any."""
        kinds: dict[str, Any] = {"row": np.int64, "probability": np.float64, "split": np.str_, "label": np.str_}
        table = self.store.read_table(runs.ASSIGNMENTS)
        try:
            return {name: np.array(cells).astype(kinds.get(name, np.int64)) for name, cells in table.items()}
        except ValueError as error:
            raise DeepmixError(f"'{self.store.path / runs.ASSIGNMENTS}' is damaged ({error})") from error

    def training_data(self) -> Split:
        """Read again and prepare the data set that the run was trained on.

        Raises:
            UsageError: the data set is no longer there.

        """
        return load_data(self.config, self.parts)

    def prepare(self, x: Any, columns: Sequence[str] | None = None, first_row: int = 0) -> Any:
        """Return raw rows as the model takes them.

        Args:
            x: (N, D), or (N, ...) which is flattened; NumPy or SciPy sparse, any real type.
            columns: the columns' names, if they have any; matched by name if the training rows had names too.
            first_row: number of x's first row in the whole data, from 0, for messages.

        Returns:
            (N, D) float32, dense or CSR.

        Raises:
            UsageError: there are too few or too many columns, or a value can't be used; the message names it.

        """
        x = as_table(x)
        known = self.preparation.columns
        if columns is not None and known is not None:
            if sorted(columns) != sorted(known):
                raise _column_error(columns, known)
            if tuple(columns) != known:
                x = x[:, [list(columns).index(name) for name in known]]
        elif x.shape[1] != self.n_features:
            raise UsageError(
                f"the rows have {x.shape[1]} column(s) and the run was trained on {self.n_features}; give it the same "
                "columns, without labels"
            )
        name = column_namer(known)
        low, high = value_range(x, name, first_row)
        prepared = self.preparation.apply(x)
        if self.likelihood == "bernoulli" and x.shape[0]:
            least, greatest = self.preparation.apply(np.stack([low, high]))
            beyond = np.flatnonzero((least < -BERNOULLI_SLACK) | (greatest > 1.0 + BERNOULLI_SLACK))
            if len(beyond):
                column = int(beyond[0])
                raise UsageError(
                    f"column {name(column)} reaches from {low[column]:g} to {high[column]:g} and the run was trained "
                    f"on values in 0..{float(self.preparation.undo(np.ones(1))[0]):g}; scale the rows in the same way"
                )
        return prepared

    def rows(self, prepared: Any) -> Rows:
        """Return prepared rows as batches on the model's device."""
        return Rows(prepared, np.arange(prepared.shape[0]), self.device)

    def batches(self, prepared: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield log q(y|x), (n, K), and the MAP component's latents, (n, M), of one batch after another."""
        for x_ND in self.rows(prepared).in_order(EVALUATION_ROWS):
            with torch.no_grad(), autocast(self.device, self.parts.options["training"].precision):
                log_q_NK, latent_NM = self.model.infer(Batch(x_ND))
            yield log_q_NK.float().cpu(), latent_NM.float().cpu()

    def infer(self, prepared: Any, first_row: int = 0) -> Inference:
        """Return log q(y|x) and the MAP latents of prepared rows; `first_row` is as for `prepare`.

        Raises:
            UsageError: the model has no finite answer for a row.

        """
        if prepared.shape[0] == 0:
            return Inference(
                np.zeros((0, self.model.n_components), np.float32), np.zeros((0, self.model.latent_dim), np.float32)
            )
        log_q, latents = zip(*self.batches(prepared), strict=True)
        inference = Inference(torch.cat(log_q).numpy(), torch.cat(latents).numpy())
        without = np.isnan(inference.log_q_NK).any(axis=1) | ~np.isfinite(inference.latent_NM).all(axis=1)
        if without.any():
            raise UsageError(
                f"row {first_row + int(np.argmax(without)) + 1} is so far from the training rows that the model's "
                "numbers overflow; check its values, or leave it out"
            )
        return inference

    def evaluate(self, prepared: Any) -> tuple[Inference, dict[str, float]]:
        """Return the inference, and the mean ELBO and its parts in nats per row."""
        return evaluate_rows(
            self.model, self.rows(prepared), self.parts.options["training"].precision, self.config.seed
        )

    def sample(
        self, n_rows: int, component: int | None = None, *, seed: int = 0, minimum_posterior: float = 0.0
    ) -> Array:
        """Generate rows, the means of p(x|z) at z drawn from p(z|y), in the units of the data.

        Args:
            n_rows: number of rows.
            component: the component that generates them; None draws components by their fraction of the training rows.
            seed: seed that makes the result reproducible.
            minimum_posterior: rows for which the component's q(y|x) is smaller are drawn again; VaDE shows samples of
                at least 0.999.

        Returns:
            (n_rows, D) float32, sorted by component.

        Raises:
            UsageError: there is no such component, or it rarely generates rows with that posterior.

        """
        if component is not None and not 0 <= component < self.model.n_components:
            raise UsageError(
                f"there is no component {component}; the model has components 0 to {self.model.n_components - 1}"
            )
        if n_rows < 1:
            raise UsageError(f"the number of rows to sample must be at least 1, got {n_rows}")
        if not 0.0 <= minimum_posterior < 1.0:
            raise UsageError(f"the minimum posterior must be at least 0 and below 1, got {minimum_posterior}")
        if component is None:
            weight_K = self.weight_K.astype(np.float64)
            counts_K = np.random.default_rng(seed).multinomial(n_rows, weight_K / weight_K.sum())
        else:
            counts_K = np.where(np.arange(self.model.n_components) == component, n_rows, 0)
        generator = torch.Generator(self.device).manual_seed(seed)
        samples = []
        for k in np.flatnonzero(counts_K).tolist():
            x, largest = self.draw(counts_K[k], k, generator, minimum_posterior)
            if len(x) < counts_K[k]:
                raise UsageError(
                    f"component {k} gave {len(x)} of {counts_K[k]} rows with q(y|x) of at least {minimum_posterior:g} "
                    f"in {MAX_TRIALS} trials, the largest {largest:.4g}; ask for a smaller minimum"
                )
            samples.append(x)
        return self.preparation.undo(np.concatenate(samples)).astype(np.float32)

    def draw(
        self, n_rows: int, component: int, generator: torch.Generator, minimum_posterior: float = 0.0
    ) -> tuple[Array, float]:
        """Generate rows of one component until there are enough, in at most a hundred trials.

        Args:
            n_rows: number of rows.
            component: the component that generates them.
            generator: random generator that z is drawn with.
            minimum_posterior: rows for which the component's q(y|x) is smaller are left out.

        Returns:
            At most (n_rows, D) prepared rows, and the largest q(y|x) among all trials (0 without a minimum).

        """
        samples: list[Array] = []
        missing, largest = n_rows, 0.0
        for _ in range(MAX_TRIALS):
            x = self.model.sample(max(missing, MIN_DRAW), component, generator).cpu().numpy()
            if minimum_posterior > 0.0:
                q_N = np.exp(self.infer(x).log_q_NK[:, component])
                x, largest = x[q_N >= minimum_posterior], max(largest, float(q_N.max()))
            samples.append(x[:missing])
            missing -= len(samples[-1])
            if not missing:
                break
        return np.concatenate(samples), largest

    def head(self, name: str | None = None) -> ClusteringHead:
        """Return a fitted head; the run's first if none is named.

        Raises:
            UsageError: the run has no such head, or could not store it.

        """
        name = self.config.heads[0] if name is None else name
        if name in self.heads:
            return self.heads[name]
        if name in self.config.heads:
            others = ", ".join(self.heads) or f"none; train with another {option('head')}"
            raise UsageError(
                f"head '{name}' is a clusterer whose state can't be stored as numbers; use another head of the run: "
                f"{others}"
            )
        raise UsageError(f"the run has no head '{name}'; choose one of: {', '.join(self.heads)}")

    def clusters(self, inference: Inference, head: str | None = None) -> Array:
        """Return a head's clusters, (N,) int64."""
        return self.head(head).predict(inference)


def _column_error(columns: Sequence[str], known: Sequence[str]) -> UsageError:
    missing = [name for name in known if name not in columns]
    extra = [name for name in columns if name not in known]
    repeated = sorted({name for name in columns if list(columns).count(name) > 1})
    problems = [
        f"{verb} {', '.join(repr(name) for name in names[:5])}{', ...' if len(names) > 5 else ''}"
        for verb, names in (("lack", missing), ("have the unknown", extra), ("repeat", repeated))
        if names
    ]
    return UsageError(f"the data {' and '.join(problems)}; give them the columns the run was trained on")
