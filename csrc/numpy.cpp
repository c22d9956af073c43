// What needs no torch: facts about this build, and the Gaussian mixture's E-step for NumPy arrays.
#undef TORCH_TARGET_VERSION  // torch's copy of pybind11 refuses sources held to the stable ABI; this one uses no torch
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "built_from.h"
#include "cpu/run.h"

namespace py = pybind11;

namespace {

using namespace deepmix;

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

void on_this_thread(int64_t n, const cpu::Body& body) { body(0, n); }

void check(bool fits, const std::string& message) {
  if (!fits) throw std::invalid_argument(message);
}

/// `spread` is (K, M) log-variances or (K, M, M) lower Cholesky factors of the precisions.
template <class T>
py::tuple component_log_prob(const Array<T>& z, const Array<T>& mean, const Array<T>& spread,
                             const Array<T>& log_weight) {
  check(z.ndim() == 2 && z.shape(1) >= 1, "z must be (N, M) with M of at least 1");
  const int64_t N = z.shape(0), M = z.shape(1);
  check(mean.ndim() == 2 && mean.shape(0) >= 1 && mean.shape(1) == M, "mean must be (K, M) with the M of z");
  const int64_t K = mean.shape(0);
  check(log_weight.ndim() == 1 && log_weight.shape(0) == K, "log_weight must be (K,) with the K of mean");
  const bool full = spread.ndim() == 3;
  check(full ? spread.shape(0) == K && spread.shape(1) == M && spread.shape(2) == M
             : spread.ndim() == 2 && spread.shape(0) == K && spread.shape(1) == M,
        "spread must be (K, M) log-variances or (K, M, M) Cholesky factors of precisions");
  Array<T> log_prob({N, K}), log_q({N, K}), log_normalizer(N);
  const MixtureOutputs<T> out{log_prob.mutable_data(), nullptr, log_q.mutable_data(), log_normalizer.mutable_data()};
  {
    const FullInputs<T> full_in{N, K, M, z.data(), mean.data(), spread.data(), log_weight.data()};
    const MixtureInputs<T> diagonal_in{1,       N,       1,           K,             M,
                                       false,   false,   z.data(),    nullptr,       nullptr,
                                       mean.data(), spread.data(), log_weight.data(), nullptr};
    const py::gil_scoped_release others_may_run;
    if (full)
      cpu::full<T>(full_in, out, on_this_thread);
    else
      cpu::mixture<T>(diagonal_in, out, on_this_thread);
  }
  return py::make_tuple(log_prob, log_q, log_normalizer);
}

py::dict build_facts() {
  py::dict facts;
  facts["simd"] = cpu::level_name();
  facts["compiler"] = __VERSION__;
  facts["built_from"] = BUILT_FROM;
  return facts;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.doc() = "Build facts, and the Gaussian mixture's E-step for NumPy arrays.";
  module.def("build_facts", &build_facts);
  constexpr auto doc = "Return log N(z; mean_k, ...), (N, K), log responsibilities, (N, K), and log-likelihoods, (N,).";
  module.def("component_log_prob", &component_log_prob<float>, py::arg("z").noconvert(), py::arg("mean").noconvert(),
             py::arg("spread").noconvert(), py::arg("log_weight").noconvert(), doc);
  module.def("component_log_prob", &component_log_prob<double>, py::arg("z"), py::arg("mean"), py::arg("spread"),
             py::arg("log_weight"), doc);
}
