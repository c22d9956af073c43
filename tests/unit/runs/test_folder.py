from __future__ import annotations

import json

import pytest
import torch

from deepmix.errors import DeepmixError, UsageError
from deepmix.runs import RunFolder, fresh_path, write_atomically


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


def test_overwriting_needs_a_run_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(UsageError, match="no run folder"):
        RunFolder.create(tmp_path / "mine", overwrite=True)
    run = RunFolder.create(tmp_path / "run", overwrite=False)
    run.write_json("config.json", {"environment": {"deepmix": "0.1.0"}})
    with pytest.raises(UsageError, match="exists"):
        RunFolder.create(tmp_path / "run", overwrite=False)
    assert list(RunFolder.create(tmp_path / "run", overwrite=True).path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
def test_a_project_that_only_looks_like_a_run_is_not_overwritten(tmp_path, name):
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / name).write_text('{"my": 1}')
    (project / "src" / "thesis.txt").write_text("all my work")
    with pytest.raises(UsageError, match="'src'"):
        RunFolder.create(project, overwrite=True)
    assert (project / "src" / "thesis.txt").read_text() == "all my work"


def test_fresh_paths_count_up(tmp_path):
    assert fresh_path(tmp_path, "digits") == tmp_path / "digits-1"
    (tmp_path / "digits-1").mkdir()
    assert fresh_path(tmp_path, "digits") == tmp_path / "digits-2"
