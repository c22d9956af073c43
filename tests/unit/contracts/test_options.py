"""Reading `--set key=value` into typed options, and the errors that name the cause and the cure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from deepmix.contracts import build_options, describe, parse_assignments
from deepmix.contracts.options import convert, type_name
from deepmix.errors import DeepmixError, UsageError
from deepmix.experiment.component_range import ComponentRange


@dataclass(frozen=True)
class Alpha:
    width: int = field(default=3, metadata={"help": "how wide"})
    rate: float = 0.5
    mode: Literal["slow", "fast"] = "slow"
    limit: int | None = None
    name: str = "a"


@dataclass(frozen=True)
class Beta:
    width: int = 7
    on: bool = False

    def __post_init__(self) -> None:
        if self.width < 0:
            raise UsageError(f"width must be at least 0, got {self.width}")


DEFAULTS = {"alpha": Alpha(), "beta": Beta()}


def test_assignments_are_read_in_order_and_stripped() -> None:
    assert parse_assignments(("a=1", " b = two ", "c=x=y", "d=")) == {"a": "1", "b": "two", "c": "x=y", "d": ""}


def test_of_two_assignments_to_one_key_the_last_counts() -> None:
    assert parse_assignments(("a=1", "a=2")) == {"a": "2"}


@pytest.mark.parametrize("pair", ["width", "=3", ""])
def test_an_assignment_without_key_or_equals_sign_is_refused(pair: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_assignments((pair,))
    assert str(caught.value) == f"set takes key=value, got '{pair}'"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ("7", int, 7),
        ("-7", int, -7),
        ("0.25", float, 0.25),
        ("1e-3", float, 1e-3),
        ("2", float, 2.0),
        ("true", bool, True),
        ("FALSE", bool, False),
        ("500-500", str, "500-500"),
        ("fast", Literal["slow", "fast"], "fast"),
        ("fast", Literal["slow", "fast"] | None, "fast"),
        ("auto", Literal["slow", "fast"] | None, None),
        ("5", int | None, 5),
        ("none", int | None, None),
        ("Auto", int | None, None),
        ("none", str, "none"),
    ],
)
def test_values_take_the_annotated_type(value: str, hint: Any, expected: object) -> None:
    actual = convert("key", value, hint)
    assert actual == expected
    assert type(actual) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ("seven", int, "key must be a whole number, got 'seven'"),
        ("2.5", int, "key must be a whole number, got '2.5'"),
        ("", int, "key must be a whole number, got ''"),
        ("x", int | None, "key must be a whole number, got 'x'"),
        ("much", float, "key must be a number, got 'much'"),
        ("yes", bool, "key must be true or false, got 'yes'"),
        ("1", bool, "key must be true or false, got '1'"),
        ("none", bool, "key must be true or false, got 'none'"),
        ("medium", Literal["slow", "fast"], "unknown key 'medium'; choose one of: fast, slow"),
        ("medium", Literal["slow", "fast"] | None, "unknown key 'medium'; choose one of: fast, slow"),
        ("Fast", Literal["slow", "fast"], "unknown key 'Fast'; choose one of: fast, slow"),
    ],
)
def test_values_of_the_wrong_type_are_refused(value: str, hint: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        convert("key", value, hint)
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


def test_settings_reach_the_part_that_has_the_key() -> None:
    settings = {"rate": "0.1", "mode": "fast", "limit": "4", "on": "true"}
    actual = build_options(DEFAULTS, settings)
    assert actual == {"alpha": Alpha(rate=0.1, mode="fast", limit=4), "beta": Beta(on=True)}
    assert {"alpha": Alpha(), "beta": Beta()} == DEFAULTS


def test_no_settings_leave_the_defaults() -> None:
    assert build_options(DEFAULTS, {}) == DEFAULTS


def test_changes_start_from_the_given_instance_not_the_class_defaults() -> None:
    assert build_options({"alpha": Alpha(width=11)}, {"rate": "1"}) == {"alpha": Alpha(width=11, rate=1.0)}


def test_a_key_of_two_parts_is_ambiguous_and_the_message_names_both() -> None:
    with pytest.raises(UsageError) as caught:
        build_options(DEFAULTS, {"width": "4"})
    assert str(caught.value) == "option 'width' belongs to several parts; write alpha.width or beta.width"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("alpha.width", {"alpha": Alpha(width=4), "beta": Beta()}),
        ("beta.width", {"alpha": Alpha(), "beta": Beta(width=4)}),
    ],
)
def test_a_part_before_the_key_settles_it(key: str, expected: dict[str, Any]) -> None:
    assert build_options(DEFAULTS, {key: "4"}) == expected


def test_parts_whose_name_has_a_dot_are_reached() -> None:
    defaults = {"head.one": Alpha(), "head.two": Alpha()}
    assert build_options(defaults, {"head.two.width": "9"}) == {"head.one": Alpha(), "head.two": Alpha(width=9)}


@pytest.mark.parametrize("key", ["witdh", "gamma.width", "beta.rate", ""])
def test_unknown_keys_list_what_there_is(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_options(DEFAULTS, {key: "1"})
    expected = f"unknown option '{key}'; choose one of: limit, mode, name, on, rate, width"
    assert str(caught.value) == expected
    assert caught.value.exit_code == 2


def test_a_value_that_does_not_fit_is_named_as_it_was_written() -> None:
    with pytest.raises(UsageError, match=r"^alpha\.width must be a whole number, got 'x'$"):
        build_options(DEFAULTS, {"alpha.width": "x"})


def test_an_options_class_may_refuse_a_value_itself() -> None:
    with pytest.raises(UsageError, match=r"^beta\.width must be at least 0, got -1$") as caught:
        build_options(DEFAULTS, {"beta.width": "-1"})
    assert caught.value.spelled(lambda name, value: f"<{name}>") == "<beta.width> must be at least 0, got -1"
    with pytest.raises(UsageError, match=r"^width must be at least 0, got -1$"):
        build_options({"beta": Beta()}, {"width": "-1"})


@pytest.mark.parametrize(("value", "kind"), [("x", int), ("x", bool), ("9" * 19, int)])
def test_each_face_spells_the_option_whose_value_does_not_fit(value, kind) -> None:
    with pytest.raises(UsageError) as caught:
        convert("width", value, kind)
    assert caught.value.spelled(lambda name, _: f"<{name}>").startswith("<width> must be ")


def test_describe_gives_name_type_default_and_help() -> None:
    assert describe(Alpha(rate=0.25)) == [
        ("width", "a whole number", "3", "how wide"),
        ("rate", "a number", "0.25", ""),
        ("mode", "slow|fast", "slow", ""),
        ("limit", "a whole number or auto", "auto", ""),
        ("name", "text", "a", ""),
    ]


def test_type_name_of_truth_values_shows_what_to_write() -> None:
    assert type_name(bool) == "true|false"


def test_a_type_that_reads_auto_itself_is_named_once() -> None:
    assert type_name(int | ComponentRange | None) == "a whole number, auto or a range such as 2:20"
    assert type_name(int | float | None) == "a whole number, a number or auto"
    with pytest.raises(UsageError, match=r"^k must be a whole number, auto or a range such as 2:20, got 'x'$"):
        convert("k", "x", int | ComponentRange | None)


def test_exit_codes_tell_usage_from_failure() -> None:
    assert DeepmixError.exit_code == 1
    assert UsageError.exit_code == 2
    assert issubclass(UsageError, DeepmixError)
