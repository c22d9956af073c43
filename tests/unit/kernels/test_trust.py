"""A cached library is loaded only if nobody but this user, or root, can have written it, and no byte has changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from deepmix.errors import DeepmixError
from deepmix.kernels import loader
from deepmix.kernels.trust import is_own_file, why_untrusted

CONTENT = b"a library"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a library in the cache, whole and safe; nothing can be compiled."""
    monkeypatch.setattr(loader, "why_no_compiler", lambda: "no compiler")
    folder = tmp_path / "kernels" / "deepmix-0"
    folder.mkdir(parents=True, mode=0o700)
    path = folder / "_ops.so"
    path.write_bytes(CONTENT)
    path.chmod(0o700)
    path.with_suffix(".ready").write_text(hashlib.sha256(CONTENT).hexdigest())
    return path


def load(library: Path) -> bytes:
    content: bytes = loader._load_or_compile(library, Path.read_bytes, [], with_cuda=False)
    return content


def test_an_own_library_is_loaded(library):
    assert why_untrusted(library.parent) is None
    assert load(library) == CONTENT


@pytest.mark.parametrize("place", ["kernels", "kernels/deepmix-0"])
@pytest.mark.parametrize("mode", [0o777, 0o707])
def test_a_folder_that_others_can_write_is_refused(library, tmp_path, place, mode):
    (tmp_path / place).chmod(mode)
    with pytest.raises(DeepmixError, match=f"'{tmp_path / place}' can be written by other users; set TORCH_EXT"):
        load(library)


def test_a_folder_that_a_shared_group_can_write_is_refused(library, monkeypatch):
    library.parent.chmod(0o770)
    group = library.parent.stat().st_gid
    monkeypatch.setattr(os, "getegid", lambda: group + 1)
    with pytest.raises(DeepmixError, match="can be written by other users"):
        load(library)


def test_a_sticky_folder_above_may_be_written_by_all(library, tmp_path):
    (tmp_path / "kernels").chmod(0o1777)
    assert load(library) == CONTENT


@pytest.mark.parametrize("part", ["folder", "library"])
def test_what_belongs_to_another_user_is_refused(library, monkeypatch, part):
    owner = library.stat().st_uid
    real = Path.lstat
    other = library if part == "library" else library.parent

    class Planted:
        def __init__(self, status: os.stat_result) -> None:
            self.st_mode, self.st_gid, self.st_uid = status.st_mode, status.st_gid, owner + 4711

    monkeypatch.setattr(Path, "lstat", lambda path: Planted(real(path)) if path == other else real(path))
    expected = "no compiler" if part == "library" else rf"belongs to another user \(number {owner + 4711}\)"
    with pytest.raises(DeepmixError, match=expected):
        load(library)


def test_a_link_in_place_of_the_folder_is_refused(library, tmp_path):
    (tmp_path / "link").symlink_to(library.parent)
    with pytest.raises(DeepmixError, match="is a link"):
        load(tmp_path / "link" / "_ops.so")


@pytest.mark.parametrize(
    "content", [CONTENT[:-1], b"", CONTENT + b"1", b"A library"], ids=["cut", "empty", "long", "bit"]
)
def test_a_library_whose_bytes_changed_is_not_loaded(library, content):
    library.write_bytes(content)
    with pytest.raises(DeepmixError, match="no compiler"):
        load(library)


def test_a_missing_folder_is_as_safe_as_those_above_it(tmp_path):
    assert why_untrusted(tmp_path / "new" / "deepmix-0") is None
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert "can be written by other users" in str(why_untrusted(tmp_path / "open" / "new" / "deepmix-0"))
    assert not is_own_file(tmp_path / "absent.so")
