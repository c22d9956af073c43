"""M2: Kingma et al.'s equations 6, 7 and 9 by torch.distributions, the labels that it sees, and Digits."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from deepmix_builtins.models.m2 import M2Options, known_or_inferred, label_loss
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from deepmix import DeepMixture
from deepmix.contracts import Batch
from deepmix.data import revealed_labels
from deepmix.errors import UsageError
from deepmix.experiment import ExperimentConfig, prepare_experiment
from deepmix.inference import evaluate_run, open_run
from tests.losses import loss_of

N, K, M = 8, 4, 2


CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grey_rows() -> torch.Tensor:
    return torch.rand(N, 6, generator=seeded(3), dtype=torch.float64)


def written_out(model, x: torch.Tensor, seed: int) -> tuple[torch.Tensor, Categorical]:
    """Return -L(x, y) for every y, (N, K), eq. 6, and q(y|x)."""
    noise = torch.randn(1, N, K, M, generator=seeded(seed), dtype=torch.float64)[0]
    bounds = []
    for y in range(K):
        one_hot = torch.zeros(N, K).double()
        one_hot[:, y] = 1.0
        q = model.encoder(torch.cat([x, one_hot], -1))
        q_z = Normal(q.mean[:, 0], torch.exp(0.5 * q.log_var[:, 0]))
        z = q_z.loc + q_z.scale * noise[:, y]
        p_x = Bernoulli(logits=model.decoder(torch.cat([z, one_hot], -1), [N]), validate_args=False)
        kl = kl_divergence(q_z, Normal(torch.zeros(M).double(), 1.0)).sum(-1)
        bounds.append(p_x.log_prob(x).sum(-1) - math.log(K) - kl)
    return torch.stack(bounds, -1), Categorical(logits=model.classifier(x))


@pytest.fixture
def model(small_model):
    def call(**settings: str):
        instance = small_model("m2", hidden="8-7", **settings).double()
        with torch.no_grad():
            for parameter in instance.parameters():
                parameter.mul_(2.0)  # so that classes differ
        return instance

    return call


def test_unsupervised_bound_is_equation_7(model):
    instance, x = model(), grey_rows()
    minus_l, q = written_out(instance, x, 5)
    actual = loss_of(instance, x, seeded(5), beta=1.0)
    torch.testing.assert_close(actual.elbo_N, (q.probs * minus_l).sum(-1) + q.entropy(), **CLOSE)
    torch.testing.assert_close(actual.objective_N.detach(), actual.elbo_N, **CLOSE)
    torch.testing.assert_close(instance.infer(Batch(x))[0], q.logits, **CLOSE)


def test_the_gradient_reaches_the_classifier_through_the_bound(model):
    instance, x = model(), grey_rows()
    minus_l, q = written_out(instance, x, 5)
    expected = torch.autograd.grad(
        ((q.probs * minus_l).sum(-1) + q.entropy()).sum(), list(instance.classifier.parameters())
    )
    actual = torch.autograd.grad(
        loss_of(instance, x, seeded(5), beta=1.0).objective_N.sum(), list(instance.classifier.parameters())
    )
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
    assert any(gradient.abs().max() > 1e-3 for gradient in actual)


def test_known_rows_are_equation_6_and_the_classifier_gets_alpha(model):
    instance, x = model(labelled="3", alpha="0.2"), grey_rows()
    labels = torch.tensor([0, -1, 2, -1, -1, 3, -1, -1])
    instance.place(instance.pretrained(Batch(x))[0], torch.ones(N).double(), labels)
    assert float(instance.label_share) == pytest.approx(3 / 8)
    minus_l, q = written_out(instance, x, 5)
    unknown = (q.probs * minus_l).sum(-1) + q.entropy()
    is_known = labels >= 0
    bound = torch.where(is_known, minus_l.gather(-1, labels.clamp_min(0)[:, None])[:, 0], unknown)
    actual = loss_of(instance, x, seeded(5), beta=1.0, anchor=9.0, labels=labels, hold=True)
    torch.testing.assert_close(actual.elbo_N, bound, **CLOSE)
    log_q = q.logits.gather(-1, labels.clamp_min(0)[:, None])[:, 0] * is_known
    # eq. 9: alpha N times the labelled rows' mean of log q(y|x), shared out over the rows
    torch.testing.assert_close(actual.objective_N.sum(), bound.sum() + 0.2 * N * log_q.sum() / is_known.sum(), **CLOSE)


def test_unlabelled_it_takes_an_initial_clustering_as_the_others_do(model):
    instance, x, labels = model(), grey_rows(), torch.arange(N) % K
    minus_l, q = written_out(instance, x, 5)
    held = loss_of(instance, x, seeded(5), beta=1.0, labels=labels, hold=True)
    torch.testing.assert_close(held.elbo_N, minus_l.gather(-1, labels[:, None])[:, 0], **CLOSE)
    free = loss_of(instance, x, seeded(5), beta=1.0)
    anchored = loss_of(instance, x, seeded(5), beta=1.0, anchor=0.5, labels=labels)
    torch.testing.assert_close(anchored.objective_N, free.objective_N + 0.5 * q.log_prob(labels), **CLOSE)


def test_helpers():
    log_q = torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=torch.float64).log()
    assert known_or_inferred(log_q, torch.tensor([-1, 1])).tolist() == [[0.25, 0.75], [0.0, 1.0]]
    assert label_loss(log_q, torch.tensor([1, -1])).tolist() == pytest.approx([-math.log(0.75), 0.0])


def test_revealed_labels_are_even_and_true():
    labels = np.repeat(["ant", "bee", "cat", "-1"], [50, 40, 3, 20])
    is_known = labels != "-1"
    actual = revealed_labels(labels, is_known, 14, seed=0)
    assert [int((actual == number).sum()) for number in (-1, 0, 1, 2)] == [100, 5, 5, 3]
    for number, name in enumerate(["ant", "bee", "cat"]):
        assert (labels[actual == number] == name).all()
    assert np.array_equal(actual, revealed_labels(labels, is_known, 14, seed=0))
    assert not np.array_equal(actual, revealed_labels(labels, is_known, 14, seed=1))
    everything = revealed_labels(labels, is_known, 10**6, seed=0)
    assert np.array_equal(everything >= 0, is_known)


FEW_LABELS = {"labelled": "60", "epochs": "40", "pretrain_epochs": "10", "batch_size": "32", "latent_dim": "2"}


def three_groups():
    """Rows of three groups and their labels, half of them -1."""
    random = np.random.default_rng(0)
    truth = np.arange(240) % 3
    x = np.eye(3, 5)[truth] * 4.0 + random.normal(size=(240, 5))
    return x, np.where(random.random(240) < 0.5, -1, truth)


@pytest.fixture
def half_labelled(tmp_path):
    x, y = three_groups()
    np.savez(tmp_path / "half.npz", x=x, y=y)
    return str(tmp_path / "half.npz")


@pytest.mark.parametrize("kind", ["int64", "float64", "U4"])
def test_unknown_is_minus_one_however_it_is_written(tmp_path, kind):
    x, y = three_groups()
    np.savez(tmp_path / "x.npz", x=x, y=y.astype("float64").astype(kind))
    prepared = prepare_experiment(
        ExperimentConfig(model="m2", dataset=str(tmp_path / "x.npz"), settings={"labelled": "9"})
    )
    assert prepared.n_components == 3
    assert np.array_equal(prepared.split.known, y != -1)


def test_labels_are_given_to_the_estimator_too(half_labelled, train):
    x, y = three_groups()
    model = DeepMixture(3, model="m2", settings=FEW_LABELS).fit(x, y)
    assert model.metrics_["labelled_rows"] == 60
    results = train("m2", dataset=half_labelled, settings=FEW_LABELS)
    assert results["heads"] == model.metrics_["heads"]
    with pytest.raises(ValueError, match="there are no labels to learn from"):
        DeepMixture(3, model="m2", settings=FEW_LABELS).fit(x)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        DeepMixture(3, model="m2", settings=FEW_LABELS).fit(x, y[:-1])


def test_unknown_labels_are_neither_a_class_nor_scored(train, tmp_path, half_labelled):
    results = train("m2", dataset=half_labelled, settings=FEW_LABELS)
    assert results["labelled_rows"] == 60
    assert len(results["heads"]["posterior"]["test"]["sizes"]) == 3
    assert results["heads"]["posterior"]["test"]["acc"] >= 0.7  # measured 0.86
    assert "initial_labels" not in results
    config = json.loads((tmp_path / "run-1" / "config.json").read_text())
    assert config["resolved"]["model"]["labelled"] == 60
    again = evaluate_run(open_run(tmp_path / "run-1")).to_json()
    assert again["heads"]["posterior"] == results["heads"]["posterior"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labelled": "-1"}, "labelled must be at least 0"),
        ({"labelled": "9", "components": "2"}, "the labels have 3 classes; give at least as many components"),
        ({"alpha": "-1"}, "alpha must be at least 0"),
    ],
)
def test_bad_settings(half_labelled, settings, message):
    with pytest.raises(UsageError, match=message):
        prepare_experiment(ExperimentConfig(model="m2", dataset=half_labelled, settings=settings))


def test_labels_that_are_not_there(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((20, 3)))
    of = {"model": "m2", "dataset": str(tmp_path / "x.npy")}
    with pytest.raises(UsageError, match="there are no labels to learn from"):
        prepare_experiment(ExperimentConfig(**of, settings={"labelled": "5", "components": "2"}))
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((20, 3)), y=np.full(20, -1))
    with pytest.raises(UsageError, match="every training row has the label -1"):
        prepare_experiment(ExperimentConfig(model="m2", dataset=str(tmp_path / "x.npz"), settings={"labelled": "5"}))


def test_a_few_labels_beat_none_on_digits(train):
    """Few updates, and one hundred labels for 1,527 rows."""
    settings = {"epochs": "12", "pretrain_epochs": "6", "hidden": "128-64"}
    results = train("m2", settings={**settings, "labelled": "100"})
    alone = train("m2", settings={**settings, "anchor": "0", "hold": "0"}, init="random")
    accuracy = [r["heads"]["posterior"]["test"]["acc"] for r in (results, alone)]
    assert accuracy[0] >= 0.8
    assert accuracy[0] >= accuracy[1] + 0.2


def test_options():
    assert M2Options().labelled == 0
    with pytest.raises(UsageError, match="hidden must be"):
        M2Options(hidden="wide")
