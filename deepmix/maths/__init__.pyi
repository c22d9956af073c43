from . import em as em, em_gaps as em_gaps, formulas as formulas
from .em import MixtureStatistics as MixtureStatistics
from .formulas import (
    component_kl as component_kl,
    gaussian_entropy as gaussian_entropy,
    gaussian_log_prob as gaussian_log_prob,
    jensen_shannon as jensen_shannon,
    normalize_log as normalize_log,
    reparameterise as reparameterise,
)
from .mixture import (
    assignment_weights as assignment_weights,
    at_least_float32 as at_least_float32,
    categorical_kl as categorical_kl,
    cluster_moments as cluster_moments,
    draw_component as draw_component,
    drop_negligible as drop_negligible,
    neighbour_votes as neighbour_votes,
    one_hot_like as one_hot_like,
    weighted_mean_and_spread as weighted_mean_and_spread,
    without_noise as without_noise,
)
from .seeded import seeded_draws as seeded_draws
from .threads import (
    compute_alone_after_fork as compute_alone_after_fork,
    own_threads as own_threads,
    single_blas_thread as single_blas_thread,
)
from .values import (
    Array as Array,
    Dims as Dims,
    Gaussian as Gaussian,
    Inference as Inference,
    Latents as Latents,
    MixtureParameters as MixtureParameters,
    Responsibilities as Responsibilities,
)
