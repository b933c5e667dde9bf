// The functions that gates may have, and their slopes.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

// f(x), and in `slope`, if it is wanted, f'(x); in a corner the slope to the left, but of
// HardSigmoid 0 and of ThresholdedRelu 1. Not inlined on CPUs: cells call it for every gate, and
// it is long.
template <class V, class T>
UNROLLED_OUTLINE V activate(const GateFunction<T>& f, V x, V* slope = nullptr) {
  const V zero(T(0)), one(T(1)), a(f.alpha), b(f.beta);
  V y = x, d = one;
  switch (f.function) {
    case Function::kSigmoid:
      y = sigmoid(x), d = y * (one - y);
      break;
    case Function::kTanh:
      y = tanh(x), d = one - y * y;
      break;
    case Function::kRelu:
      y = max(x, zero), d = where_positive(x, one, zero);
      break;
    case Function::kAffine:
      y = multiply_add(a, x, b), d = a;
      break;
    case Function::kLeakyRelu:
      y = where_positive(x, x, a * x), d = where_positive(x, one, a);
      break;
    case Function::kThresholdedRelu:
      y = where_positive(a - x, zero, x), d = where_positive(a - x, zero, one);
      break;
    case Function::kScaledTanh:
      y = tanh(b * x), d = a * b * (one - y * y), y = a * y;
      break;
    case Function::kHardSigmoid:
      y = multiply_add(a, x, b);
      d = where_positive(y, where_positive(one - y, a, zero), zero);
      y = min(max(y, zero), one);
      break;
    case Function::kElu: {
      const V t = tanh(min(x, zero) * V(T(0.5)));  // e^x - 1 = 2t / (1 - t), exact near 0
      const V low = a * (t + t) / (one - t);
      y = where_positive(x, x, low), d = where_positive(x, one, low + a);
      break;
    }
    case Function::kSoftsign: {
      const V share = one / (one + max(x, -x));
      y = x * share, d = share * share;
      break;
    }
    case Function::kSoftplus:
      y = max(x, zero) + log1p(exp(-max(x, -x))), d = sigmoid(x);
      break;
  }
  if (slope != nullptr) *slope = d;
  return y;
}

// Function k of the options at z, which is cut to their limit.
template <class V, class T>
UNROLLED_INLINE V gate(const GateOptions<T>& options, int k, V z) {
  return activate(options.functions[k], clip(z, V(options.limit)));
}
template <class V, class T>
UNROLLED_INLINE V gate(const GateOptions<T>& options, int k, V z, V& slope) {
  const V limit(options.limit), y = activate(options.functions[k], clip(z, limit), &slope);
  slope = clip_backward(slope, z, limit);
  return y;
}

}  // namespace unrolled::UNROLLED_ISA
