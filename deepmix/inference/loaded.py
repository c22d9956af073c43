"""A loaded run: its model, its heads, and the preparation of new rows like the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse

from deepmix import runs
from deepmix.contracts import ClusteringHead, FileRows, Model
from deepmix.data import (
    LabelColumn,
    Preparation,
    Rows,
    RowSet,
    Split,
    TableSchema,
    as_table,
    encode_table,
    frame_to_array,
    has_column_names,
    rows_of_cells,
)
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.experiment import (
    RowLayout,
    array_layout,
    assemble,
    config_of,
    declare_installed,
    format_of,
    make_head,
    read_format,
    read_parts,
    table_layout,
)
from deepmix.inference.imputation import Imputation, impute_frame
from deepmix.inference.new_rows import prepare_array
from deepmix.inference.own_data import read_own_data
from deepmix.inference.sampling import MAX_TRIALS, MIN_DRAW, TableSampler, component_counts
from deepmix.maths import Array, Inference
from deepmix.metrics import outlier_scores
from deepmix.models import ClusterLatents, generate_means
from deepmix.training import ALONE, Ranks, choose_device, evaluate_rows, infer_rows

NO_CLUSTER = -1
"""The cluster of a row that fits none."""


def open_run(path: Path | str, device: str = "auto") -> LoadedRun:
    """Return the finished run in a folder.

    Raises:
        UsageError: there is no run, or it is not finished.
        DeepmixError: a file is damaged, or a plugin that the run needs is missing.

    """
    path = Path(path)
    if (path / runs.SUMMARY).is_file() and not (path / runs.CONFIG).is_file():
        seeds = sorted(entry.name for entry in path.glob("seed-*"))
        if (path / runs.CONSENSUS_FOLDER / runs.CONSENSUS).is_file():
            seeds.append(f"{runs.CONSENSUS_FOLDER} (for `deepmix predict` only)")
        raise UsageError(
            f"'{path}' holds the runs of several seeds; choose a folder in it: {', '.join(seeds) or 'none'}"
        )
    if (path / runs.CONSENSUS).is_file():
        raise UsageError(
            f"'{path}' holds the consensus of several seeds, which has clusters but no model; `deepmix predict` takes "
            f"it, other commands take one of the runs, such as '{path.resolve().parent / 'seed-0'}'"
        )
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
        declare_installed()
        self.record, self.parts = read_parts(store)
        self.config = config_of(self.record.requested)
        self.device = choose_device(device)
        weights, model_header = store.read_weights(runs.ModelHeader)
        tensors, header = store.read_weights(runs.InferenceHeader)
        self.n_components, self.n_features = model_header.n_components, header.n_features
        self.likelihood, self.image_shape = header.likelihood, header.image_shape
        self.n_flags, self.n_conditions = header.n_flags, header.n_conditions
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
            spread = self.preparation.spread
            if spread is not None and spread.shape not in ((), (header.n_features,)):
                raise ValueError(f"{header.n_features} columns and spreads of shape {spread.shape}")
            self.weight_K: Array = arrays["weights"]
            self.bounds: Array | None = arrays.get("bounds")
            self.conditions: Array | None = arrays.get("conditions")
            self.latents = ClusterLatents.from_arrays(arrays)
            self.model: Model = assemble(self.parts, self._layout(header), self.n_components, self.config.seed)
            self.model.load_state_dict(weights)
            self.heads = {name: self._restored(name, arrays) for name in header.heads}
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise DeepmixError(
                f"the files of '{store.path}' do not fit together ({error}); train again with {option('overwrite')}"
            ) from error
        self.model.to(self.device).eval()

    @property
    def schema(self) -> TableSchema | None:
        """What each column of the training table is; None where the run was trained on an array."""
        return self.record.data.schema

    @property
    def n_columns(self) -> int:
        """Number of columns of new rows without labels: all columns of an array or of a table."""
        if self.schema is None:
            return self.n_features
        return sum(column.kind != "label" for column in self.schema.columns)

    def _layout(self, header: runs.InferenceHeader) -> RowLayout:
        if self.schema is None:
            return array_layout(header.n_features, header.likelihood, header.image_shape)
        return table_layout(header.n_features, self.schema, header.n_flags, header.n_conditions)

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
        """Return the columns of assignments.csv: row, split, each head's clusters, probability, outlier, ...

        Their rows are in the data's order, however the file is sorted.

        Raises:
            DeepmixError: the file is damaged, or does not list every row once.

        """
        return runs.read_assignments(self.store, self.record)

    def training_data(self, dataset: str | None = None, data_dir: str | None = None) -> Split:
        """Read again and prepare the data that the run was trained on.

        Args:
            dataset: where they are now; None: where they were.
            data_dir: where the folder of prepared data sets is now; None: where it was.

        Raises:
            UsageError: the data are gone or have changed.

        """
        return read_own_data(
            self.config, self.parts, self.record.data, self.store.path, dataset=dataset, data_dir=data_dir
        )

    def read_format(self, path: Path, label_column: str | None) -> FileRows:
        """Return the rows of a file that a plugin reads, with the options of the training file if its format is that.

        Raises:
            UsageError: there is no such file, or the plugin refuses it.
            DeepmixError: the file is damaged, or the plugin breaks its contract.

        """
        is_own = self.parts.plugins.get("format") == format_of(path.name)
        return read_format(path, self.parts.options["format"] if is_own else None, label_column)

    def prepare(self, x: Any, columns: Sequence[str] | None = None, first_row: int = 0) -> Any:
        """Return raw rows as the model takes them.

        Args:
            x: rows of an array, (N, D), or (N, ...) which is flattened, NumPy or SciPy sparse, of any real type; of a
                run on a table, a pandas DataFrame.
            columns: the names of an array's columns, if they have any; matched by name if the training rows had names
                too.
            first_row: number of x's first row in the whole data, from 0, for messages.

        Returns:
            (N, D) float32, dense or CSR; of a run on a table, a `RowSet`.

        Raises:
            UsageError: columns do not fit, or a value can't be used; the message names it.

        """
        if self.schema is None:
            if hasattr(x, "iloc"):
                (x, _), columns = frame_to_array(x, LabelColumn(None, self.n_features), "the table", first_row)
            return prepare_array(self.preparation, self.n_features, self.likelihood, x, columns, first_row)
        return self.encode(x if hasattr(x, "iloc") else self.as_frame(x, columns), first_row)[0]

    def as_frame(self, x: Any, columns: Sequence[str] | None) -> Any:
        """Return an array's rows as a table; without names they are all its columns in order, or its modelled ones.

        Raises:
            UsageError: the array has another number of columns.

        """
        import pandas as pd

        assert self.schema is not None
        x = as_table(x)
        names = [column.name for column in self.schema.modelled]
        if columns is not None:
            names = list(columns)
        elif x.shape[1] == self.n_columns:
            names = [column.name for column in self.schema.columns if column.kind != "label"]
        if x.shape[1] != len(names):
            raise UsageError(
                f"the rows have {x.shape[1]} column(s) and the run was trained on {len(names)}; give it a table with "
                "the same columns (a DataFrame or file)"
            )
        return pd.DataFrame(x.toarray() if sparse.issparse(x) else x, columns=names)

    def encode(self, frame: Any, first_row: int = 0) -> tuple[RowSet, tuple[str, ...]]:
        """Return a table's rows as the model takes them, and what the user should know about them, in words.

        Args:
            frame: the rows.
            first_row: number of the frame's first row in the whole table, from 0, for messages.

        Raises:
            UsageError: the rows are not a table, or columns do not fit; the message names them.

        """
        assert self.schema is not None
        if not hasattr(frame, "iloc"):
            raise UsageError(
                "the run was trained on a table; give it a table with the same columns (a DataFrame or file)"
            )
        return encode_table(self.schema, self._with_names(frame), first_row=first_row)

    def _with_names(self, frame: Any) -> Any:
        """Return a table with the run's names of columns, in order, if it comes from a file without a header.

        Raises:
            UsageError: it has another number of columns.

        """
        assert self.schema is not None
        columns = self.schema.columns
        if has_column_names(frame) or any(column.name in frame for column in columns):
            return frame
        if frame.shape[1] != len(columns):
            columns = self.schema.modelled
        if frame.shape[1] != len(columns):
            raise UsageError(
                f"the rows have no names, {frame.shape[1]} column(s), and the run was trained on {len(columns)}; "
                "give them the header of the training table"
            )
        return frame.set_axis([column.name for column in columns], axis=1)

    def rows(self, prepared: Any) -> Rows:
        """Return prepared rows as batches on the model's device."""
        return Rows(prepared, np.arange(prepared.shape[0]), self.device)

    def infer(
        self, prepared: Any, first_row: int = 0, *, flag_strange: bool = False, ranks: Ranks = ALONE
    ) -> Inference:
        """Return log q(y|x), the MAP latents and the bounds of prepared rows; `first_row` is as for `prepare`.

        All `ranks` have the same rows and share them, and the first one gets the result. With `flag_strange`, rows for
        which the model has no finite answer get a bound of minus infinity.

        Raises:
            UsageError: the model has no finite answer for a row, and `flag_strange` is false.

        """
        if prepared.shape[0] == 0:
            return Inference(
                np.zeros((0, self.model.n_components), np.float32),
                np.zeros((0, self.model.latent_dim), np.float32),
                bound_N=np.zeros(0, np.float32),
            )
        precision = self.parts.options["training"].precision
        inference = infer_rows(self.model, self.rows(prepared), precision, ranks=ranks)
        assert inference.bound_N is not None
        without = np.isneginf(inference.bound_N)
        if without.any() and not flag_strange and ranks.is_first:
            raise UsageError(
                f"row {first_row + int(np.argmax(without)) + 1} is so far from the training rows that the model's "
                "numbers overflow; check its values, or leave it out"
            )
        return inference

    def outlier_scores(self, inference: Inference) -> Array | None:
        """Return the fraction of the training rows that the model finds more probable than each row, (N,) in 0..1.

        None if the run comes from a version that did not store the training rows' bounds.
        """
        if self.bounds is None or inference.bound_N is None:
            return None
        return outlier_scores(inference.bound_N, self.bounds)

    def _sampler(self, latents: ClusterLatents | None) -> TableSampler:
        assert self.schema is not None
        conditions = None if self.conditions is None else torch.from_numpy(self.conditions).to(self.device)
        return TableSampler(self.model, latents, self.schema, conditions)

    def evaluate(self, prepared: Any, ranks: Ranks = ALONE) -> tuple[Inference, dict[str, float]]:
        """Return the inference, and the mean ELBO and its parts in nats per row.

        The `ranks` share the rows; the first one gets the inference on all of them.
        """
        return evaluate_rows(
            self.model, self.rows(prepared), self.parts.options["training"].precision, self.config.seed, ranks
        )

    def sample(
        self,
        n_rows: int,
        component: int | None = None,
        *,
        seed: int = 0,
        minimum_posterior: float = 0.0,
        means: bool = False,
        from_prior: bool = False,
    ) -> Any:
        """Generate rows in the units of the data, at z drawn from the latents of each component's training rows.

        Rows of arrays are the means of p(x|z); rows of tables are drawn from it, unless `means` is true.

        Args:
            n_rows: number of rows.
            component: the component that generates them; None draws components by their fraction of the training rows.
            seed: seed that makes the result reproducible.
            minimum_posterior: rows for which the component's q(y|x) is smaller are drawn again; VaDE shows samples of
                at least 0.999.
            means: whether a table's rows are the means, and the most probable levels, of p(x|z).
            from_prior: whether z is drawn from p(z|y), as it is for models and runs without such latents.

        Returns:
            (n_rows, D) float32, sorted by component; of a run on a table, a DataFrame of its modelled columns.

        Raises:
            UsageError: there is no such component, or it rarely generates rows with that posterior.

        """
        if not 0.0 <= minimum_posterior < 1.0:
            raise UsageError(f"the minimum posterior must be at least 0 and below 1, got {minimum_posterior}")
        counts_K = component_counts(n_rows, component, self.weight_K, seed)
        generator = torch.Generator(self.device).manual_seed(seed)
        samples = []
        for k in np.flatnonzero(counts_K).tolist():
            x, largest = self.draw(counts_K[k], k, generator, minimum_posterior, means=means, from_prior=from_prior)
            if len(x) < counts_K[k]:
                raise UsageError(
                    f"component {k} gave {len(x)} of {counts_K[k]} rows with q(y|x) of at least {minimum_posterior:g} "
                    f"in {MAX_TRIALS} trials, the largest {largest:.4g}; ask for a smaller minimum"
                )
            samples.append(x)
        if self.schema is not None:
            return self.schema.frame(np.concatenate(samples))
        return self.preparation.undo(np.concatenate(samples)).astype(np.float32)

    def impute(self, frame: Any, *, interval: float | None = None, seed: int = 0, ranks: Ranks = ALONE) -> Imputation:
        """Fill the missing cells of a table's rows.

        Args:
            frame: the rows, with the columns that the run was trained on.
            interval: probability that an interval holds a number, in (0, 1); None: no intervals.
            seed: seed that makes the result reproducible.
            ranks: the processes that share the incomplete rows; all have the same frame, and get the same result.

        Raises:
            UsageError: the run was trained on an array, or columns do not fit.

        """
        if self.schema is None:
            raise UsageError("the run was trained on an array without missing values; train on a table to impute")
        if interval is not None and not 0.0 < interval < 1.0:
            raise UsageError(f"{option('interval')} must be between 0 and 1, got {interval}")
        rows, notes = self.encode(frame)
        filled = impute_frame(
            self.model, self.schema, frame, rows, interval=interval, seed=seed, device=self.device, ranks=ranks
        )
        return replace(filled, notes=notes)

    def draw(
        self,
        n_rows: int,
        component: int,
        generator: torch.Generator,
        minimum_posterior: float = 0.0,
        *,
        means: bool = False,
        from_prior: bool = False,
    ) -> tuple[Array, float]:
        """Generate rows of one component until there are enough, in at most a hundred trials.

        Args:
            n_rows: number of rows.
            component: the component that generates them.
            generator: random generator that z is drawn with.
            minimum_posterior: rows for which the component's q(y|x) is smaller are left out.
            means: as for `sample`.
            from_prior: as for `sample`.

        Returns:
            At most (n_rows, D) prepared rows, or a table's cells; and the largest q(y|x) among all trials, 0 without a
            minimum.

        """
        latents = None if from_prior else self.latents
        samples: list[Array] = []
        missing, largest = n_rows, 0.0
        for _ in range(MAX_TRIALS):
            number = max(missing, MIN_DRAW)
            prepared: Any
            if self.schema is None:
                x = prepared = generate_means(self.model, latents, number, component, generator).cpu().numpy()
            else:
                x = self._sampler(latents).cells(number, component, generator, means=means)
                prepared = rows_of_cells(self.schema, x, self.n_flags, self.n_conditions)
            if minimum_posterior > 0.0:
                q_N = np.exp(self.infer(prepared).log_q_NK[:, component])
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

    def clusters(self, inference: Inference, head: str | None = None, outliers: float | None = None) -> Array:
        """Return a head's clusters, (N,) int64.

        Args:
            inference: the model's inference on the rows.
            head: name of the head; None: the run's first.
            outliers: the fraction of the training rows below whose bounds a row fits no cluster and gets -1; None: only
                rows for which the model has no finite answer do.

        Raises:
            UsageError: the run has no such head, or did not store its training rows' bounds.

        """
        if outliers is not None and not 0.0 <= outliers < 1.0:
            raise UsageError(f"{option('outliers')} must be at least 0 and below 1, got {outliers}")
        clusters = np.array(self.head(head).predict(inference))
        if inference.bound_N is not None:
            clusters[np.isneginf(inference.bound_N)] = NO_CLUSTER
        if outliers is not None:
            scores = self.outlier_scores(inference)
            if scores is None:
                raise UsageError(
                    "the run comes from a version of deepmix that did not store what outlier scores need; "
                    f"leave out {option('outliers')}, or train again"
                )
            clusters[scores > 1.0 - outliers] = NO_CLUSTER
        return clusters
