// The operators' tensors: checks of what memory safety requires, allocation of results, and the kernels' number types.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "arguments.h"

namespace deepmix {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using MaybeTensor = std::optional<Tensor>;
using Shape = std::vector<int64_t>;

/// Throw an error whose message is `parts` in a row, unless a condition holds. torch's own macro writes its messages to
/// a stream, which crashes in a library that carries a copy of the C++ library (seen with torch 2.11).
template <class... Parts>
void check(bool holds, const Parts&... parts) {
  if (holds) return;
  std::string message;
  (message.append(parts), ...);
  throw std::runtime_error(message);
}

/// What a tensor of an operator holds: rows, which can be in bfloat16, or numbers of the type in which it computes.
enum class Content { ROWS, NUMBERS };

/// The dtype of an operator's tensors whose rows have the dtype of `like`.
inline ScalarType dtype_of(Content content, const Tensor& like) {
  const ScalarType rows = like.scalar_type();
  return content == Content::NUMBERS && rows == ScalarType::BFloat16 ? ScalarType::Float : rows;
}

/// A tensor that the kernels can read: contiguous, of the expected shape and dtype, on the device of `like`.
class Input {
 public:
  Input(const char* name, const MaybeTensor& tensor, const Shape& shape, const Tensor& like,
        Content content = Content::NUMBERS) {
    if (!tensor.has_value()) return;
    const auto sizes = tensor->sizes();
    bool fits = sizes.size() == shape.size();
    for (std::size_t i = 0; fits && i < shape.size(); ++i) fits = sizes[i] == shape[i];
    check(fits, "deepmix: ", name,
                    " has the wrong shape; call the operator through deepmix.kernels.ops, which names the right one");
    check(tensor->scalar_type() == dtype_of(content, like) && tensor->is_cuda() == like.is_cuda() &&
                        tensor->get_device_index() == like.get_device_index(),
                    "deepmix: ", name, " must have the dtype and device of the other inputs (float32 where those are "
                    "rows in bfloat16); convert it first");
    tensor_ = tensor->is_contiguous() ? *tensor : torch::stable::contiguous(*tensor);
  }

  template <class T>
  const T* get() const {
    return tensor_.has_value() ? static_cast<const T*>(tensor_->const_data_ptr()) : nullptr;
  }

 private:
  MaybeTensor tensor_;
};

/// Allocate a tensor on the device of `like`, by the dispatcher's lower layer: the dispatcher itself
/// (torch::stable::new_empty) would take as long as a small batch's kernel.
inline Tensor allocate_as(int32_t dtype, const Tensor& like, const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<int64_t>(shape[i], 1);
  int32_t device_type;
  AtenTensorHandle result;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(shape.size()), shape.data(), strides.data(),
                                                  dtype, device_type, like.get_device_index(), &result));
  return Tensor(result);
}

/// Allocate a result of an operator whose rows have the dtype of `like`. An operator returns all its outputs, so one
/// that doesn't exist has no elements.
inline Tensor allocate(const Tensor& like, const Shape& shape, bool exists = true,
                       Content content = Content::NUMBERS) {
  int32_t dtype;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  if (dtype_of(content, like) != like.scalar_type()) dtype = aoti_torch_dtype_float32();
  return allocate_as(dtype, like, exists ? shape : Shape{0});
}

template <class T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

/// Call body with a value of the type of `like`'s elements, float or double.
template <class Body>
void with_scalar(const Tensor& like, const Body& body) {
  if (like.scalar_type() == ScalarType::Float) return body(float{});
  check(like.scalar_type() == ScalarType::Double,
                  "deepmix: the kernels accept float32 and float64; convert the inputs first");
  body(double{});
}

/// Call body with a value of the type of `like`'s elements, where they can be bfloat16 too.
template <class Body>
void with_rows(const Tensor& like, const Body& body) {
  if (like.scalar_type() == ScalarType::BFloat16) return body(BFloat16{});
  with_scalar(like, body);
}

inline void check_rank(const char* name, const Tensor& tensor, int64_t rank) {
  if (tensor.dim() != rank) check(false, "deepmix: ", name, " needs ", std::to_string(rank), " dimensions");
}

/// A gradient, or a tensor without elements where it is not needed.
struct Gradient {
  bool exists;
  Tensor tensor;

  Gradient(const Tensor& like, const Shape& shape, bool exists, Content content = Content::NUMBERS)
      : exists(exists), tensor(allocate(like, shape, exists, content)) {}

  template <class T>
  T* get() const {
    return exists ? static_cast<T*>(tensor.mutable_data_ptr()) : nullptr;
  }
};

/// Which gradients a backward operator computes: bit i stands for its i-th result.
class Needed {
 public:
  explicit Needed(int64_t bits) : bits_(bits) {}
  bool operator[](int i) const { return (bits_ >> i & 1) != 0; }
  Needed after(int n) const { return Needed(bits_ >> n); }

 private:
  int64_t bits_;
};

}  // namespace deepmix
