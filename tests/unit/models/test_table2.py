"""Parameter counts of the assembled models: the MVAE supplement's Table 2, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from deepmix.contracts import Model
from deepmix.data import Split
from deepmix.experiment import ExperimentConfig, build_model, resolve
from deepmix.experiment.assembly import n_clusters
from deepmix.experiment.results import count_parameters

SHAPES = {  # data set: (columns, clusters)
    "digits": (64, 10),
    "mnist": (784, 10),
    "usps": (256, 10),
    "stl-10": (2048, 10),
    "fashion-mnist": (784, 10),
    "reuters": (2000, 4),
    "har": (561, 6),
}


TABLE_2 = {  # data set: (VAE, VaDE, k-DVAE, MVAE and both its EM variants), M = 10
    "digits": (172_628, 172_838, 218_888, 219_098),
    "mnist": (3_350_804, 3_351_014, 3_710_984, 3_711_194),
    "usps": (2_822_276, 2_822_486, 3_182_456, 3_182_666),
    "stl-10": (4_616_068, 4_616_278, 4_976_248, 4_976_458),
    "fashion-mnist": (3_350_804, 3_351_014, 3_710_984, 3_711_194),
    "reuters": (4_568_020, 4_568_104, 4_688_080, 4_688_164),
    "har": (3_127_581, 3_127_707, 3_327_681, 3_327_807),
}


COLUMN = {"vae": 0, "vade": 1, "k-dvae-shared": 2, "mvae": 3, "mvae-emv1": 3, "mvae-emv2": 3}


def fake_split(n_features: int, n_classes: int) -> Split:
    """Return a split with two rows per class, half of them for training, in which only the shape matters."""
    return Split(
        x=np.zeros((2 * n_classes, n_features), dtype=np.float32),
        train=np.arange(n_classes),
        test=np.arange(n_classes, 2 * n_classes),
        labels=np.tile(np.arange(n_classes), 2),
        likelihood="bernoulli",
        preprocessing="none",
    )


def build(model: str, n_features: int, n_classes: int, **settings: str) -> Model:
    parts = resolve(ExperimentConfig(model=model, settings=settings))
    split = fake_split(n_features, n_classes)
    return build_model(parts, split, n_clusters(parts.options["size"].components, split), seed=0)


@pytest.mark.parametrize("dataset", SHAPES)
@pytest.mark.parametrize("model", COLUMN)
def test_n_parameters_are_those_of_table_2(model: str, dataset: str) -> None:
    n_parameters = count_parameters(build(model, *SHAPES[dataset], latent_dim="10"))
    assert n_parameters == TABLE_2[dataset][COLUMN[model]]


@pytest.mark.parametrize(("n_features", "expected"), [(64, 10), (10, 10), (9, 9), (1, 1)])
def test_ten_latent_dimensions_are_the_default_where_rows_have_as_many(n_features: int, expected: int) -> None:
    assert build("mvae-emv2", n_features, 3).latent_dim == expected
    assert build("mvae-emv2", n_features, 3, latent_dim="12").latent_dim == 12


@pytest.mark.parametrize("model", ["beta-mvae-emv2", "scheduled-beta-mvae-emv2"])
def test_weighing_the_kl_terms_adds_no_parameters(model: str) -> None:
    assert count_parameters(build(model, *SHAPES["digits"])) == TABLE_2["digits"][3]


def test_k_dvae_is_ten_whole_networks() -> None:
    """k-DVAE section 4.2: D-500-100-10 with mean and log-variance heads, and 10-100-500-D back."""
    d, m = 784, 10
    encoder = (d + 1) * 500 + 501 * 100 + 2 * 101 * m
    decoder = (m + 1) * 100 + 101 * 500 + 501 * d
    assert count_parameters(build("k-dvae", d, 10)) == 10 * (encoder + decoder)


def test_a_learned_variance_adds_a_second_output_a_feature() -> None:
    learned = build("mvae", *SHAPES["digits"], likelihood="gaussian-learned")
    assert count_parameters(learned) == TABLE_2["digits"][3] + 257 * 64


def test_the_vae_has_one_component_whatever_the_number_of_classes() -> None:
    assert build("vae", *SHAPES["digits"]).n_components == 1
    assert build("vade", *SHAPES["digits"]).n_components == 10
