"""Schedules of beta by their values at known epochs, and the options that are refused."""

from __future__ import annotations

import pytest
from deepmix_builtins.models.grid import BETA_MVAE_EMV2, MVAE_EMV2, SCHEDULED_BETA_MVAE_EMV2

from deepmix.errors import UsageError
from deepmix.models import ObjectiveOptions
from deepmix.models.objective import MOST_GROWTH, scheduled_weight

LINEAR_10 = [0.1, 0.18, 0.26, 0.34, 0.42, 0.5, 0.5, 0.5, 0.5, 0.5]


CYCLE_4 = [0.1, 0.3, 0.5, 0.5]


@pytest.mark.parametrize(
    ("name", "n_epochs", "expected"),
    [
        ("constant", 3, [0.5, 0.5, 0.5]),
        ("linear", 10, LINEAR_10),
        ("linear", 5, [0.1, 0.26, 0.42, 0.5, 0.5]),
        ("linear", 1, [0.1]),
        ("cyclical", 16, CYCLE_4 * 4),
        ("cyclical", 8, [0.1, 0.5] * 4),
        ("decay", 10, [0.5, 0.42, 0.34, 0.26, 0.18, 0.1, 0.1, 0.1, 0.1, 0.1]),
    ],
)
def test_weight_of_every_epoch(name: str, n_epochs: int, expected: list[float]) -> None:
    weights = [scheduled_weight(name, 0.1, 0.5, epoch, n_epochs) for epoch in range(n_epochs)]
    assert weights == pytest.approx(expected, rel=1e-12)


def test_beta_at_reads_the_options() -> None:
    options = ObjectiveOptions(beta=0.5, beta_start=0.1, beta_schedule="linear")
    assert [options.beta_at(epoch, 10) for epoch in range(10)] == pytest.approx(LINEAR_10, rel=1e-12)


def test_the_default_is_the_plain_bound() -> None:
    assert [ObjectiveOptions().beta_at(epoch, 4) for epoch in range(4)] == [1.0] * 4


def test_a_scheduled_beta_starts_from_zero_unless_set() -> None:
    assert ObjectiveOptions(beta_schedule="linear").beta_at(0, 10) == 0.0
    assert ObjectiveOptions(beta_schedule="decay").beta_at(9, 10) == 0.0


def test_recipes_weigh_the_kl_terms_as_the_supplement_says() -> None:
    epochs = range(10)
    assert [MVAE_EMV2.objective.beta_at(epoch, 10) for epoch in epochs] == [1.0] * 10
    assert [BETA_MVAE_EMV2.objective.beta_at(epoch, 10) for epoch in epochs] == [0.3] * 10
    scheduled = [SCHEDULED_BETA_MVAE_EMV2.objective.beta_at(epoch, 10) for epoch in epochs]
    assert scheduled == pytest.approx(LINEAR_10, rel=1e-12)


@pytest.mark.parametrize("name", ["beta", "beta_start", "anchor"])
def test_negative_weights_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} must be at least 0 and finite, got -0\.5$"):
        ObjectiveOptions(**{name: -0.5})


@pytest.mark.parametrize("name", ["beta", "beta_start", "anchor"])
def test_weights_of_zero_are_allowed(name: str) -> None:
    assert getattr(ObjectiveOptions(**{name: 0.0}), name) == 0.0


@pytest.mark.parametrize("name", ["hold", "may_leave"])
@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_fractions_outside_zero_to_one_are_refused(name: str, fraction: float) -> None:
    with pytest.raises(UsageError, match=rf"^{name} must be between 0 and 1, got {fraction}$"):
        ObjectiveOptions(**{name: fraction})


def test_a_negative_number_of_neighbours_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^anchor_neighbours must be at least 0, got -1$"):
        ObjectiveOptions(anchor_neighbours=-1)


def test_the_anchor_grows_only_after_hold_and_while_too_many_rows_leave() -> None:
    options = ObjectiveOptions(hold=0.25, may_leave=0.02)
    assert [options.anchor_growth(0.5, epoch, 8) for epoch in (0, 1)] == [1.0, 1.0]
    assert options.anchor_growth(0.5, 2, 8) == pytest.approx(MOST_GROWTH ** (1 / 8))
    assert options.anchor_growth(0.021, 7, 8) ** 8 == pytest.approx(MOST_GROWTH)
    assert options.anchor_growth(0.02, 7, 8) == 1.0
    assert ObjectiveOptions(may_leave=1.0).anchor_growth(1.0, 7, 8) == 1.0


@pytest.mark.parametrize("hold", [0.0, 1.0])
def test_hold_may_be_never_or_always(hold: float) -> None:
    assert ObjectiveOptions(hold=hold).hold == hold
