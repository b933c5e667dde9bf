// exp, sigmoid and tanh on V, a Vec or a Pair. Each states source, valid range and maximum error;
// tests/test_math.py sweeps them through unrolled._core.apply_math.
#pragma once

#include "simd/pair.hpp"

namespace unrolled::UNROLLED_ISA {

// Constants of exp for one precision. `poly` approximates (e^r - 1 - r) / r^2 on |r| <= ln(2)/2 by
// interpolation in Chebyshev nodes: relative error of e^r - 1 is 5.4e-10 (float), 5.5e-19 (double).
template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float kLow = -87.3f, kHigh = 88.0f;  // 2^n stays a normal number
  static constexpr float kRound = 12582912.0f;          // 1.5 * 2^23: adding it rounds to integer
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440054691e-4f;
  static constexpr int kDegree = 5;
  static constexpr float kPoly[kDegree + 1] = {
      0.50000000135387298866f,   0.16666666681704215043f,   0.041666464197405692315f,
      0.0083333108446478625642f, 0.0013933730715792082502f, 0.00019891080463998842039f};
};

template <>
struct ExpConstants<double> {
  static constexpr double kLow = -708.0, kHigh = 709.0;
  static constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kLn2High = 0x1.62e42fee00000p-1, kLn2Low = 1.908214929270587816e-10;
  static constexpr int kDegree = 10;
  static constexpr double kPoly[kDegree + 1] = {0.5,
                                                0.1666666666666667103,
                                                0.041666666666666669783,
                                                0.0083333333333260831202,
                                                0.0013888888888883711167,
                                                0.00019841269875002278793,
                                                0.0000248015873256774619,
                                                2.7557255170000887438e-6,
                                                2.7557273478718580474e-7,
                                                2.5105312729622101787e-8,
                                                2.09147553258932022e-9};
};

// Splits e^x = scale * (1 + fraction) with scale a power of two and |fraction| <= 0.42.
// x must lie in [kLow, kHigh] or be NaN.
template <class V>
struct SplitExp {
  V scale, fraction;
};

template <class V>
UNROLLED_INLINE SplitExp<V> split_exp(V x) {
  using T = typename V::Scalar;
  using C = ExpConstants<T>;
  const V shifted = multiply_add(x, V(T(1.44269504088896340736)), V(C::kRound));
  const V n = shifted - V(C::kRound);
  V r = multiply_add(n, V(-C::kLn2High), x);
  r = multiply_add(n, V(-C::kLn2Low), r);
  V q(C::kPoly[C::kDegree]);
#pragma GCC unroll 16
  for (int i = C::kDegree - 1; i >= 0; --i) q = multiply_add(q, r, V(C::kPoly[i]));
  return {power_of_two(shifted), multiply_add(q, r * r, r)};
}

// e^x.
// Valid range: float [-87.3, 88], double [-708, 709]; beyond it the value at the edge is returned.
// Max error: 2 ULP inside the range. NaN gives NaN.
template <class V>
UNROLLED_INLINE V exp(V x) {
  using C = ExpConstants<typename V::Scalar>;
  const SplitExp<V> e = split_exp(max(min(x, V(C::kHigh)), V(C::kLow)));
  return multiply_add(e.scale, e.fraction, e.scale);
}

// 1 / (1 + e^-x).
// Valid range: all x; below the range of exp the value at its edge (1e-38, 1e-308) is returned.
// Max error: 3 ULP for x >= kLow. NaN gives NaN.
template <class V>
UNROLLED_INLINE V sigmoid(V x) {
  return reciprocal(V(1) + exp(-x));
}

// tanh(x) = p / (p + 2) with p = e^(2|x|) - 1, computed without cancellation near zero.
// Valid range: all x. Max error: 3 ULP. NaN gives NaN, +-inf gives +-1, -0 gives -0.
template <class V>
UNROLLED_INLINE V tanh(V x) {
  using T = typename V::Scalar;
  // tanh rounds to 1 from 9.02 (float) and 19.07 (double) on.
  const V limit(sizeof(T) == 4 ? T(20) : T(44));
  const V a = magnitude(x);
  const SplitExp<V> e = split_exp(min(a + a, limit));
  const V p = multiply_add(e.scale, e.fraction, e.scale - V(1));
  return with_sign(p * reciprocal(p + V(2)), x);
}

}  // namespace unrolled::UNROLLED_ISA
