// Turns torch's tensors into the kernels' arguments, allocates the results and calls a device's entry points. `Device`
// is a type with static functions like those of cpu/run.h.
#pragma once

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "tensors.h"

namespace deepmix {

struct MixtureTensors {
  int64_t L, N, H, K, M;
  bool is_drawn;
  Input source, mean, log_var, prior_mean, prior_log_var, log_weight, log_likelihood;

  /// `source` is z, or the noise from which the kernel draws z.
  MixtureTensors(const Tensor& source_LNHM, const MaybeTensor& mean_NHM, const MaybeTensor& log_var_NHM,
                 const MaybeTensor& prior_mean_KM, const MaybeTensor& prior_log_var_KM, const Tensor& log_weight_K,
                 const MaybeTensor& log_likelihood_LNK, bool is_drawn = false)
      : L(source_LNHM.size(0)), N(source_LNHM.size(1)), H(source_LNHM.size(2)), K(log_weight_K.size(0)),
        M(source_LNHM.size(3)), is_drawn(is_drawn),
        source(is_drawn ? "the noise" : "z", source_LNHM, {L, N, H, M}, source_LNHM, Content::ROWS),
        mean("the posterior's mean", mean_NHM, {N, H, M}, source_LNHM, Content::ROWS),
        log_var("the posterior's log-variance", log_var_NHM, {N, H, M}, source_LNHM, Content::ROWS),
        prior_mean("the prior's mean", prior_mean_KM, {K, M}, source_LNHM),
        prior_log_var("the prior's log-variance", prior_log_var_KM, {K, M}, source_LNHM),
        log_weight("the log-weight", log_weight_K, {K}, source_LNHM),
        log_likelihood("the log-likelihood", log_likelihood_LNK, {L, N, K}, source_LNHM) {
    check(H == 1 || H == K, "deepmix: z needs one head, or one head per component");
    check(L >= 1 && K >= 1 && M >= 1,
                    "deepmix: there must be at least one sample, one component and one latent dimension");
    check(prior_mean_KM.has_value() == prior_log_var_KM.has_value(),
                    "deepmix: the prior needs both a mean and a log-variance, or neither");
  }

  template <class R>
  MixtureInputs<R> get(bool use_posterior, bool product) const {
    using T = Computed<R>;
    return {L, N, H, K, M, use_posterior, product, source.get<R>(), mean.get<R>(), log_var.get<R>(),
            prior_mean.get<T>(), prior_log_var.get<T>(), log_weight.get<T>(), log_likelihood.get<T>(), is_drawn};
  }
};

/// The results that mixture_posterior and sampled_mixture_posterior share.
struct MixtureResults {
  Tensor log_q, log_normalizer;

  MixtureResults(const Tensor& like, const MixtureTensors& in)
      : log_q(allocate(like, {in.N, in.K})), log_normalizer(allocate(like, {in.N})) {}

  template <class R>
  MixtureOutputs<R> get(R* z = nullptr) const {
    return {data<Computed<R>>(log_q), data<Computed<R>>(log_normalizer), nullptr, z};
  }
};

/// The gradients that their backward operators share.
struct MixtureGradientResults {
  Gradient mean, log_var, prior_mean, prior_log_var, log_weight;

  MixtureGradientResults(const Tensor& like, const MixtureTensors& in, bool has_prior, Needed needed)
      : mean(like, {in.N, in.H, in.M}, needed[0], Content::ROWS),
        log_var(like, {in.N, in.H, in.M}, needed[1], Content::ROWS),
        prior_mean(like, {in.K, in.M}, has_prior && needed[2]),
        prior_log_var(like, {in.K, in.M}, has_prior && needed[3]), log_weight(like, {in.K}, needed[4]) {}

  template <class R, class T = Computed<R>>
  MixtureGradients<R> get(R* z = nullptr, T* log_likelihood = nullptr) const {
    return {z, mean.get<R>(), log_var.get<R>(), prior_mean.get<T>(), prior_log_var.get<T>(), log_weight.get<T>(),
            log_likelihood};
  }
};

/// q(y_k|x) is proportional to p(y_k) p(z_k|y_k) p(x|z_k) / q(z_k|y_k,x), where the log-likelihood and q(z_k|y_k,x) are
/// optional. Returns log q(y|x), (N, K), and the log normaliser, (N).
template <class Device>
std::tuple<Tensor, Tensor> mixture_posterior(const Tensor& z, const Tensor& mean, const Tensor& log_var,
                                             const MaybeTensor& prior_mean, const MaybeTensor& prior_log_var,
                                             const Tensor& log_weight, const MaybeTensor& log_likelihood,
                                             bool use_posterior, bool product) {
  check_rank("z", z, 4);
  check_rank("the log-weight", log_weight, 1);
  const MixtureTensors in(z, mean, log_var, prior_mean, prior_log_var, log_weight, log_likelihood);
  const MixtureResults out(z, in);
  with_rows(z, [&](auto row) {
    using R = decltype(row);
    Device::template mixture<R>(z, in.get<R>(use_posterior, product), out.get<R>());
  });
  return {out.log_q, out.log_normalizer};
}

/// Like mixture_posterior, but the kernel draws z = mean + exp(log_var / 2) noise (VaDE eq. 14) and returns it first.
template <class Device>
std::tuple<Tensor, Tensor, Tensor> sampled_mixture_posterior(
    const Tensor& noise, const Tensor& mean, const Tensor& log_var, const MaybeTensor& prior_mean,
    const MaybeTensor& prior_log_var, const Tensor& log_weight, bool use_posterior, bool product) {
  check_rank("the noise", noise, 4);
  check_rank("the log-weight", log_weight, 1);
  const MixtureTensors in(noise, mean, log_var, prior_mean, prior_log_var, log_weight, std::nullopt, true);
  const Tensor z = allocate(noise, {in.L, in.N, in.H, in.M}, true, Content::ROWS);
  const MixtureResults out(noise, in);
  with_rows(noise, [&](auto row) {
    using R = decltype(row);
    Device::template mixture<R>(noise, in.get<R>(use_posterior, product), out.get<R>(data<R>(z)));
  });
  return {z, out.log_q, out.log_normalizer};
}

/// The output log_q, which the forward operator saved, and the upstream gradients.
struct UpstreamTensors {
  Input by_log_prob, by_log_q, by_log_normalizer, log_q;

  UpstreamTensors(const Tensor& like, int64_t N, int64_t K, const Tensor& log_q_NK, const MaybeTensor& by_log_q_NK,
                  const MaybeTensor& by_log_normalizer_N, const MaybeTensor& by_log_prob_NK = std::nullopt)
      : by_log_prob("the gradient of log p(z|y)", by_log_prob_NK, {N, K}, like),
        by_log_q("the gradient of log q(y|x)", by_log_q_NK, {N, K}, like),
        by_log_normalizer("the gradient of the normaliser", by_log_normalizer_N, {N}, like),
        log_q("log q(y|x)", log_q_NK, {N, K}, like) {}

  template <class R, class T = Computed<R>>
  MixtureUpstream<R> get(const R* by_z = nullptr) const {
    return {by_log_prob.get<T>(), by_log_q.get<T>(), by_log_normalizer.get<T>(), log_q.get<T>(), by_z};
  }
};

template <class Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> mixture_posterior_backward(
    const Tensor& z, const Tensor& mean, const Tensor& log_var, const MaybeTensor& prior_mean,
    const MaybeTensor& prior_log_var, const Tensor& log_weight, const MaybeTensor& log_likelihood, const Tensor& log_q,
    bool use_posterior, bool product, const MaybeTensor& by_log_q, const MaybeTensor& by_log_normalizer,
    int64_t needed_bits) {
  check_rank("z", z, 4);
  check_rank("the log-weight", log_weight, 1);
  const MixtureTensors in(z, mean, log_var, prior_mean, prior_log_var, log_weight, log_likelihood);
  const UpstreamTensors up(z, in.N, in.K, log_q, by_log_q, by_log_normalizer);
  const Needed needed(needed_bits);
  const Gradient d_z(z, {in.L, in.N, in.H, in.M}, needed[0], Content::ROWS);
  const MixtureGradientResults d(z, in, prior_mean.has_value(), needed.after(1));
  const Gradient d_log_likelihood(z, {in.L, in.N, in.K}, log_likelihood.has_value() && needed[6]);
  with_rows(z, [&](auto row) {
    using R = decltype(row);
    Device::template mixture_backward<R>(z, in.get<R>(use_posterior, product), up.get<R>(),
                                         d.get<R>(d_z.get<R>(), d_log_likelihood.get<Computed<R>>()));
  });
  return {d_z.tensor,           d.mean.tensor,       d.log_var.tensor,         d.prior_mean.tensor,
          d.prior_log_var.tensor, d.log_weight.tensor, d_log_likelihood.tensor};
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> sampled_mixture_posterior_backward(
    const Tensor& noise, const Tensor& mean, const Tensor& log_var, const MaybeTensor& prior_mean,
    const MaybeTensor& prior_log_var, const Tensor& log_weight, const Tensor& log_q, bool use_posterior, bool product,
    const MaybeTensor& by_z_LNHM, const MaybeTensor& by_log_q, const MaybeTensor& by_log_normalizer,
    int64_t needed_bits) {
  check_rank("the noise", noise, 4);
  check_rank("the log-weight", log_weight, 1);
  const MixtureTensors in(noise, mean, log_var, prior_mean, prior_log_var, log_weight, std::nullopt, true);
  const UpstreamTensors up(noise, in.N, in.K, log_q, by_log_q, by_log_normalizer);
  const Input by_z("the gradient of z", by_z_LNHM, {in.L, in.N, in.H, in.M}, noise, Content::ROWS);
  const MixtureGradientResults d(noise, in, prior_mean.has_value(), Needed(needed_bits));
  with_rows(noise, [&](auto row) {
    using R = decltype(row);
    Device::template mixture_backward<R>(noise, in.get<R>(use_posterior, product), up.get<R>(by_z.get<R>()),
                                         d.get<R>());
  });
  return {d.mean.tensor, d.log_var.tensor, d.prior_mean.tensor, d.prior_log_var.tensor, d.log_weight.tensor};
}

/// Returns log N(z; mean_k, exp(log_var_k)), the log responsibilities log p(y_k|z), and log p(z) (VaDE eq. 16). This is
/// mixture_posterior with one shared latent and no q(z|y,x).
template <class Device>
std::tuple<Tensor, Tensor, Tensor> component_log_prob(const Tensor& z_NM, const Tensor& mean, const Tensor& log_var,
                                                      const Tensor& log_weight) {
  check_rank("z", z_NM, 2);
  check_rank("the log-weight", log_weight, 1);
  const Tensor z = torch::stable::reshape(z_NM, {1, z_NM.size(0), 1, z_NM.size(1)});
  const MixtureTensors in(z, std::nullopt, std::nullopt, mean, log_var, log_weight, std::nullopt);
  const Tensor log_prob = allocate(z, {in.N, in.K}), log_q = allocate(z, {in.N, in.K});
  const Tensor log_normalizer = allocate(z, {in.N});
  with_rows(z, [&](auto row) {
    using R = decltype(row);
    using T = Computed<R>;
    Device::template mixture<R>(z, in.get<R>(false, false),
                                {data<T>(log_q), data<T>(log_normalizer), data<T>(log_prob)});
  });
  return {log_prob, log_q, log_normalizer};
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> component_log_prob_backward(
    const Tensor& z_NM, const Tensor& mean, const Tensor& log_var, const Tensor& log_weight, const Tensor& log_q,
    const MaybeTensor& by_log_prob, const MaybeTensor& by_log_q, const MaybeTensor& by_log_normalizer,
    int64_t needed_bits) {
  check_rank("z", z_NM, 2);
  check_rank("the log-weight", log_weight, 1);
  const Tensor z = torch::stable::reshape(z_NM, {1, z_NM.size(0), 1, z_NM.size(1)});
  const MixtureTensors in(z, std::nullopt, std::nullopt, mean, log_var, log_weight, std::nullopt);
  const UpstreamTensors up(z, in.N, in.K, log_q, by_log_q, by_log_normalizer, by_log_prob);
  const Needed needed(needed_bits);
  const Gradient d_z(z, {in.N, in.M}, needed[0], Content::ROWS), d_mean(z, {in.K, in.M}, needed[1]);
  const Gradient d_log_var(z, {in.K, in.M}, needed[2]), d_log_weight(z, {in.K}, needed[3]);
  with_rows(z, [&](auto row) {
    using R = decltype(row);
    using T = Computed<R>;
    Device::template mixture_backward<R>(
        z, in.get<R>(false, false), up.get<R>(),
        {d_z.get<R>(), nullptr, nullptr, d_mean.get<T>(), d_log_var.get<T>(), d_log_weight.get<T>(), nullptr});
  });
  return {d_z.tensor, d_mean.tensor, d_log_var.tensor, d_log_weight.tensor};
}

struct FullTensors {
  int64_t N, K, M;
  Input z, mean, precision_cholesky, log_weight;

  FullTensors(const Tensor& z_NM, const Tensor& mean_KM, const Tensor& precision_cholesky_KMM,
              const Tensor& log_weight_K)
      : N(z_NM.size(0)), K(log_weight_K.size(0)), M(z_NM.size(1)),
        z("z", z_NM, {N, M}, z_NM),
        mean("the mean", mean_KM, {K, M}, z_NM),
        precision_cholesky("the precision's Cholesky factor", precision_cholesky_KMM, {K, M, M}, z_NM),
        log_weight("the log-weight", log_weight_K, {K}, z_NM) {
    check(K >= 1 && M >= 1, "deepmix: there must be at least one component and one latent dimension");
  }

  template <class T>
  FullInputs<T> get() const {
    return {N, K, M, z.get<T>(), mean.get<T>(), precision_cholesky.get<T>(), log_weight.get<T>()};
  }
};

/// Like component_log_prob, but component k has the covariance (A_k A_k^T)^-1.
template <class Device>
std::tuple<Tensor, Tensor, Tensor> component_log_prob_full(const Tensor& z, const Tensor& mean,
                                                           const Tensor& precision_cholesky,
                                                           const Tensor& log_weight) {
  check_rank("z", z, 2);
  check_rank("the log-weight", log_weight, 1);
  const FullTensors in(z, mean, precision_cholesky, log_weight);
  const Tensor log_prob = allocate(z, {in.N, in.K}), log_q = allocate(z, {in.N, in.K});
  const Tensor log_normalizer = allocate(z, {in.N});
  with_scalar(z, [&](auto scalar) {
    using T = decltype(scalar);
    Device::template full<T>(z, in.get<T>(), {data<T>(log_q), data<T>(log_normalizer), data<T>(log_prob)});
  });
  return {log_prob, log_q, log_normalizer};
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> component_log_prob_full_backward(
    const Tensor& z, const Tensor& mean, const Tensor& precision_cholesky, const Tensor& log_weight,
    const Tensor& log_q, const MaybeTensor& by_log_prob, const MaybeTensor& by_log_q,
    const MaybeTensor& by_log_normalizer, int64_t needed_bits) {
  check_rank("z", z, 2);
  check_rank("the log-weight", log_weight, 1);
  const FullTensors in(z, mean, precision_cholesky, log_weight);
  const UpstreamTensors up(z, in.N, in.K, log_q, by_log_q, by_log_normalizer, by_log_prob);
  const Needed needed(needed_bits);
  const Gradient d_z(z, {in.N, in.M}, needed[0]), d_mean(z, {in.K, in.M}, needed[1]);
  const Gradient d_cholesky(z, {in.K, in.M, in.M}, needed[2]), d_log_weight(z, {in.K}, needed[3]);
  with_scalar(z, [&](auto scalar) {
    using T = decltype(scalar);
    Device::template full_backward<T>(z, in.get<T>(), up.get<T>(),
                                      {d_z.get<T>(), d_mean.get<T>(), d_cholesky.get<T>(), d_log_weight.get<T>()});
  });
  return {d_z.tensor, d_mean.tensor, d_cholesky.tensor, d_log_weight.tensor};
}

struct KlTensors {
  int64_t N, H, M, K;
  Input mean, log_var, prior_mean, prior_log_var;

  KlTensors(const Tensor& mean_NHM, const Tensor& log_var_NHM, const MaybeTensor& prior_mean_KM,
            const MaybeTensor& prior_log_var_KM)
      : N(mean_NHM.size(0)), H(mean_NHM.size(1)), M(mean_NHM.size(2)),
        K(prior_mean_KM.has_value() ? prior_mean_KM->size(0) : H),
        mean("the posterior's mean", mean_NHM, {N, H, M}, mean_NHM, Content::ROWS),
        log_var("the posterior's log-variance", log_var_NHM, {N, H, M}, mean_NHM, Content::ROWS),
        prior_mean("the prior's mean", prior_mean_KM, {K, M}, mean_NHM),
        prior_log_var("the prior's log-variance", prior_log_var_KM, {K, M}, mean_NHM) {
    check(H == 1 || H == K, "deepmix: the posterior needs one head, or one head per component");
    check(K >= 1 && M >= 1, "deepmix: there must be at least one component and one latent dimension");
    check(prior_mean_KM.has_value() == prior_log_var_KM.has_value(),
                    "deepmix: the prior needs both a mean and a log-variance, or neither");
  }

  template <class R>
  KlInputs<R> get() const {
    using T = Computed<R>;
    return {N, H, K, M, mean.get<R>(), log_var.get<R>(), prior_mean.get<T>(), prior_log_var.get<T>()};
  }
};

/// KL(q(z|y_k,x) || p(z|y_k)) = 1/2 sum_m [log s_p - log s_q + (s_q + (mu_q - mu_p)^2) / s_p - 1], (N, K).
template <class Device>
Tensor component_kl(const Tensor& mean, const Tensor& log_var, const MaybeTensor& prior_mean,
                    const MaybeTensor& prior_log_var) {
  check_rank("the posterior's mean", mean, 3);
  const KlTensors in(mean, log_var, prior_mean, prior_log_var);
  const Tensor result = allocate(mean, {in.N, in.K});
  with_rows(mean, [&](auto row) {
    using R = decltype(row);
    using T = Computed<R>;
    Device::template kl<R>(mean, in.get<R>(), data<T>(result));
  });
  return result;
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> component_kl_backward(const Tensor& mean, const Tensor& log_var,
                                                                 const MaybeTensor& prior_mean,
                                                                 const MaybeTensor& prior_log_var,
                                                                 const Tensor& by_kl_NK, int64_t needed_bits) {
  check_rank("the posterior's mean", mean, 3);
  const KlTensors in(mean, log_var, prior_mean, prior_log_var);
  const Input by_kl("the gradient of the KL", by_kl_NK, {in.N, in.K}, mean);
  const Needed needed(needed_bits);
  const bool has_prior = prior_mean.has_value();
  const Gradient d_mean(mean, {in.N, in.H, in.M}, needed[0], Content::ROWS);
  const Gradient d_log_var(mean, {in.N, in.H, in.M}, needed[1], Content::ROWS);
  const Gradient d_prior_mean(mean, {in.K, in.M}, has_prior && needed[2]);
  const Gradient d_prior_log_var(mean, {in.K, in.M}, has_prior && needed[3]);
  with_rows(mean, [&](auto row) {
    using R = decltype(row);
    using T = Computed<R>;
    Device::template kl_backward<R>(mean, in.get<R>(), by_kl.get<T>(),
                                    {d_mean.get<R>(), d_log_var.get<R>(), d_prior_mean.get<T>(),
                                     d_prior_log_var.get<T>()});
  });
  return {d_mean.tensor, d_log_var.tensor, d_prior_mean.tensor, d_prior_log_var.tensor};
}

/// Register every operator's implementation for one device.
template <class Device, class Library>
void implement(Library& library) {
  library.impl("mixture_posterior", TORCH_BOX(&mixture_posterior<Device>));
  library.impl("mixture_posterior_backward", TORCH_BOX(&mixture_posterior_backward<Device>));
  library.impl("sampled_mixture_posterior", TORCH_BOX(&sampled_mixture_posterior<Device>));
  library.impl("sampled_mixture_posterior_backward", TORCH_BOX(&sampled_mixture_posterior_backward<Device>));
  library.impl("component_log_prob", TORCH_BOX(&component_log_prob<Device>));
  library.impl("component_log_prob_backward", TORCH_BOX(&component_log_prob_backward<Device>));
  library.impl("component_log_prob_full", TORCH_BOX(&component_log_prob_full<Device>));
  library.impl("component_log_prob_full_backward", TORCH_BOX(&component_log_prob_full_backward<Device>));
  library.impl("component_kl", TORCH_BOX(&component_kl<Device>));
  library.impl("component_kl_backward", TORCH_BOX(&component_kl_backward<Device>));
}

}  // namespace deepmix
