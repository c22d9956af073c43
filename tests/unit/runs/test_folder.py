from __future__ import annotations

import json

import pytest
import torch

from deepmix.data import write_atomically
from deepmix.errors import DeepmixError
from deepmix.runs import RunFolder, fresh_path


def test_tensors_and_header_come_back(tmp_path):
    folder = RunFolder(tmp_path)
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}
    folder.write_tensors("model.safetensors", tensors, {"epoch": 4})
    read, meta = folder.read_tensors("model.safetensors")
    assert meta == {"epoch": 4}
    assert torch.equal(read["a"], tensors["a"])
    assert torch.equal(read["b"], tensors["b"])


def test_damaged_and_missing_tensors_are_errors(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(DeepmixError, match="is missing"):
        folder.read_tensors("model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(DeepmixError, match="is damaged"):
        folder.read_tensors("model.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_atomically(path, b"old")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_epochs_beyond_the_checkpoint_are_cut(tmp_path):
    folder = RunFolder(tmp_path)
    for epoch in range(4):
        folder.append_line({"epoch": epoch})
    folder.keep_epochs(2)
    assert [json.loads(line)["epoch"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [0, 1]


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunFolder(tmp_path).write_json("metrics.json", {"acc": float("nan")})


def test_fresh_paths_count_up(tmp_path):
    assert fresh_path(tmp_path, "digits") == tmp_path / "digits-1"
    (tmp_path / "digits-1").mkdir()
    assert fresh_path(tmp_path, "digits") == tmp_path / "digits-2"
