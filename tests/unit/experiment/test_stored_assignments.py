from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepmix.data import SplitOptions, load_file, sample_rows
from deepmix.experiment import stored_assignments
from deepmix.experiment.assigner import Assigner
from deepmix.experiment.stability import RowStability
from deepmix.maths import Inference
from deepmix.training import Ranks, unpack


class EveryThird:
    """A head for which every third row is noise."""

    def predict(self, inference):
        return np.where(inference.latent_NM[:, 0] % 3 == 0, -1, inference.latent_NM[:, 0].astype(int) % 2)

    def state(self):
        return None


def test_noise_is_in_no_cluster_and_rows_take_the_stability_of_their_nearest(tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(40, 3)))
    split = load_file(tmp_path / "rows.npy", None, SplitOptions(storage="disk"))

    def inference(numbers):
        return Inference(np.zeros((len(numbers), 2)), numbers[:, None].astype(np.float64), bound_N=-1.0 * numbers)

    sample, _ = sample_rows(split, 0)
    train = inference(sample.row_numbers(sample.train))
    chosen = np.arange(0, len(sample.train), 2)
    stable_n = sample.row_numbers(sample.train[chosen]) / 40.0
    stability = RowStability(None, chosen, stable_n).of_stored(sample, train.latent_NM)
    assigner = Assigner({"third": EveryThird()}, np.sort(train.bound_N), stability)
    cluster_N = np.where(np.arange(40) % 3 == 0, -1, np.arange(40) % 2)
    table, sizes = assigner.assign(split, np.arange(16, 40), inference(np.arange(16, 40)), proba=True)
    assert table["row"].tolist() == list(range(17, 41))
    assert table["third"].tolist() == cluster_N[16:].tolist()
    for side, rows in (("train", split.train[:]), ("test", split.test[:])):
        rows = rows[rows >= 16]
        assert table["split"][rows - 16].tolist() == [side] * len(rows)
        assert sizes["third"][side] == [np.sum(cluster_N[rows] == k) for k in range(2)]
    measured = split.train[chosen] >= 16
    np.testing.assert_allclose(table["stability"][split.train[chosen][measured] - 16], stable_n[measured], atol=1e-6)
    np.testing.assert_allclose(table["stability"][:16], np.arange(16, 32) / 40.0, atol=0.1)
    assert table["p1"].tolist() == [1.0] * 24


@pytest.mark.parametrize("is_shared", [True, False])
def test_the_first_rank_makes_all_lines_if_a_head_cannot_be_sent(tmp_path, monkeypatch, is_shared):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(40, 3)))
    split = load_file(tmp_path / "rows.npy", None, SplitOptions(storage="disk"))
    monkeypatch.setattr(stored_assignments, "BLOCK_ROWS", 8)
    monkeypatch.setattr(stored_assignments, "gathered", lambda ranks, messages: (message for _, message in messages))
    monkeypatch.setattr(stored_assignments, "shared_assigner", lambda experiment, assigner: assigner)
    monkeypatch.setattr(
        stored_assignments,
        "infer_rows",
        lambda model, rows, precision: Inference(
            np.zeros((rows.n_rows, 2)), np.ones((rows.n_rows, 1)), bound_N=np.zeros(rows.n_rows)
        ),
    )
    monkeypatch.setattr(EveryThird, "state", lambda head: {} if is_shared else None)
    made = []
    for number in (0, 1):
        options = SimpleNamespace(options={"training": SimpleNamespace(precision="fp32")})
        experiment = SimpleNamespace(
            split=split,
            ranks=Ranks(number, 2),
            device=torch.device("cpu"),
            parts=options,
            config=SimpleNamespace(proba=False),
        )
        assigner = Assigner({"third": EveryThird()}, np.zeros(1)) if is_shared or number == 0 else None
        messages = stored_assignments._assigned_blocks(experiment, None, assigner)
        made.append([text.split(b",")[0] for one in messages for text in unpack(one)[0]["text"].tobytes().splitlines()])
    assert [int(row) for rows in made for row in rows] == list(range(1, 41))
    assert len(made[1]) == (16 if is_shared else 0)
