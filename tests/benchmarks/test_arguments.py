"""Wrong arguments of the programs in `benchmarks/` end them with a sentence."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from arguments import checkout_folder, existing_file, positive


def test_right_arguments_are_read(tmp_path):
    (tmp_path / "suite.npz").touch()
    assert existing_file(str(tmp_path / "suite.npz")) == tmp_path / "suite.npz"
    assert positive("12") == 12
    assert checkout_folder(str(Path(__file__).parents[2])) == Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (existing_file, "nothing.npz", "'nothing.npz' is not a file; check the path"),
        (positive, "0", "must be a whole number of at least 1, got '0'"),
        (positive, "-3", "must be a whole number of at least 1, got '-3'"),
        (positive, "two", "must be a whole number of at least 1, got 'two'"),
        (checkout_folder, "nowhere", "'nowhere' is not a checkout of deepmix"),
    ],
)
def test_wrong_arguments_are_refused(read, text, message, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--value", type=read)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args([f"--value={text}"])
    assert f"error: argument --value: {message}" in capsys.readouterr().err
