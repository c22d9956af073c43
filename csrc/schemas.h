// Arguments and results of the operators that have a gradient.
#pragma once

#define DEEPMIX_MIXTURE                                                                    \
  "Tensor z, Tensor mean, Tensor log_var, Tensor? prior_mean, Tensor? prior_log_var, "     \
  "Tensor log_weight, Tensor? log_likelihood"
#define DEEPMIX_SAMPLED                                                                    \
  "Tensor noise, Tensor mean, Tensor log_var, Tensor? prior_mean, Tensor? prior_log_var, " \
  "Tensor log_weight"
#define DEEPMIX_SWITCHES "bool use_posterior, bool product"
#define DEEPMIX_COMPONENTS "Tensor z, Tensor mean, Tensor spread, Tensor log_weight"
#define DEEPMIX_KL "Tensor mean, Tensor log_var, Tensor? prior_mean, Tensor? prior_log_var"

#define DEEPMIX_MIXTURE_POSTERIOR "(" DEEPMIX_MIXTURE ", " DEEPMIX_SWITCHES ") -> (Tensor, Tensor)"
#define DEEPMIX_SAMPLED_MIXTURE_POSTERIOR "(" DEEPMIX_SAMPLED ", " DEEPMIX_SWITCHES ") -> (Tensor, Tensor, Tensor)"
#define DEEPMIX_COMPONENT_LOG_PROB "(" DEEPMIX_COMPONENTS ") -> (Tensor, Tensor, Tensor)"
#define DEEPMIX_COMPONENT_KL "(" DEEPMIX_KL ") -> Tensor"
