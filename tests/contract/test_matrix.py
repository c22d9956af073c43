"""Parts of every kind fit together, or a sentence says why they do not."""

from __future__ import annotations

from tests.contract.matrix import attempt, names, sample


def test_a_sample_of_all_combinations_is_a_run_or_a_sentence(tmp_path):
    cells = [attempt(cell, tmp_path) for cell in sample()]
    assert [cell.model for cell in cells] == names("models")
    finished = {cell.model: cell for cell in cells if cell.sentence is None}
    assert {"mvae-emv2", "vade", "k-dvae", "gmvae"} & set(finished)
    for cell in cells:
        assert cell.is_sentence, cell.sentence
        assert cell.failed_heads == ()
        if cell.sentence is not None:
            reasons = (
                "has its own prior",
                f"likelihood '{cell.likelihood}'",
                f"head '{cell.heads[0]}'",
                "'likelihood'",
                "this encoder is for images",
            )
            assert any(reason in cell.sentence for reason in reasons), cell.sentence
