// exp, sigmoid, tanh and log1p on Vec. Each states source, valid range and maximum error;
// tests/test_math.py sweeps them through unrolled._core.apply_math.
//
// A unit whose V is no Vec defines UNROLLED_MATH: its own header with the same functions.
#pragma once

#if defined(UNROLLED_MATH)
#include UNROLLED_MATH
#else

#include "simd/vec.hpp"

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
  static constexpr int kMantissaBits = 23, kDegree = 5;
  static constexpr float kPoly[kDegree + 1] = {
      0.50000000135387298866f,   0.16666666681704215043f,   0.041666464197405692315f,
      0.0083333108446478625642f, 0.0013933730715792082502f, 0.00019891080463998842039f};
};

template <>
struct ExpConstants<double> {
  static constexpr double kLow = -708.0, kHigh = 709.0;
  static constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kLn2High = 0x1.62e42fee00000p-1, kLn2Low = 1.908214929270587816e-10;
  static constexpr int kMantissaBits = 52, kDegree = 10;
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
template <class T>
struct SplitExp {
  Vec<T> scale, fraction;
};

template <class T>
UNROLLED_INLINE SplitExp<T> split_exp(Vec<T> x) {
  using C = ExpConstants<T>;
  using Bits = typename Native<T>::Bits;
  const Vec<T> shifted = multiply_add(x, Vec<T>(T(1.44269504088896340736)), Vec<T>(C::kRound));
  const Vec<T> n = shifted - Vec<T>(C::kRound);
  Vec<T> r = multiply_add(n, Vec<T>(-C::kLn2High), x);
  r = multiply_add(n, Vec<T>(-C::kLn2Low), r);
  Vec<T> q(C::kPoly[C::kDegree]);
#pragma GCC unroll 16
  for (int i = C::kDegree - 1; i >= 0; --i) q = multiply_add(q, r, Vec<T>(C::kPoly[i]));
  // The low bits of `shifted` hold n; moved into the exponent field of 1.0 they make 2^n.
  const Bits exponent = reinterpret_cast<Bits>(shifted.v) << C::kMantissaBits;
  const Bits one = reinterpret_cast<Bits>(Vec<T>(T(1)).v);
  const typename Native<T>::Type scale = reinterpret_cast<typename Native<T>::Type>(exponent + one);
  return {Vec<T>(scale), multiply_add(q, r * r, r)};
}

// e^x.
// Valid range: float [-87.3, 88], double [-708, 709]; beyond it the value at the edge is returned.
// Max error: 2 ULP inside the range. NaN gives NaN.
template <class T>
UNROLLED_INLINE Vec<T> exp(Vec<T> x) {
  using C = ExpConstants<T>;
  const SplitExp<T> e = split_exp(max(min(x, Vec<T>(C::kHigh)), Vec<T>(C::kLow)));
  return multiply_add(e.scale, e.fraction, e.scale);
}

// 1 / (1 + e^-x).
// Valid range: all x; below the range of exp the value at its edge (1e-38, 1e-308) is returned.
// Max error: 3 ULP for x >= kLow. NaN gives NaN.
template <class T>
UNROLLED_INLINE Vec<T> sigmoid(Vec<T> x) {
  return reciprocal(Vec<T>(T(1)) + exp(-x));
}

// tanh(x) = p / (p + 2) with p = e^(2|x|) - 1, computed without cancellation near zero.
// Valid range: all x. Max error: 3 ULP. NaN gives NaN, +-inf gives +-1, -0 gives -0.
template <class T>
UNROLLED_INLINE Vec<T> tanh(Vec<T> x) {
  using Bits = typename Native<T>::Bits;
  const Bits sign_mask = reinterpret_cast<Bits>(Vec<T>(T(-0.0)).v);
  const Bits sign = reinterpret_cast<Bits>(x.v) & sign_mask;
  const Vec<T> magnitude(
      reinterpret_cast<typename Native<T>::Type>(reinterpret_cast<Bits>(x.v) & ~sign_mask));
  // tanh rounds to 1 from 9.02 (float) and 19.07 (double) on.
  const Vec<T> limit(sizeof(T) == 4 ? T(20) : T(44));
  const Vec<T> one(T(1));
  const SplitExp<T> e = split_exp(min(magnitude + magnitude, limit));
  const Vec<T> p = multiply_add(e.scale, e.fraction, e.scale - one);
  const Vec<T> result = p * reciprocal(p + Vec<T>(T(2)));
  return Vec<T>(
      reinterpret_cast<typename Native<T>::Type>(reinterpret_cast<Bits>(result.v) | sign));
}

// log(1 + u) = log c + 2 atanh((1 + u - c) / (1 + u + c)) with c the nearer of 1 and 3, and atanh
// by its series, which is exact to rounding for |y| <= 0.268 = (sqrt 3 - 1) / (sqrt 3 + 1). Valid
// range: [0, 2]. Max error: 3 ULP. NaN gives NaN.
template <class T>
UNROLLED_INLINE Vec<T> log1p(Vec<T> u) {
  const Vec<T> far = u - Vec<T>(T(0.7320508));
  const auto choose = [far](T high, T low) {
    return where_positive(far, Vec<T>(high), Vec<T>(low));
  };
  const Vec<T> y = (u - choose(T(2), T(0))) / (u + choose(T(4), T(2)));
  const Vec<T> square = y * y;
  constexpr int kTerms = sizeof(T) == 4 ? 7 : 14;
  Vec<T> series(T(1) / T(2 * kTerms - 1));
#pragma GCC unroll 16
  for (int k = kTerms - 2; k >= 0; --k)
    series = multiply_add(series, square, Vec<T>(T(1) / T(2 * k + 1)));
  return multiply_add(y + y, series, choose(T(1.09861228866810969140), T(0)));
}

}  // namespace unrolled::UNROLLED_ISA

#endif
