"""The scikit-learn estimator: it does what `deepmix train` does, on rows in memory."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from deepmix import runs
from deepmix.data import (
    ColumnOptions,
    TableOptions,
    as_pandas,
    check_sparse,
    has_gaps,
    is_frame,
    numbered_frame,
    refuse_infinite,
)
from deepmix.errors import DeepmixError, UsageError, option, spell_stored
from deepmix.experiment import MAX_SEED, ExperimentConfig, Parts, prepare_experiment, run_experiment
from deepmix.inference import LoadedRun, open_run
from deepmix.maths import Array, Inference
from deepmix.training import freed_memory_kept

OPTION_OWNERS = {
    "latent_dim": "size",
    "assignment": "model",
    "beta": "objective",
    "epochs": "training",
    "pretrain_epochs": "training",
    "batch_size": "training",
    "lr": "training",
    "scale": "data",
    "test_fraction": "data",
}
"""Parameters that are options of a part, with the part's name; `n_components` is the option `components`."""


SPELLINGS = {
    "components": "n_components",
    "seed": "random_state",
    "label_column": "y",
    "dataset": "X",
    "out": "folder",
    "overwrite": "overwrite",
}
"""Options that the estimator's parameters, or arguments of its methods, stand for under another name."""


log = logging.getLogger("deepmix")
"""The log of each stage and epoch of a fit, at level INFO."""


class LogReporter:
    """A reporter that writes to the log."""

    def start(self, stage: str, n_epochs: int) -> None:
        """Log that a stage begins."""
        log.info("%s%s", stage, f", {n_epochs} epochs" if n_epochs else "")

    def step(self, name: str, fraction: float) -> None:
        """Log that a step of a stage begins."""
        log.info("  %s, %.0f %% of the stage done", name, 100.0 * fraction)

    def epoch(self, stage: str, row: runs.EpochRecord) -> None:
        """Log an epoch's ELBO."""
        log.info("%s, epoch %d: ELBO %.3f", stage, row.epoch, row.elbo)

    def note(self, text: str) -> None:
        """Log a note."""
        log.info("%s", text)


class DeepMixture(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Deep clustering with a mixture of variational autoencoders.

    It does what `deepmix train` does, by the same code: with the same rows, options and seed it gives the same
    clusters. A parameter that is None takes the model's own choice.

    Args:
        n_components: K, the number of clusters; 'auto', or a range such as (2, 20), chooses it from the rows.
        model: a model's name; `deepmix plugins` lists them.
        prior: p(z|y), 'mixture' or 'standard'; None takes the model's own (mixture for mvae-emv2).
        head: what turns latents and q(y|x) into clusters: 'posterior', 'gmm', 'kmeans', ...; with several, `labels_`
            and `predict` use the first.
        posterior: estimator of q(y|x).
        encoder: the encoder's name.
        decoder: the decoder's name.
        init: the initial clustering: 'auto', 'graph', 'gmm', 'kmeans', ...
        latent_dim: M, the number of latent dimensions; None takes 10, or the number of columns if that is smaller.
        assignment: 'soft' or 'hard'.
        beta: weight of the KL terms.
        epochs: epochs of training; None chooses them by the size of the data.
        pretrain_epochs: epochs of autoencoder pretraining; None chooses them by the size of the data.
        batch_size: rows per update; None chooses them by the size of the data.
        lr: learning rate.
        columns: what the columns of a data frame are: a mapping from names to kinds ('continuous', 'categorical', ...)
            or to `deepmix.data.ColumnOptions`, or a `deepmix.data.TableOptions`; None leaves all to the rules.
        scale: 'auto', 'none', 'standard' or 'bytes'; see `deepmix.data.SplitOptions`.
        test_fraction: fraction of the rows held out of training; these rows still get clusters.
        settings: any other option by `key` or `part.key`, as `--set` takes it.
        baselines: whether `fit` also runs k-means and other plain methods, for comparison; see `metrics_`.
        device: 'cpu', 'cuda' or 'auto'.
        random_state: an int, a RandomState or None.

    Attributes:
        n_components_: K, as requested or chosen.
        labels_: (N,) cluster of each row, including those held out of training.
        cluster_sizes_: (n_components,) number of rows in each cluster.
        metrics_: the contents of a run's metrics.json.
        run_: the run itself, a `deepmix.inference.LoadedRun`.
        n_features_in_: D, the number of columns.
        feature_names_in_: (D,) the columns' names, if they have any.

    """

    def __init__(
        self,
        n_components: int | str | tuple[int, int] = 10,
        *,
        model: str = "mvae-emv2",
        prior: str | None = None,
        head: str | Sequence[str] = "posterior",
        posterior: str | None = None,
        encoder: str | None = None,
        decoder: str | None = None,
        init: str | None = None,
        latent_dim: int | None = None,
        assignment: str | None = None,
        beta: float | None = None,
        epochs: int | None = None,
        pretrain_epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        columns: Mapping[str, Any] | TableOptions | None = None,
        scale: str | None = None,
        test_fraction: float | None = None,
        settings: Mapping[str, Any] | None = None,
        baselines: bool = False,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_components, self.model, self.prior, self.head = n_components, model, prior, head
        self.posterior, self.encoder, self.decoder, self.init = posterior, encoder, decoder, init
        self.latent_dim, self.assignment, self.beta = latent_dim, assignment, beta
        self.epochs, self.pretrain_epochs, self.batch_size, self.lr = epochs, pretrain_epochs, batch_size, lr
        self.columns, self.scale, self.test_fraction = columns, scale, test_fraction
        self.settings, self.baselines, self.device, self.random_state = settings, baselines, device, random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train on rows and cluster them.

        Args:
            X: (N, D) real numbers, dense or sparse; or a pandas or polars data frame with columns of any kind, whose
                values may be missing, or an array with NaN, which is treated as one; at least 2 rows.
            y: (N,) labels, -1 where unknown, for a model that learns from labels (`m2` with the setting
                'labelled'); other models ignore it.
            sample_weight: (N,) positive weights; a row of weight 2 counts as two rows.

        Raises:
            ValueError: a parameter or the rows can't be used; the message says why and what to do.

        """
        X = self._validated(X, fitting=True)
        labels = None if y is None else np.asarray(y)
        check_consistent_length(X, labels)
        names = None if is_frame(X) else getattr(self, "feature_names_in_", None)
        store = runs.MemoryRun()
        with _usage_errors_as_value_errors():
            prepared = prepare_experiment(
                self._config(), X, None if names is None else list(names), labels, weights=sample_weight
            )
            with freed_memory_kept():
                results = run_experiment(prepared, store, LogReporter(), report=False).metrics
            self._take(LoadedRun(store, self.device))
        for text in prepared.split.warnings:
            warnings.warn(text, UserWarning, stacklevel=2)
        for text in results.warnings[len(prepared.split.warnings) :]:
            warnings.warn(spell_stored(text, parameter), ConvergenceWarning, stacklevel=2)
        return self

    def predict(self, X: Any) -> Array:
        """Return the cluster of each row, (N,) int64."""
        inference = self._infer(X)
        with _usage_errors_as_value_errors():
            return self.run_.clusters(inference)

    def predict_proba(self, X: Any) -> Array:
        """Return q(y|x), (N, K); each row sums to 1."""
        q_NK = np.exp(self._infer(X).log_q_NK)
        return q_NK / q_NK.sum(axis=1, keepdims=True)

    def transform(self, X: Any) -> Array:
        """Return the latent of each row's most probable component, (N, M) float32."""
        return self._infer(X).latent_NM

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean evidence lower bound in nats per row; larger is better."""
        prepared = self._prepared(X)
        return self.run_.evaluate(prepared)[1]["elbo"]

    def score_samples(self, X: Any) -> Array:
        """Return each row's evidence lower bound in nats, (N,), at the mean of q(z|y,x); low values are outliers."""
        bound_N = self._infer(X, flag_strange=True).bound_N
        assert bound_N is not None
        return bound_N

    def outlier_scores(self, X: Any) -> Array:
        """Return the fraction of the training rows that the model finds more probable than each row, (N,) in 0..1."""
        scores = self.run_.outlier_scores(self._infer(X, flag_strange=True))
        if scores is None:
            raise UsageError(
                "the run comes from a version of deepmix that did not store what outlier scores need; train again"
            )
        return scores

    def impute(self, X: Any, interval: float | None = None) -> Any:
        """Fill the missing cells of a table.

        Args:
            X: the rows, a data frame with the training columns.
            interval: probability that an interval holds the value of a number, in (0, 1); None: no intervals.

        Returns:
            The filled DataFrame; with `interval`, a `deepmix.inference.Imputation` with the frames `frame`, `low` and
            `high`.

        """
        check_is_fitted(self)
        with _usage_errors_as_value_errors():
            imputation = self.run_.impute(as_pandas(X), interval=interval, seed=self.run_.config.seed)
        return imputation.frame if interval is None else imputation

    def sample(self, n_samples: int = 1, component: int | None = None, minimum_posterior: float = 0.0) -> Any:
        """Generate rows in the units of the training rows; rows of a table are drawn, others are means of p(x|z).

        z is drawn from the latents of each component's training rows; `run_.sample` can draw it from p(z|y).

        Args:
            n_samples: number of rows.
            component: the component that generates them; None draws components by their fraction of the training rows.
            minimum_posterior: rows whose q(component|x) is smaller are drawn again.

        Returns:
            (n_samples, D) float32, sorted by component; a DataFrame where the estimator was fitted to one.

        """
        check_is_fitted(self)
        seed = self.run_.config.seed
        with _usage_errors_as_value_errors():
            return self.run_.sample(n_samples, component, seed=seed, minimum_posterior=minimum_posterior)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a run folder, as `deepmix train` does, that every command and `deepmix.load` accept.

        Raises:
            UsageError: the folder exists, and `overwrite` is false or the folder is not deepmix's.

        """
        check_is_fitted(self)
        if Path(folder).exists() and not overwrite:
            raise UsageError(f"'{folder}' exists; choose another folder, or add overwrite=True")
        try:
            self.run_.save(runs.RunFolder.create(Path(folder), overwrite=overwrite))
        except UsageError as error:
            raise UsageError(error.spelled(parameter)) from error

    @property
    def _n_features_out(self) -> int:
        return self.run_.model.latent_dim

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]  # latents are float32 whatever comes in
        return tags

    def _config(self) -> ExperimentConfig:
        """Return the configuration that the parameters stand for, as `deepmix train` makes it from its options."""
        heads = (self.head,) if isinstance(self.head, str) else self.head
        if not (isinstance(heads, Sequence) and all(isinstance(name, str) for name in heads)):
            raise UsageError(f"head must be a name or a list of names, got {self.head!r}")
        for name in ("model", "prior", "posterior", "encoder", "decoder", "init", "device"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name in ("model", "device")):
                raise UsageError(f"{name} must be a name, got {value!r}")
        if self.settings is not None and not isinstance(self.settings, Mapping):
            raise UsageError(f"settings must be a mapping of options, got {self.settings!r}")
        settings = {str(key): str(value) for key, value in (self.settings or {}).items()}
        if "components" in settings:
            raise UsageError(f"the number of clusters is not one of the settings; give {option('components', 'K')}")
        settings["components"] = _components_text(self.n_components)
        settings |= {name: str(getattr(self, name)) for name in OPTION_OWNERS if getattr(self, name) is not None}
        return ExperimentConfig(
            model=self.model,
            prior=self.prior,
            posterior=self.posterior,
            encoder=self.encoder,
            decoder=self.decoder,
            heads=tuple(heads),
            seed=_seed(self.random_state),
            table=_table_options(self.columns),
            baselines=bool(self.baselines),
            device=self.device,
            settings=settings,
            init=self.init,
        )

    def _take(self, run: LoadedRun) -> None:
        """Set the fitted attributes from a finished run."""
        self.run_ = run
        self.n_components_ = run.n_components
        self.metrics_ = run.metrics.to_json()
        self.labels_ = run.assignments()[run.config.heads[0]]
        self.cluster_sizes_ = np.bincount(self.labels_[self.labels_ >= 0], minlength=run.n_components)

    def _prepared(self, X: Any) -> Any:
        check_is_fitted(self)
        X = self._validated(X, fitting=False)
        with _usage_errors_as_value_errors():
            if self.run_.schema is None:
                return self.run_.prepare(X)
            rows, notes = self.run_.encode(X)
        for text in notes:
            warnings.warn(text, UserWarning, stacklevel=4)
        return rows

    def _validated(self, X: Any, *, fitting: bool) -> Any:
        """Return rows as the run takes them: a pandas DataFrame if its columns get kinds, else a checked array.

        A run on a table takes data frames, and arrays if its own columns had no names.
        """
        frame = as_pandas(X)
        of_table = is_frame(frame) if fitting else self.run_.schema is not None
        if is_frame(frame) and (of_table or (fitting and self.scale is None)):
            if fitting:
                refuse_infinite(frame)
                self.n_features_in_ = frame.shape[1]
                self.feature_names_in_ = np.array(frame.columns, dtype=object)
            return frame
        _refuse_bad_indices(X)
        try:
            X = validate_data(
                self,
                X,
                accept_sparse="csr",
                dtype="numeric",
                reset=fitting,
                ensure_min_samples=2 if fitting else 1,
                ensure_all_finite="allow-nan",
            )
        except ValueError as error:
            if "string" not in str(error):
                raise
            text = str(error).rstrip(".")
            raise ValueError(f"{text}; pass rows with text in a pandas or polars data frame") from error
        if of_table or (fitting and has_gaps(X)):
            return numbered_frame(X)
        return X

    def _infer(self, X: Any, *, flag_strange: bool = False) -> Inference:
        prepared = self._prepared(X)
        return self.run_.infer(prepared, flag_strange=flag_strange)


PARAMETERS = frozenset([*DeepMixture._get_param_names(), *SPELLINGS.values()])
"""Names of the parameters of the estimator's constructor and methods."""


def parameter(name: str, value: str | None = None) -> str:
    """Spell an option as the estimator takes it: `n_components`, `head='gmm'` or `settings={'anchor': ...}`."""
    spelled = SPELLINGS.get(name, name)
    text = "..." if value is None else value if value.isupper() else repr(value)  # capitals stand for any value
    if spelled in PARAMETERS:
        return spelled if value is None else f"{spelled}={text}"
    return f"settings={{'{name}': {text}}}"


def load(run_folder: str | Path, device: str = "auto") -> DeepMixture:
    """Return the fitted estimator of a run folder that `deepmix train` or `DeepMixture.save` wrote.

    Raises:
        UsageError: there is no finished run in the folder.
        DeepmixError: a file is damaged.

    """
    run = open_run(run_folder, device)
    estimator = DeepMixture(**_parameters(run.config, run.parts, run.n_components), device=device)
    estimator._take(run)
    estimator.n_features_in_ = run.n_features
    names = run.preparation.columns
    if run.schema is not None:
        names = tuple(column.name for column in run.schema.columns if column.kind != "label")
        estimator.n_features_in_ = len(names)
    if names is not None:
        estimator.feature_names_in_ = np.array(names, dtype=object)
    return estimator


def _parameters(config: ExperimentConfig, parts: Parts, n_components: int) -> dict[str, Any]:
    """Return the estimator's parameters that stand for a configuration."""
    settings = dict(config.settings)
    settings.pop("components", None)
    parameters: dict[str, Any] = {
        name: getattr(parts.options[part], name)
        for name, part in OPTION_OWNERS.items()
        if settings.pop(name, None) is not None
    }
    for name in ("model", "prior", "posterior", "encoder", "decoder", "init"):
        parameters[name] = getattr(config, name)
    head = config.heads[0] if len(config.heads) == 1 else config.heads
    return parameters | {
        "n_components": n_components,
        "head": head,
        "settings": settings or None,
        "columns": config.table,
        "baselines": bool(config.baselines),
        "random_state": config.seed,
    }


def _components_text(n_components: Any) -> str:
    """Return a number of clusters, 'auto' or a range as `--components` takes it."""
    if isinstance(n_components, tuple | list) and len(n_components) == 2:
        return f"{n_components[0]}:{n_components[1]}"
    return str(n_components)


def _seed(random_state: Any) -> int:
    """Return a seed; an int is used as it is."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(MAX_SEED, dtype=np.int64))


def _table_options(columns: Any) -> TableOptions | None:
    """Return what the estimator's `columns` says of a table.

    Raises:
        UsageError: it is neither a mapping nor a TableOptions.

    """
    if columns is None or isinstance(columns, TableOptions):
        return columns
    if not isinstance(columns, Mapping):
        raise UsageError(f"columns must map names to kinds, or be a deepmix.data.TableOptions, got {columns!r}")
    return TableOptions(
        {
            str(name): value if isinstance(value, ColumnOptions) else ColumnOptions(kind=str(value))
            for name, value in columns.items()
        }
    )


def _refuse_bad_indices(X: Any) -> None:
    """Raise a ValueError if a sparse matrix has indices outside its shape, before SciPy converts it."""
    if sparse.issparse(X) and X.ndim == 2 and X.dtype.kind in "biuf":  # scikit-learn refuses all others
        with _usage_errors_as_value_errors():
            check_sparse(X)


@contextmanager
def _usage_errors_as_value_errors() -> Iterator[None]:
    """Raise usage errors as the ValueError that scikit-learn's users expect, with options spelled as in Python."""
    try:
        yield
    except UsageError as error:
        raise ValueError(error.spelled(parameter)) from error
    except DeepmixError as error:
        raise DeepmixError(error.spelled(parameter)) from error
