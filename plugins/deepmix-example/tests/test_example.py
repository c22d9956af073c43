from __future__ import annotations

from deepmix_example import RingPrior, make_birch

from deepmix.testing import check_head, check_prior


def test_ring_prior_keeps_its_contract():
    check_prior(RingPrior)


def test_birch_keeps_its_contract():
    check_head(make_birch)
