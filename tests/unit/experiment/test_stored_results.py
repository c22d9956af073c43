from __future__ import annotations

import numpy as np

from deepmix.data import SplitOptions, load_file, sample_rows
from deepmix.experiment.stability import RowStability
from deepmix.experiment.stored_results import write_stored_assignments
from deepmix.maths import Inference


class Folder:
    """Keeps the table that is written."""

    def write_table(self, name, columns, lines):
        self.table = dict(zip(columns, map(list, zip(*lines, strict=True)), strict=True))


class EveryThird:
    """A head for which every third row is noise."""

    def predict(self, inference):
        return np.where(inference.latent_NM[:, 0] % 3 == 0, -1, inference.latent_NM[:, 0].astype(int) % 2)


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
    blocks = [np.arange(0, 16), np.arange(16, 40)]
    folder = Folder()
    sizes, _ = write_stored_assignments(
        folder, split, {"third": EveryThird()}, lambda: ((b, inference(b)) for b in blocks), train, stability=stability
    )
    numbers = np.arange(40)
    cluster_N = np.where(numbers % 3 == 0, -1, numbers % 2)
    assert folder.table["third"] == cluster_N.tolist()
    for side, rows in (("train", split.train[:]), ("test", split.test[:])):
        assert [folder.table["split"][row] for row in rows] == [side] * len(rows)
        assert sizes["third"][side].tolist() == [np.sum(cluster_N[rows] == k) for k in range(2)]
    stable_N = np.array(folder.table["stability"])
    np.testing.assert_allclose(stable_N[split.train[chosen]], stable_n, atol=1e-6)
    np.testing.assert_allclose(stable_N[8:32], numbers[8:32] / 40.0, atol=0.1)
