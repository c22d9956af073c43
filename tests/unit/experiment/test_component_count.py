"""How many groups rows show: valleys of known depth, mixtures with known peaks, made rows with known groups."""

from __future__ import annotations

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import make_circles
from sklearn.mixture import GaussianMixture

from deepmix.data import Split
from deepmix.errors import UsageError
from deepmix.experiment import component_count
from deepmix.experiment.component_count import choose_components, choose_for_rows, continuous_rows, shows_groups
from deepmix.experiment.component_notes import choice_note, warnings_on_groups
from deepmix.experiment.component_range import ComponentRange
from deepmix.experiment.gaussian_modes import count_modes, find_modes, mode_merges
from deepmix.experiment.valleys import depths_by_count, find_valleys, merge_peaks, neighbours_of
from deepmix.maths import Array

AUTO = ComponentRange()


def blobs(n_clusters: int, n_columns: int, distance: float, n_rows: int = 600) -> Array:
    """Return unit Gaussians whose nearest centres lie this far apart."""
    random = np.random.default_rng(3)
    centre_KD = random.normal(size=(n_clusters, n_columns))
    gaps_KK = np.linalg.norm(centre_KD[:, None] - centre_KD, axis=2) + 1e9 * np.eye(n_clusters)
    centre_KD *= distance / gaps_KK.min()
    return centre_KD[np.arange(n_rows) % n_clusters] + random.normal(size=(n_rows, n_columns))


def split_of(rows_ND: Array, **fields: object) -> Split:
    n_train = int(0.9 * len(rows_ND))
    return Split(
        rows_ND.astype(np.float32), np.arange(n_train), np.arange(n_train, len(rows_ND)), None, "gaussian", "", **fields
    )  # type: ignore[arg-type]


def test_valleys_of_a_density_on_a_line():
    # peaks 5, 3 and 4 with saddles 2 and 1, and rows that only know their neighbours on the line
    density_N = np.array([0.0, 5.0, 2.0, 3.0, 1.0, 4.0, 0.5])
    last = len(density_N) - 1
    neighbour_Nk = np.array([[max(n - 1, 0) or 1, min(n + 1, last)] for n in range(len(density_N))])
    neighbour_Nk[0], neighbour_Nk[1], neighbour_Nk[last] = [1, 1], [0, 2], [last - 1, last - 1]
    merges_M3 = merge_peaks(density_N, neighbour_Nk)
    np.testing.assert_allclose(merges_M3, [[1.0, 1, 2], [3.0, 1, 4]])  # the depth, then rows above the saddle


def test_groups_that_no_edge_connects_meet_at_an_infinite_depth():
    merges_M3 = merge_peaks(np.zeros(6), np.array([[1, 2], [0, 2], [0, 1], [4, 5], [3, 5], [3, 4]]))
    np.testing.assert_array_equal(merges_M3, [[np.inf, 3, 3]])


def test_the_depth_by_count_leaves_small_groups_out():
    merges_M3 = np.array([[5.0, 3, 900], [4.0, 40, 800], [3.0, 200, 700], [2.0, 30, 600]])
    # of 1,000 rows, each of K groups has at least 100 / K, and never fewer than 4
    np.testing.assert_array_equal(depths_by_count(merges_M3, 1000, 5), [0.0, 0.0, 3.0, 3.0, 2.0, 0.0])


@pytest.mark.parametrize("n_columns", [1, 2, 5])
def test_the_dimensions_are_those_that_rows_fill(n_columns):
    random = np.random.default_rng(0)
    rows_ND = random.uniform(size=(2000, n_columns)) @ random.normal(size=(n_columns, 7))
    assert find_valleys(rows_ND, 5).dimensions == pytest.approx(n_columns, rel=0.2)
    assert neighbours_of(rows_ND)[0].shape == (2000, 60)


@pytest.mark.parametrize(("distance", "n_modes"), [(1.9, 1), (2.8, 1), (3.4, 2), (6.0, 2)])
def test_two_gaussians_have_two_modes_where_the_density_between_them_halves(distance, n_modes):
    # halfway between N(0, 1) and N(d, 1) the density is 2 exp(-d^2 / 8) times that at a mean, nearly
    mixture = mixture_of([[0.0, 0.0], [distance, 0.0]])
    ((depth, weight),) = mode_merges(mixture)
    at_mean, halfway = 1.0 + np.exp(-(distance**2) / 2.0), 2.0 * np.exp(-(distance**2) / 8.0)
    assert depth == pytest.approx(max(np.log(at_mean / halfway), 0.0), abs=1e-6)
    assert weight == pytest.approx(0.5)
    assert count_modes(np.array([[depth, weight]])) == n_modes


def mixture_of(means: list[list[float]]) -> GaussianMixture:
    mixture = GaussianMixture(len(means), covariance_type="spherical")
    mixture.means_, mixture.weights_ = np.array(means), np.full(len(means), 1.0 / len(means))
    mixture.precisions_ = np.ones(len(means))
    return mixture


def test_mixtures_find_the_gaussians_and_say_whether_more_were_worse():
    rows_ND = blobs(4, 3, 8.0)
    rows_ND /= rows_ND.std()
    modes = find_modes(rows_ND, 1, 1, 10, 0)
    assert modes is not None
    assert (modes.n_gaussians, modes.n_modes, modes.is_settled) == (4, 4, True)
    assert min(modes.bic, key=lambda g: modes.bic[g]) == 4
    assert all(modes.icl[g] >= modes.bic[g] for g in modes.bic)
    stopped = find_modes(rows_ND, 1, 1, 4, 0)
    assert stopped is not None
    assert not stopped.is_settled
    assert find_modes(rows_ND[:10], 3, 3, 8, 0) is None


@pytest.mark.parametrize(
    ("n_clusters", "n_columns", "distance"), [(5, 2, 8.0), (3, 20, 5.0), (5, 10, 5.0), (12, 4, 7.0)]
)
def test_blobs_are_counted(n_clusters, n_columns, distance):
    choice = choose_for_rows(continuous_rows(blobs(n_clusters, n_columns, distance), 0), AUTO, 0)
    assert choice.n_components == choice.n_groups == n_clusters


def test_rings_are_two_groups_although_a_mixture_needs_many_gaussians():
    rows_ND = make_circles(600, noise=0.04, factor=0.4, random_state=0)[0]
    choice = choose_for_rows(continuous_rows(rows_ND, 0), AUTO, 0)
    assert (choice.n_components, choice.criterion) == (2, "peaks")
    modes = find_modes(rows_ND / rows_ND.std(), 1, 12, 12, 0)
    assert modes is not None
    assert modes.n_gaussians > 4


@pytest.mark.parametrize("n_columns", [2, 3, 6, 20])
@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_rows_without_groups_are_one_cluster(kind, n_columns):
    random = np.random.default_rng(n_columns)
    size = (500, n_columns)
    rows_ND = random.uniform(size=size) if kind == "uniform" else random.normal(size=size)
    choice = choose_for_rows(continuous_rows(rows_ND, 0), ComponentRange(2, 20), 0)
    assert choice.n_components == choice.n_groups == 1
    assert "no groups" in choice_note(choice)


def test_levels_of_one_column_make_no_groups_but_levels_that_go_together_do():
    random = np.random.default_rng(0)
    apart = np.column_stack([random.normal(size=(400, 2)), random.integers(2, size=400)])
    assert choose_for_rows(continuous_rows(apart, 0), AUTO, 0).n_components == 1
    level_N = random.integers(2, size=(400, 1))
    together = np.where(random.uniform(size=(400, 8)) < 0.05, 1 - level_N, level_N)
    assert choose_for_rows(continuous_rows(together, 0), AUTO, 0).n_components == 2


def test_the_range_limits_the_choice_and_the_record_says_what_was_compared():
    rows_ND = continuous_rows(blobs(5, 2, 8.0), 0)
    choice = choose_for_rows(rows_ND, ComponentRange(2, 20), 0)
    assert (choice.n_components, choice.lowest, choice.highest, choice.n_rows) == (5, 2, 20, 600)
    assert choice.depth["5"] > 1.0 > choice.depth["6"]
    assert 5 not in [other.n_components for other in choice.runners_up]
    assert choice.runners_up
    few, many = (choose_for_rows(rows_ND, limits, 0) for limits in (ComponentRange(2, 3), ComponentRange(7, 9)))
    assert (few.n_components, many.n_components, many.n_groups, many.criterion) == (3, 7, 5, "range")
    assert "outside the range" in choice_note(many)


def test_copies_and_few_rows_give_an_answer():
    copies = continuous_rows(np.ones((40, 3)), 0)
    assert choose_for_rows(copies, AUTO, 0).n_components == 1
    assert choose_for_rows(continuous_rows(blobs(2, 2, 30.0, 12), 0), AUTO, 0).n_components in (1, 2)
    doubled = continuous_rows(np.repeat(blobs(3, 2, 9.0, 300), 2, axis=0), 0)
    assert choose_for_rows(doubled, AUTO, 0).n_components == 3


@pytest.mark.parametrize("n_rows", [40, 60, 95])
def test_few_rows_that_lie_far_apart_are_counted(n_rows):
    for n_clusters, seed in itertools.product((2, 3, 4), range(2)):
        rows_ND = continuous_rows(blobs(n_clusters, 2, 9.0, n_rows), seed)
        choice = choose_for_rows(rows_ND, AUTO, seed)
        assert (choice.n_components, choice.criterion) == (n_clusters, "modes")


def test_few_rows_without_groups_are_one_cluster():
    random = np.random.default_rng(0)
    for n_rows, n_columns in itertools.product((40, 60, 95), (1, 2, 4)):
        for rows_ND in (random.uniform(size=(n_rows, n_columns)), random.normal(size=(n_rows, n_columns))):
            choice = choose_for_rows(continuous_rows(rows_ND, 0), AUTO, 0)
            assert choice.n_components == 1
    assert "these 95 rows show no groups that lie far apart, and are too few to show others" in choice_note(choice)


def test_the_warning_of_one_cluster_names_a_column_of_many_levels():
    columns = [SimpleNamespace(name=name, levels=levels) for name, levels in (("age", None), ("state", "ABCDEFGHIJK"))]
    square = split_of(np.zeros((200, 2)), schema=SimpleNamespace(modelled=columns))
    choice = choose_for_rows(np.random.default_rng(0).normal(size=(200, 2)), AUTO, 0)
    (warning,) = warnings_on_groups(square, 1, choice, 0)
    assert warning.endswith(
        "; `components=K` divides them nevertheless, and groups may show without a column of many "
        "levels such as 'state'"
    )
    columns.pop()
    assert warnings_on_groups(square, 1, choice, 0)[0].endswith("`components=K` divides them nevertheless")


@pytest.mark.parametrize(("n_rows", "ending"), [(88, "may divide one group"), (220, "divide what is one group")])
def test_the_warning_of_few_rows_leaves_it_open_whether_they_are_one_group(n_rows, ending):
    square = split_of(np.random.default_rng(0).uniform(size=(n_rows, 4)))
    (warning,) = warnings_on_groups(square, 3, None, 0)
    assert warning.endswith(f"; the 3 clusters {ending}")


def test_the_valley_that_modes_need_may_be_deeper():
    merges_M2 = np.array([[np.log(10.0), 0.5]])
    assert (count_modes(merges_M2), count_modes(merges_M2, 0.05), count_modes(merges_M2, 0.11)) == (2, 1, 2)


def test_many_rows_are_sampled_by_weight(monkeypatch):
    monkeypatch.setattr(component_count, "MOST_ROWS", 300)
    rows_ND = np.concatenate([blobs(2, 2, 10.0, 2000), blobs(1, 2, 1.0, 2000) + 100.0])
    rows_ND = rows_ND[np.random.default_rng(0).permutation(4000)]
    assert choose_components(split_of(rows_ND), AUTO, 0).n_components == 3
    light_N = np.where(rows_ND[:, 0] > 50.0, 1e-9, 1.0)
    choice = choose_components(split_of(rows_ND, weights=light_N), AUTO, 0)
    assert (choice.n_components, choice.n_rows) == (2, 300)


def test_a_warning_says_that_rows_show_no_groups_where_nobody_could_see_it():
    square = split_of(np.random.default_rng(0).uniform(size=(500, 2)))
    (warning,) = warnings_on_groups(square, 5, None, 0)
    assert warning.startswith("no groups: these rows show no groups")
    assert "5 clusters" in warning
    assert not shows_groups(square, 0)
    assert warnings_on_groups(split_of(blobs(5, 2, 8.0)), 5, None, 0) == []
    assert warnings_on_groups(dataclasses.replace(square, labels=np.zeros(500)), 5, None, 0) == []
    assert warnings_on_groups(split_of(np.random.default_rng(0).uniform(size=(40, 2))), 5, None, 0) == []
    (chosen,) = warnings_on_groups(square, 1, choose_components(square, AUTO, 0), 0)
    assert "`components=K`" in chosen


@pytest.mark.parametrize(
    ("text", "expected"), [("auto", ComponentRange()), ("2:20", ComponentRange(2, 20)), ("5", None), ("2-20", None)]
)
def test_a_range_is_read_from_text(text, expected):
    assert ComponentRange.from_text(text) == expected


@pytest.mark.parametrize("text", ["20:2", "0:5"])
def test_a_range_that_goes_down_is_refused(text):
    with pytest.raises(UsageError, match="must go up from at least 1"):
        ComponentRange.from_text(text)


def test_auto_leaves_five_rows_per_cluster():
    assert AUTO.limits(100) == (1, 20)
    assert AUTO.limits(100_000) == (1, 60)
