from .cluster_latents import (
    ClusterLatents as ClusterLatents,
    draw_latents as draw_latents,
    generate_means as generate_means,
    rows_to_fit as rows_to_fit,
)
from .fully_connected import mlp as mlp
from .gaussian_mixture import GaussianMixture as GaussianMixture
from .likelihood_choice import check_likelihood_name as check_likelihood_name
from .likelihoods import Composite as Composite
from .mixture_options import MixtureOptions as MixtureOptions
from .mixture_vae import INITIAL_LOG_VAR as INITIAL_LOG_VAR, MIN_SCALE as MIN_SCALE, MixtureVAE as MixtureVAE
from .network_options import (
    SMALL_TRUNK as SMALL_TRUNK,
    NetworkOptions as NetworkOptions,
    check_hidden as check_hidden,
    check_widths as check_widths,
    trunk_widths as trunk_widths,
)
from .objective import MOST_VOTING_ROWS as MOST_VOTING_ROWS, ObjectiveOptions as ObjectiveOptions
from .recipe import Recipe as Recipe
from .trunk_encoder import TrunkEncoder as TrunkEncoder
