// The operators with a gradient once more, as `recorded_<name>`, for eager autograd: each calls the operator and records a
// node, which is faster than a node in Python. torch's classes for nodes change between versions, so only a library that
// is compiled on first use, for one version, contains this file; elsewhere an `autograd.Function` in Python does the same.
// The backward pass calls the operator `<name>_backward`, or, where it is to be differentiated itself, the Python
// package's reference, by the operator `differentiable_gradients`.
#undef TORCH_TARGET_VERSION  // these headers do not belong to the stable ABI
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "schemas.h"

namespace {

using c10::IValue;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using torch::jit::Stack;

/// How an operator is differentiated; `RULES` in deepmix/kernels/autograd.py say the same.
struct Rule {
  const char* name;
  const char* schema;
  std::size_t n_tensors;  // tensors, or None in their place, with which the inputs begin; the others are switches
  std::size_t n_switches;
  int saved_output;   // number of the output that the backward pass reads, or -1
  std::size_t first;  // number of the first input that has a gradient
};

constexpr Rule RULES[] = {
    {"mixture_posterior", DEEPMIX_MIXTURE_POSTERIOR, 7, 2, 0, 0},
    {"sampled_mixture_posterior", DEEPMIX_SAMPLED_MIXTURE_POSTERIOR, 6, 2, 1, 1},
    {"component_log_prob", DEEPMIX_COMPONENT_LOG_PROB, 4, 0, 1, 0},
    {"component_log_prob_full", DEEPMIX_COMPONENT_LOG_PROB, 4, 0, 1, 0},
    {"component_kl", DEEPMIX_COMPONENT_KL, 4, 0, -1, 0},
};

c10::OperatorHandle find(const std::string& name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(("deepmix::" + name).c_str(), "");
}

IValue value_of(const at::Tensor& tensor) { return tensor.defined() ? IValue(tensor) : IValue(); }

/// The operators that one rule is about.
struct Operators {
  c10::OperatorHandle forward, backward;

  explicit Operators(const Rule& rule) : forward(find(rule.name)), backward(find(std::string(rule.name) + "_backward")) {}
};

const Operators& operators_of(std::size_t number) {
  static const std::vector<Operators> all(std::begin(RULES), std::end(RULES));
  return all[number];
}

/// What a call leaves for its backward pass, as the bits of a number, because a node holds numbers.
class Memo {
 public:
  explicit Memo(std::size_t number) : bits_(static_cast<int64_t>(number) << RULE) {}
  static Memo of(AutogradContext& context) { return Memo(context.saved_data["memo"]); }

  void keep(AutogradContext& context) const { context.saved_data["memo"] = bits_; }
  void set(std::size_t input) { bits_ |= int64_t{1} << input; }

  /// Whether the input that has this number is a tensor, or a switch that is on.
  bool operator[](std::size_t input) const { return (bits_ >> input & 1) != 0; }
  std::size_t number() const { return static_cast<std::size_t>(bits_ >> RULE); }
  const Rule& rule() const { return RULES[number()]; }

 private:
  explicit Memo(const IValue& bits) : bits_(bits.toInt()) {}

  static constexpr int RULE = 16;  // more bits than an operator has inputs
  int64_t bits_;
};

struct Kernel : torch::autograd::Function<Kernel> {
  /// `tensors` are those of the inputs that are not None; `stack` holds all inputs.
  static variable_list forward(AutogradContext* context, at::TensorList tensors, Memo memo, Stack* stack) {
    {
      const at::AutoDispatchBelowADInplaceOrView guard;
      operators_of(memo.number()).forward.callBoxed(*stack);
    }
    variable_list outputs;
    outputs.reserve(stack->size());
    for (IValue& output : *stack) outputs.push_back(std::move(output).toTensor());
    variable_list saved(tensors.begin(), tensors.end());
    if (memo.rule().saved_output >= 0) saved.push_back(outputs[memo.rule().saved_output]);
    context->set_materialize_grads(false);
    context->save_for_backward(std::move(saved));
    memo.keep(*context);
    return outputs;
  }

  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const Memo memo = Memo::of(*context);
    const Rule& rule = memo.rule();
    const variable_list saved = context->get_saved_variables();
    variable_list inputs(rule.n_tensors);
    std::vector<std::size_t> places;  // of the inputs that are not None
    int64_t needed = 0;
    for (std::size_t i = 0; i < rule.n_tensors; ++i) {
      if (!memo[i]) continue;
      if (i >= rule.first && context->needs_input_grad(places.size())) needed |= int64_t{1} << (i - rule.first);
      inputs[i] = saved[places.size()];
      places.push_back(i);
    }
    variable_list by_inputs(places.size() + 2);  // two arguments of `forward` are not tensors
    bool has_upstream = false;
    for (const at::Tensor& one : upstream) has_upstream = has_upstream || one.defined();
    if (needed == 0 || !has_upstream) return by_inputs;
    const variable_list gradients = at::GradMode::is_enabled()
                                        ? differentiable_gradients(inputs, memo, upstream)
                                        : plain_gradients(inputs, saved.back(), memo, upstream, needed);
    for (std::size_t place = 0; place < places.size(); ++place) {
      const std::size_t i = places[place];
      if (i >= rule.first && (needed >> (i - rule.first) & 1) != 0) by_inputs[place] = gradients[i - rule.first];
    }
    return by_inputs;
  }

 private:
  static variable_list plain_gradients(const variable_list& inputs, const at::Tensor& output, const Memo& memo,
                                       const variable_list& upstream, int64_t needed) {
    const Rule& rule = memo.rule();
    Stack stack;
    stack.reserve(inputs.size() + rule.n_switches + upstream.size() + 2);
    for (const at::Tensor& one : inputs) stack.push_back(value_of(one));
    if (rule.saved_output >= 0) stack.emplace_back(output);
    for (std::size_t i = 0; i < rule.n_switches; ++i) stack.emplace_back(memo[rule.n_tensors + i]);
    for (const at::Tensor& one : upstream) stack.push_back(value_of(one));
    stack.emplace_back(needed);
    const at::AutoDispatchBelowADInplaceOrView guard;
    operators_of(memo.number()).backward.callBoxed(stack);
    variable_list gradients;
    gradients.reserve(stack.size());
    for (IValue& one : stack) gradients.push_back(std::move(one).toTensor());
    return gradients;
  }

  static variable_list differentiable_gradients(const variable_list& inputs, const Memo& memo,
                                                const variable_list& upstream) {
    const Rule& rule = memo.rule();
    static const c10::OperatorHandle operation = find("differentiable_gradients");
    const auto list_of = [](const variable_list& tensors) {
      c10::List<std::optional<at::Tensor>> list;
      for (const at::Tensor& one : tensors)
        list.push_back(one.defined() ? std::optional<at::Tensor>(one) : std::nullopt);
      return list;
    };
    c10::List<bool> switches;
    for (std::size_t i = 0; i < rule.n_switches; ++i) switches.push_back(memo[rule.n_tensors + i]);
    Stack stack{IValue(rule.name), IValue(list_of(inputs)), IValue(switches), IValue(list_of(upstream))};
    operation.callBoxed(stack);
    const variable_list gradients = stack[0].toTensorVector();
    return {gradients.begin() + rule.first, gradients.end()};
  }
};

/// Call an operator and record its node where a gradient is wanted.
template <std::size_t I>
void call(const c10::OperatorHandle&, Stack* stack) {
  constexpr const Rule& rule = RULES[I];
  const std::size_t n_inputs = rule.n_tensors + rule.n_switches, start = stack->size() - n_inputs;
  variable_list tensors;
  tensors.reserve(rule.n_tensors);
  Memo memo(I);
  for (std::size_t i = 0; i < n_inputs; ++i) {
    const IValue& input = (*stack)[start + i];
    if (input.isTensor()) tensors.push_back(input.toTensor());
    if (input.isTensor() || (input.isBool() && input.toBool())) memo.set(i);
  }
  Stack inputs(std::make_move_iterator(stack->begin() + start), std::make_move_iterator(stack->end()));
  stack->resize(start);
  for (at::Tensor& output : Kernel::apply(at::TensorList(tensors), memo, &inputs))
    stack->emplace_back(std::move(output));
}

template <std::size_t... I>
void define(torch::Library& library, std::index_sequence<I...>) {
  const auto one = [&](const Rule& rule, torch::CppFunction&& function) {
    library.def((std::string("recorded_") + rule.name + rule.schema).c_str(), std::move(function));
  };
  (one(RULES[I], torch::CppFunction::makeFromBoxedFunction<&call<I>>()), ...);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(deepmix, library) {
  define(library, std::make_index_sequence<std::size(RULES)>());
  library.def(
      "differentiable_gradients(str name, Tensor?[] inputs, bool[] switches, Tensor?[] upstream) -> Tensor[]");
}
