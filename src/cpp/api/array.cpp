#include "api/array.hpp"

namespace unrolled {
namespace {

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::kFloat32:
      return "float32";
    case Kind::kFloat64:
      return "float64";
    case Kind::kInt64:
      return "int64";
    case Kind::kBool:
      return "bool";
    default:
      return "another dtype";
  }
}

std::string subject(const Expected& expected) {
  std::string text = "[";
  return text.append(expected.function).append("] expected ").append(expected.name);
}

template <class Sizes>
std::string tuple_text(const Sizes& sizes) {
  std::string text = "(";
  size_t count = 0;
  for (const int64_t size : sizes) {
    if (count++ > 0) text += ", ";
    text += std::to_string(size);
  }
  return text + (count == 1 ? ",)" : ")");
}

struct ShapeOf {
  const ArrayView& view;
  const int64_t* begin() const { return view.shape; }
  const int64_t* end() const { return view.shape + view.dimensions; }
};

// An array without elements may have any strides and any address.
bool is_empty(const ArrayView& view) {
  for (int i = 0; i < view.dimensions; ++i)
    if (view.shape[i] == 0) return true;
  return false;
}

void check_aligned(const Expected& expected, const ArrayView& view) {
  if (view.aligned) return;
  fail_value(subject(expected), " to be aligned to its elements; pass ", expected.name, ".copy()");
}

}  // namespace

std::string shape_text(const ArrayView& view) { return tuple_text(ShapeOf{view}); }

std::string dtype_text(const ArrayView& view) {
  return view.kind == Kind::kOther ? view.kind_name : kind_name(view.kind);
}

void check_kind(const Expected& expected, const ArrayView& view, Kind kind) {
  if (view.kind == kind) return;
  throw DtypeError(subject(expected) + " of dtype " + kind_name(kind) + ", got " +
                   dtype_text(view));
}

void check_shape(const Expected& expected, const ArrayView& view) {
  bool same = view.dimensions == static_cast<int>(expected.shape.size());
  for (int i = 0; same && i < view.dimensions; ++i)
    same = view.shape[i] == expected.shape.begin()[i];
  if (same) return;
  fail_value(subject(expected), " of shape ", expected.letters, " = ", tuple_text(expected.shape),
             ", got ", tuple_text(ShapeOf{view}));
}

void check_rows(const Expected& expected, const ArrayView& view) {
  const int last = view.dimensions - 1;
  if (is_empty(view)) return;
  check_aligned(expected, view);
  if (view.shape[last] <= 1 || view.strides[last] == 1) return;
  fail_value(subject(expected),
             " to have unit stride along its last axis; pass numpy.ascontiguousarray(",
             expected.name, ")");
}

void check_contiguous(const Expected& expected, const ArrayView& view) {
  if (is_empty(view)) return;
  check_aligned(expected, view);
  int64_t stride = 1;
  for (int i = view.dimensions - 1; i >= 0; --i) {
    if (view.shape[i] > 1 && view.strides[i] != stride)
      fail_value(subject(expected), " to be C-contiguous; pass numpy.ascontiguousarray(",
                 expected.name, ")");
    stride *= view.shape[i];
  }
}

void check_writable(const Expected& expected, const ArrayView& view) {
  if (!view.writable) fail_value(subject(expected), " to be writable, got a read-only array");
}

const int64_t* checked_integers(const char* function, const char* name, const ArrayView& view,
                                int64_t N, int64_t limit, bool may_be_negative) {
  const int64_t* values =
      contiguous<const int64_t>({function, name, "(N,)", {N}}, view, Access::kRead);
  for (int64_t n = 0; n < N; ++n)
    if (values[n] > limit || (values[n] < 0 && !may_be_negative))
      fail_value("[", function, "] expected ", name, " in 0 .. ", limit,
                 may_be_negative ? " (negative: ignored)" : "", ", got ", values[n],
                 " at position ", n);
  return values;
}

}  // namespace unrolled
