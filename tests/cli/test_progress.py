from __future__ import annotations

from deepmix.cli.progress import epoch_text
from deepmix.runs import EpochRecord

ROW = EpochRecord(
    stage="train",
    epoch=3,
    elbo=-21.5,
    terms={"reconstruction": -18.25, "tie_strength": 0.5},
    clusters_in_use=7,
    lr=0.1,
    seconds=1.0,
)


def test_the_line_of_an_epoch_has_as_many_terms_as_there_is_room_for():
    whole = "ELBO -21.50  7 clusters  reconstruction -18.25  tie strength 0.50"
    assert epoch_text(ROW) == whole
    assert epoch_text(ROW, room=len(whole)) == whole
    assert epoch_text(ROW, room=len(whole) - 1) == "ELBO -21.50  7 clusters  reconstruction -18.25"
    assert epoch_text(ROW, room=0) == "ELBO -21.50  7 clusters"


def test_the_line_of_a_pretraining_epoch_is_its_log_likelihood():
    assert epoch_text(EpochRecord(stage="pretrain", epoch=1, elbo=-3.0, lr=0.1, seconds=1.0)) == "ELBO -3.00"
