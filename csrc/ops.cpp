// Defines the operators' schemas through LibTorch's stable ABI, so one binary works with every later torch.
// The Python package registers the fakes, gradients and batching rules. A backward operator's arguments are the forward
// one's tensors, its result that was saved, its switches, the upstream gradients, and `needed`, whose bit i says whether
// the i-th gradient is computed; one that is not has no elements. Rows (z or noise, mean and log_var of each row) may be
// bfloat16, and so are z, where it is a result, and their gradients; everything else is float32 then.
#include <torch/csrc/stable/library.h>

#include "built_from.h"
#include "schemas.h"

#define DEEPMIX_COMPONENTS_BACKWARD \
  DEEPMIX_COMPONENTS ", Tensor log_q, Tensor? by_log_prob, Tensor? by_log_q, Tensor? by_log_normalizer, int needed"

STABLE_TORCH_LIBRARY(deepmix, library) {
  library.def("mixture_posterior" DEEPMIX_MIXTURE_POSTERIOR);
  library.def("mixture_posterior_backward(" DEEPMIX_MIXTURE
              ", Tensor log_q, " DEEPMIX_SWITCHES ", Tensor? by_log_q, Tensor? by_log_normalizer, int needed) "
              "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  library.def("sampled_mixture_posterior" DEEPMIX_SAMPLED_MIXTURE_POSTERIOR);
  library.def("sampled_mixture_posterior_backward(" DEEPMIX_SAMPLED
              ", Tensor log_q, " DEEPMIX_SWITCHES
              ", Tensor? by_z, Tensor? by_log_q, Tensor? by_log_normalizer, int needed) "
              "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  library.def("component_log_prob" DEEPMIX_COMPONENT_LOG_PROB);
  library.def("component_log_prob_backward(" DEEPMIX_COMPONENTS_BACKWARD ") -> (Tensor, Tensor, Tensor, Tensor)");
  library.def("component_log_prob_full" DEEPMIX_COMPONENT_LOG_PROB);
  library.def("component_log_prob_full_backward(" DEEPMIX_COMPONENTS_BACKWARD ") -> (Tensor, Tensor, Tensor, Tensor)");
  library.def("mixture_statistics(" DEEPMIX_COMPONENTS ", Tensor? row_weight, float log_noise) "
              "-> (Tensor, Tensor, Tensor, Tensor)");
  library.def("component_kl" DEEPMIX_COMPONENT_KL);
  library.def("component_kl_backward(" DEEPMIX_KL ", Tensor by_kl, int needed) -> (Tensor, Tensor, Tensor, Tensor)");
}
