from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from deepmix.data.stored_texts import StoredTexts, TextsWriter, has_texts


def test_texts_are_read_as_they_were_written(tmp_path):
    texts = np.array(["a", "", "Müller", "line\nbreak", "\ud800", "数字", "last"])
    assert not has_texts(tmp_path)
    with ExitStack() as stack:
        writer = TextsWriter(stack, tmp_path)
        writer.add(texts[:3].tolist())
        writer.add([])
        writer.add(texts[3:].tolist())
    assert has_texts(tmp_path)
    stored = StoredTexts(tmp_path)
    assert len(stored) == 7
    for numbers in (np.arange(7), np.array([0]), np.array([2, 3, 6]), np.array([5, 1]), np.arange(0)):
        assert stored[numbers].tolist() == texts[numbers].tolist()
