"""Made-up runs that a report must cope with, so that no test has to train."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import pytest

from deepmix.data import ColumnSchema, TableSchema
from deepmix.metrics import Clustering, measure
from deepmix.report import seeds
from deepmix.report.material import SHOWN, Material
from deepmix.report.writing import render
from deepmix.runs import (
    DataRecord,
    Environment,
    EpochRecord,
    HeadFigures,
    InitialLabels,
    Metrics,
    Requested,
    RowCounts,
    RunConfig,
)

HOSTILE_LABELS = (
    "<script>alert(1)</script>",
    'a" onmouseover="alert(2)',
    "]]></svg><img src=x onerror=alert(3)>",
    "\u202eturned round & " + "long " * 40,
)


HOSTILE_COLUMNS = ("</table><h1>x", "b&b", "<!--", "'e'", "=f()", "</style><script>alert(4)</script>")


def make_material(
    *,
    n_clusters: int = 4,
    labels: tuple[str, ...] | None = ("0", "1", "2", "3"),
    columns: tuple[str, ...] | None = None,
    images: bool = False,
    one_component: bool = False,
    n_rows: int = 240,
) -> Material:
    """Return the material of a run on well-separated blobs, with about one row in ten in a wrong cluster."""
    random = np.random.default_rng(0)
    n_features = 64 if images else 6
    cluster_N = np.arange(n_rows) % n_clusters
    centre_KD = random.normal(size=(n_clusters, n_features))
    x_ND = (centre_KD[cluster_N] + 0.3 * random.normal(size=(n_rows, n_features))).astype(np.float32)
    latent_NM = 4.0 * random.normal(size=(n_clusters, 5))[cluster_N] + random.normal(size=(n_rows, 5))
    log_q_NK = random.normal(size=(n_rows, 1 if one_component else n_clusters))
    if not one_component:
        log_q_NK[np.arange(n_rows), cluster_N] += 3.0
    log_q_NK -= np.log(np.exp(log_q_NK).sum(axis=1, keepdims=True))
    test_N = np.arange(n_rows) % 7 == 0
    label_N = None
    if labels is not None:
        moved_N = np.where(random.random(n_rows) < 0.1, 1, 0)
        label_N = np.array(labels)[(cluster_N + moved_N) % len(labels)]
    sides = {"train": ~test_N, "test": test_N}
    figures: dict[str, HeadFigures] = {}
    for side, rows in sides.items():
        labels_n = None if label_N is None else label_N[rows]
        scores = measure(Clustering(cluster_N[rows], labels_n, latent_NM[rows]))
        figures[side] = HeadFigures(scores, np.bincount(cluster_N[rows], minlength=n_clusters).tolist())
    parts = {"elbo": -20.0, "reconstruction": -15.0, "kl_latent": 3.0, "kl_assignment": 2.0}
    initial_labels = None
    if not one_component and label_N is not None:
        start_N = np.where(random.random(n_rows) < 0.2, (cluster_N + 1) % n_clusters, cluster_N)
        initial_labels = InitialLabels(
            **{side: measure(Clustering(start_N[rows], label_N[rows])) for side, rows in sides.items()}
        )
    results = Metrics(
        heads={"posterior": figures},
        elbo={"train": -20.0, "test": -20.5},
        elbo_parts={"train": parts, "test": parts},
        initial_labels=initial_labels,
        warnings=[],
        n_parameters=1234,
        seconds=5.5,
    )
    epochs = [
        EpochRecord(stage="pretrain", epoch=i + 1, elbo=-40.0 + i, objective=-40.0 + i, lr=0.1, seconds=1.0)
        for i in range(10)
    ]
    epochs += [
        EpochRecord(
            stage="train",
            epoch=i + 1,
            elbo=-20.0 - 9 / (i + 1),
            objective=-21.0 - 9 / (i + 1),
            terms={"reconstruction": -15.0 - 9 / (i + 1), "kl_latent": 3.0, "kl_assignment": 2.0},
            confidence=0.9,
            clusters_in_use=log_q_NK.shape[1],
            lr=0.1,
            seconds=1.0,
        )
        for i in range(30)
    ]
    config = RunConfig(
        requested=Requested(
            model="mvae-emv2",
            prior=None,
            posterior=None,
            encoder=None,
            decoder=None,
            init="graph",
            heads=("posterior",),
            dataset="/somewhere/rows & more.csv",
            label_column=None,
            data_dir=None,
            seed=0,
            device="auto",
            settings={"size.components": str(n_clusters)},
        ),
        report=True,
        resolved={"size": {"components": n_clusters, "latent_dim": 5}, "model": {"likelihood": "gaussian"}},
        parts={},
        structure=None,
        data=DataRecord(
            rows=RowCounts(int((~test_N).sum()), int(test_N.sum())),
            columns=n_features,
            image_shape=None,
            preprocessing="values as they are",
            labels=labels is not None,
            fingerprint="0123abcd",
        ),
        n_parameters=1234,
        environment=Environment(*["1.0"] * 6, device="cpu", threads=1, git_commit=None),
    )
    return Material(
        folder="runs/made-up",
        config=config,
        metrics=results,
        epochs=epochs,
        x_ND=x_ND,
        label_N=label_N,
        test_N=test_N,
        cluster_N=cluster_N,
        latent_NM=latent_NM,
        log_q_NK=log_q_NK,
        generate=(lambda component: np.repeat(centre_KD[component : component + 1], SHOWN, axis=0)) if images else None,
        columns=columns,
        image_shape=(8, 8) if images else None,
    )


def make_frame(n_rows: int, n_clusters: int) -> tuple[pd.DataFrame, TableSchema]:
    """Return a customer table whose columns of every kind depend on the row's cluster, row number modulo n_clusters."""
    random = np.random.default_rng(5)
    cluster_N = np.arange(n_rows) % n_clusters
    frame = pd.DataFrame(
        {
            "monthly_charges": np.round(random.normal(60.0 + 15.0 * cluster_N, 6.0), 2),
            "income": np.round(np.exp(random.normal(9.0 + 0.6 * (cluster_N == 1), 0.7))),
            "calls": random.poisson(1.0 + 2.0 * (cluster_N == 2)),
            "contract": np.where(random.random(n_rows) < np.where(cluster_N == 0, 0.15, 0.8), "yes", "no"),
            "payment method": random.choice(["card", "transfer", "cheque"], n_rows),
            "satisfaction": random.choice(["low", "middle", "high"], n_rows, p=[0.2, 0.5, 0.3]),
            "customer_since": pd.Timestamp("2015-01-01")
            + pd.to_timedelta(random.integers(0, 700, n_rows) + 600 * (cluster_N == 3), unit="D"),
        }
    )
    frame["yearly_charges"] = 12.0 * frame.monthly_charges
    frame.loc[(cluster_N == 1) & (random.random(n_rows) < 0.5), "payment method"] = "card"
    frame.loc[random.random(n_rows) < np.where(cluster_N == 2, 0.4, 0.02), "income"] = np.nan
    frame.loc[random.random(n_rows) < 0.05, "contract"] = None
    frame.loc[7, ["monthly_charges", "income"]] = [400.0, 9e6]

    def column(name: str, kind: str, likelihood: str | None, reason: str, **more: object) -> ColumnSchema:
        missing = float(frame[name].isna().mean()) if name in frame else 0.0
        return ColumnSchema(name, kind, reason, likelihood, missing=missing, **more)

    schema = TableSchema(
        (
            column("customer", "identifier", None, "text that differs in every row names the rows"),
            column("monthly_charges", "continuous", "gaussian", "numbers with decimals"),
            column("income", "positive", "log-normal", "numbers over several decades", decimals=0, low=1.0, high=9e6),
            column("calls", "count", "poisson", "whole numbers from 0", decimals=0, low=0, high=20),
            column("contract", "binary", "bernoulli", "two levels", levels=("no", "yes")),
            column("payment method", "categorical", "categorical", "3 levels", levels=("card", "cheque", "transfer")),
            column("satisfaction", "ordinal", "ordinal", "levels that you gave", levels=("low", "middle", "high")),
            column("customer_since", "datetime", "gaussian", "dates"),
            column("yearly_charges", "continuous", "gaussian", "numbers with decimals"),
            column("notes", "text", None, "free text is left out"),
        )
    )
    return frame, schema


def make_table_material(*, n_rows: int = 240, n_clusters: int = 4, labels: tuple[str, ...] | None = None) -> Material:
    """Return the material of a run on a table with columns of every kind, missing cells, row names and outliers."""
    material = make_material(n_clusters=n_clusters, labels=labels, n_rows=n_rows)
    frame, schema = make_frame(n_rows, n_clusters)
    outlier_N = np.random.default_rng(6).permutation(n_rows) / n_rows
    outlier_N[7] = 1.0
    return dataclasses.replace(
        material,
        frame=frame,
        schema=schema,
        row_names=np.array([f"C-{1000 + i}" for i in range(n_rows)]),
        outlier_N=outlier_N,
    )


def make_hostile_table() -> Material:
    """Return the material of a run on a table whose names, levels and rows contain markup and formulas."""
    material = make_table_material(labels=HOSTILE_LABELS)
    assert material.frame is not None
    n_rows = len(material.frame)
    cluster_N = np.arange(n_rows) % 4
    frame = pd.DataFrame({name: np.array(HOSTILE_LABELS, dtype=object)[cluster_N] for name in HOSTILE_COLUMNS})
    frame["=1+1"] = cluster_N + 0.5
    names = [*HOSTILE_COLUMNS, "=1+1"]
    schema = TableSchema(
        tuple(
            ColumnSchema(name, "categorical", f"because of {name}", "categorical", levels=HOSTILE_LABELS)
            if name in HOSTILE_COLUMNS
            else ColumnSchema(name, "continuous", "numbers", "gaussian")
            for name in names
        )
    )
    row_names = np.array(HOSTILE_LABELS)[np.arange(n_rows) % 4]
    return dataclasses.replace(material, frame=frame, schema=schema, row_names=row_names)


CASES: dict[str, Callable[[], Material]] = {
    "images-with-labels": lambda: make_material(images=True),
    "table-without-labels": lambda: make_material(labels=None, columns=tuple("abcdef")),
    "two-clusters": lambda: make_material(n_clusters=2, labels=("yes", "no"), images=True),
    "fifty-clusters": lambda: make_material(n_clusters=50, n_rows=600),
    "hostile-names": lambda: make_material(labels=HOSTILE_LABELS, columns=HOSTILE_COLUMNS),
    "one-component": lambda: make_material(one_component=True, images=True),
    "mixed-table": make_table_material,
    "hostile-table": make_hostile_table,
}


SEVERAL_SEEDS = "several-seeds"


@cache
def rendered(case: str) -> str:
    """Return the report of a case, or of three seeds that agree on few rows."""
    if case != SEVERAL_SEEDS:
        return render(CASES[case]())
    one = make_material(labels=HOSTILE_LABELS)
    n_rows = len(one.cluster_N)
    clusterings = [one.cluster_N, np.arange(n_rows) % 3, np.random.default_rng(0).integers(4, size=n_rows)]
    runs = [seeds.SeedRun(i, one.metrics, one.epochs, clusters) for i, clusters in enumerate(clusterings)]
    return seeds.render(seeds.SeedMaterial(one.config, runs))


@pytest.fixture(params=CASES)
def document(request: pytest.FixtureRequest) -> str:
    """The report of each case."""
    return rendered(request.param)
