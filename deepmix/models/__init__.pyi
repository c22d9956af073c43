from .likelihood_choice import check_likelihood_name as check_likelihood_name
from .likelihoods import Composite as Composite
from .mixture_options import MixtureOptions as MixtureOptions
from .mixture_vae import INITIAL_LOG_VAR as INITIAL_LOG_VAR, MIN_SCALE as MIN_SCALE, MixtureVAE as MixtureVAE
from .objective import ObjectiveOptions as ObjectiveOptions
from .recipe import Recipe as Recipe
