"""The grid: every mixture of VAEs in the papers is a recipe of a few lines."""

from __future__ import annotations

from dataclasses import replace

from deepmix.models import MixtureOptions, ObjectiveOptions, Recipe

SUPPLEMENT_BETA = 0.3
"""The supplement's best beta with soft assignment on Digits and USPS (Tables 3 and 5), mid-way in its grid 0.1-0.5."""


GRAPH_WEIGHT = 10.0
"""Of 0, 1, 3, 10 and 30, it gave the largest training ELBO on Digits, unanchored, from both k-means and GMM starts."""


VAE = Recipe(
    "plain VAE, one component; cluster its latents with a head",
    posterior="prior",
    prior="standard",
    encoder_heads="one",
    single_component=True,
)


AE = replace(
    VAE,
    summary="plain autoencoder, one component; with --head gmm it is VaDE's AE+GMM",
    options=MixtureOptions(noise=False),
)


VADE = Recipe(
    "VaDE: one latent, mixture-of-Gaussians prior (Jiang et al. 2017)",
    posterior="prior",
    prior="mixture",
    encoder_heads="one",
)


VADE_CONV = replace(
    VADE,
    summary="VaDE with convolutions, for images (VaDE conv project)",
    encoder="conv",
    decoder="conv",
)


DGG = replace(
    VADE,
    summary="DGG: VaDE whose q(y|x) is pulled together along a neighbour graph (Yang et al. 2019)",
    options=MixtureOptions(graph_weight=GRAPH_WEIGHT),
)


K_DVAE = Recipe(
    "k-DVAE: K whole autoencoders, hard assignment (Caciularu & Goldberger)",
    posterior="k-dvae",
    prior="standard",
    encoder_heads="per-component",
    encoder="grouped-mlp",
    decoder="grouped-mlp",
    options=MixtureOptions(assignment="hard"),
)


K_DVAE_PAPER = replace(
    K_DVAE,
    summary="k-DVAE as its paper trains it: k-means on a VaDE's latents, then eq. 6 unanchored",
    init="vade",
    objective=ObjectiveOptions(anchor=0.0),
)


K_DVAE_SHARED = replace(
    K_DVAE,
    summary="the supplement's k-DVAE: K heads on one trunk, one decoder, hard assignment",
    encoder="mlp",
    decoder="mlp",
)


K_DAE = replace(
    K_DVAE,
    summary="k-DAE: k-DVAE without noise and KL, K plain autoencoders (Opochinsky et al. 2020)",
    posterior="reconstruction",
    options=MixtureOptions(assignment="hard", noise=False),
    objective=ObjectiveOptions(anchor=0.0),
)


MVAE = Recipe(
    "MVAE: K heads, q(y|x) sees the reconstruction (supplement eq. 5)",
    posterior="joint",
    prior="mixture",
    encoder_heads="per-component",
)


MVAE_EMV1 = replace(MVAE, summary="MVAE(EM-V1): q(y|x) from the prior only (supplement eq. 10)", posterior="prior")


MVAE_EMV2 = replace(
    MVAE, summary="MVAE(EM-V2): q(y|x) from the ratio of prior to posterior (supplement eq. 15)", posterior="ratio"
)


BETA_MVAE_EMV2 = replace(
    MVAE_EMV2,
    summary="EM-V2 with its KL terms multiplied by beta = 0.3 (supplement section 7)",
    objective=ObjectiveOptions(beta=SUPPLEMENT_BETA),
)


SCHEDULED_BETA_MVAE_EMV2 = replace(
    MVAE_EMV2,
    summary="EM-V2 with beta raised linearly from 0.1 to 0.5, the supplement's range, over the first half",
    objective=ObjectiveOptions(beta=0.5, beta_start=0.1, beta_schedule="linear"),
)
