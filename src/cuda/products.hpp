// What does not depend on the order of steps: matrix products and sums over the tokens of a whole
// sequence.
#pragma once

#include "cuda/rows.hpp"

namespace unrolled::cuda {

// A plan whose arrays are on the device, as kernels read it.
inline Plan on_device(const Plan& plan, const PlanArrays& arrays) {
  Plan copy = plan;
  copy.live = arrays.live;
  copy.offset = arrays.offset;
  copy.order = arrays.order;
  copy.resets = arrays.resets;
  copy.chunks = copy.windows = nullptr;
  return copy;
}

// Device::gemm, where there is anything to compute.
template <class E>
void multiply(Device& device, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
              Rows<const E> a, Rows<const E> b, float beta, Rows<float> c) {
  if (m > 0 && n > 0)
    device.gemm(transpose_a, transpose_b, m, n, k, a.data, a.stride, b.data, b.stride, beta, c.data,
                c.stride);
}

// True when row n of the compact order is row n of the user's array, and rows lie apart, so that
// they are used in place as a matrix.
template <class T>
bool in_place(const Plan& plan, const Sequence<T>& user, int64_t width) {
  return plan.ordered && user.step == plan.B * user.row && user.row >= width;
}

// An array as products read it: itself, or rounded into scratch.
template <class E>
const E* operand(const float* from, int64_t size, E* scratch, Device& device) {
  if constexpr (!kIsRounded<E>) return from;
  launch_flat(round_all<E>, {from, scratch, size}, size, device);
  return scratch;
}

// The rows of all tokens as one matrix of operands: in place where possible, else gathered.
template <class E>
Rows<const E> token_rows(const Plan& plan, const PlanArrays& arrays,
                         const Sequence<const float>& user, int64_t width, E* gathered,
                         Device& device) {
  if constexpr (!kIsRounded<E>)
    if (in_place(plan, user, width)) return {user.data, user.row};
  launch(gather_rows<E>, {on_device(plan, arrays), user, gathered, width, false}, plan.tokens,
         kRowThreads, 0, device.stream);
  return {gathered, width};
}

// h that entered each token, as the recurrent product read it; `scratch` as `copies_h` says.
template <class E>
const E* entering_h(const Backward& a, E* scratch, Device& device) {
  const int64_t R = a.layer.R, tokens = a.plan->tokens;
  if (a.factors == nullptr) return operand(a.states[0], tokens * R, scratch, device);
  launch(multiply_rows<E>, {on_device(*a.plan, a.arrays), a.states[0], a.factors, scratch, R},
         tokens, kRowThreads, 0, device.stream);
  return scratch;
}

// sum (width) += the columns' sums of data (rows, width), of data * factors where there are some.
template <class E>
void add_column_sums(const E* data, int64_t rows, int64_t width, float* sum, Device& device,
                     Rows<const float> factors = {}) {
  if (sum == nullptr) return;
  launch(sum_columns<E>, {data, rows, width, sum, factors}, ceil_div(width, kSumColumns),
         kSumColumns * kSumParts, kSumColumns * kSumParts * sizeof(float), device.stream);
}

// gates (tokens, width) = x W_ih^T.
template <class E>
void input_product(const Forward& a, int64_t width, const E* weight_ih, E* gathered, float* gates,
                   Device& device) {
  const int64_t I = a.layer.I;
  const Rows<const E> x = token_rows(*a.plan, a.arrays, a.x, I, gathered, device);
  multiply<E>(device, false, true, a.plan->tokens, width, I, x, {weight_ih, I}, 0.0f,
              {gates, width});
}

// gradient (width, columns) += d^T operands, where it is wanted; d and operands have a row a token.
template <class E>
void add_product(float* gradient, const E* d, int64_t width, const E* operands, int64_t columns,
                 int64_t tokens, Device& device) {
  if (gradient != nullptr)
    multiply<E>(device, true, false, width, columns, tokens, {d, width}, {operands, columns}, 1.0f,
                {gradient, columns});
}

// The gradients of W_ih and x from that of the input part, dinput (tokens, width).
// `scratch` holds (tokens, I) floats.
template <class E>
void input_backward(const Backward& a, int64_t width, const E* dinput, const E* weight_ih,
                    float* scratch, Device& device) {
  const Plan& plan = *a.plan;
  const int64_t I = a.layer.I, tokens = plan.tokens;
  if (a.grads.weight_ih != nullptr)
    multiply<E>(device, true, false, width, I, tokens, {dinput, width},
                token_rows(plan, a.arrays, a.x, I, reinterpret_cast<E*>(scratch), device), 1.0f,
                {a.grads.weight_ih, I});
  if (a.dx.data == nullptr) return;
  const bool direct = in_place(plan, a.dx, I);
  const Rows<float> dx = direct ? Rows<float>{a.dx.data, a.dx.row} : Rows<float>{scratch, I};
  multiply<E>(device, false, false, tokens, I, width, {dinput, width}, {weight_ih, I},
              direct && a.accumulate_dx ? 1.0f : 0.0f, dx);
  if (!direct)
    launch(scatter_rows, {on_device(plan, a.arrays), a.dx, scratch, I, a.accumulate_dx}, tokens,
           kRowThreads, 0, device.stream);
}

}  // namespace unrolled::cuda
