// The library is also a Python module, which holds facts about this build.
#undef TORCH_TARGET_VERSION  // torch's copy of pybind11 rejects sources held to the stable ABI; this file uses no torch
#include <pybind11/pybind11.h>

#include "built_from.h"
#include "cpu/run.h"

namespace py = pybind11;

namespace {

py::dict build_facts() {
  py::dict facts;
  facts["simd"] = deepmix::cpu::level_name();
  facts["compiler"] = __VERSION__;
  facts["built_from"] = deepmix::BUILT_FROM;
  return facts;
}

}  // namespace

PYBIND11_MODULE(_ops, module) {
  module.doc() = "Facts about this build of the kernels.";
  module.def("build_facts", &build_facts, "Return the instruction set in use, the compiler and the sources' hash.");
}
