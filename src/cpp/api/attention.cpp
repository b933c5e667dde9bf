#include "api/attention.hpp"

#include <algorithm>
#include <new>

#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

const char* const kName = "attention";

// Rows (t, n) of column n.
template <class T>
Rows<T> column(const Sequence<T>& all, int64_t n) {
  return {all.data == nullptr ? nullptr : all.data + n * all.row, all.step};
}

template <class T>
void zero_rows(const Rows<T>& rows, int64_t begin, int64_t end, int64_t width) {
  for (int64_t t = begin; t < end; ++t) std::fill_n(rows.data + t * rows.stride, width, T(0));
}

}  // namespace

template <class T>
AttentionMemory<T>::AttentionMemory(const ArrayView& keys, const ArrayView& values,
                                    const ArrayView& vector, const ArrayView& lengths,
                                    bool backward)
    : table_(kernels()),
      S_(axis(keys, 0)),
      B_(axis(keys, 1)),
      K_(axis(keys, 2)),
      M_(axis(values, 2)),
      backward_(backward) {
  const auto k = sequence<const T>({kName, "keys", "(S, B, K)", {S_, B_, K_}}, keys, Access::kRead);
  const auto v =
      sequence<const T>({kName, "values", "(S, B, M)", {S_, B_, M_}}, values, Access::kRead);
  const T* weights = contiguous<const T>({kName, "vector", "(K,)", {K_}}, vector, Access::kRead);
  const int64_t* ends = checked_integers(kName, "source lengths", lengths, B_, S_);
  const bool additive = weights != nullptr;
  if (additive) vector_.assign(weights, weights + K_);
  lengths_.assign(ends, ends + B_);

  const Kernels<T>& kernel = kernels_of<T>(table_);
  // Each part begins at a cache line, for whole vectors.
  const int64_t line = 64 / static_cast<int64_t>(sizeof(T));
  // Sizes can be computed in 64 bits where this is no more than all memory.
  if (4.0 * static_cast<double>(S_ + line) * static_cast<double>(B_) *
          static_cast<double>(K_ + M_ + line) >
      0x1p58)
    throw std::bad_alloc();
  std::vector<int64_t> starts;
  int64_t total = 0;
  const auto take = [&](int64_t size) {
    starts.push_back(total);
    total += round_up(size, line);
  };
  for (int64_t b = 0; b < B_; ++b) {
    const int64_t S = lengths_[static_cast<size_t>(b)], wide = round_up(S, kernel.source_panel);
    take(additive ? S * K_ : wide * K_);
    take(round_up(M_, kernel.panel) * S);
    take(backward && !additive ? round_up(K_, kernel.panel) * S : 0);
    take(backward ? wide * M_ : 0);
  }
  block_ = Buffer<T>(total);
  double work = 0;
  for (int64_t b = 0; b < B_; ++b) {
    T* part[4];
    for (int i = 0; i < 4; ++i) part[i] = block_.data() + starts[static_cast<size_t>(4 * b + i)];
    const int64_t S = lengths_[static_cast<size_t>(b)];
    from_.push_back({S, part[0], part[1], part[2], part[3]});
    work += 8.0 * static_cast<double>(S) * static_cast<double>(K_ + M_);
  }
  run_team(team_size(work, 0, B_), [&](const Team& team) {
    for (int64_t b = B_ * team.rank / team.size; b < B_ * (team.rank + 1) / team.size; ++b) {
      const AttentionSource<T>& to = from_[static_cast<size_t>(b)];
      if (to.S == 0) continue;
      const Rows<const T> of_keys = column(k, b), of_values = column(v, b);
      if (additive)
        for (int64_t s = 0; s < to.S; ++s)
          std::copy_n(of_keys.data + s * of_keys.stride, K_, const_cast<T*>(to.keys) + s * K_);
      else
        kernel.pack_source_rows(of_keys, to.S, K_, const_cast<T*>(to.keys));
      kernel.pack_source_columns(of_values, to.S, M_, const_cast<T*>(to.values));
      if (!backward) continue;
      if (!additive) kernel.pack_source_columns(of_keys, to.S, K_, const_cast<T*>(to.keys_t));
      kernel.pack_source_rows(of_values, to.S, M_, const_cast<T*>(to.values_t));
    }
  });
}

// About the floating-point operations of `steps` queries over source b, forward.
template <class T>
double AttentionMemory<T>::work(int64_t b, int64_t steps) const {
  const double score = vector_.empty() ? 2.0 : 30.0;  // a tanh for each pair
  return static_cast<double>(steps) * static_cast<double>(lengths_[static_cast<size_t>(b)]) *
         (score * static_cast<double>(K_) + 2.0 * static_cast<double>(M_));
}

template <class T>
void AttentionMemory<T>::attend(const ArrayView& queries, const ArrayView& sources,
                                const ArrayView& lengths, const ArrayView& contexts,
                                const ArrayView& weights) const {
  const int64_t steps = axis(queries, 0), N = axis(queries, 1);
  const auto q =
      sequence<const T>({kName, "queries", "(T, N, K)", {steps, N, K_}}, queries, Access::kRead);
  const auto c =
      sequence<T>({kName, "contexts", "(T, N, M)", {steps, N, M_}}, contexts, Access::kWrite);
  const auto w =
      sequence<T>({kName, "weights", "(T, N, S)", {steps, N, S_}}, weights, Access::kWrite);
  const int64_t* from = checked_integers(kName, "sources", sources, N, B_ - 1);
  const int64_t* ends = checked_integers(kName, "lengths", lengths, N, steps);
  double total = 0;
  for (int64_t n = 0; n < N; ++n) total += work(from[n], ends[n]);
  const Kernels<T>& kernel = kernels_of<T>(table_);
  run_team(team_size(total, 0, N), [&](const Team& team) {
    for (int64_t n = N * team.rank / team.size; n < N * (team.rank + 1) / team.size; ++n) {
      AttentionArgs<T> args{ends[n],
                            K_,
                            M_,
                            from_[static_cast<size_t>(from[n])],
                            vector_.empty() ? nullptr : vector_.data(),
                            column(q, n),
                            column(w, n),
                            column(c, n)};
      if (args.source.S == 0) args.steps = 0;
      if (args.steps > 0) kernel.attention(args);
      zero_rows(args.contexts, args.steps, steps, M_);
      zero_rows(args.weights, args.steps, steps, S_);
      for (int64_t t = 0; t < args.steps; ++t)
        std::fill(args.weights.data + t * args.weights.stride + args.source.S,
                  args.weights.data + t * args.weights.stride + S_, T(0));
    }
  });
}

template <class T>
void AttentionMemory<T>::pull(const ArrayView& queries, const ArrayView& lengths,
                              const ArrayView& weights, const ArrayView& dcontexts,
                              const AttentionGradients& to) const {
  if (!backward_) fail_value("[attention] expected a memory packed with backward=True");
  const int64_t steps = axis(queries, 0);
  const auto in = [&](const char* what, const char* letters, int64_t rows, int64_t width,
                      const ArrayView& view) {
    return sequence<const T>({kName, what, letters, {rows, B_, width}}, view, Access::kRead);
  };
  const auto out = [&](const char* what, const char* letters, int64_t rows, int64_t width,
                       const ArrayView& view) {
    return sequence<T>({kName, what, letters, {rows, B_, width}}, view, Access::kWrite);
  };
  const auto q = in("queries", "(T, B, K)", steps, K_, queries);
  const auto w = in("weights", "(T, B, S)", steps, S_, weights);
  const auto dc = in("dcontexts", "(T, B, M)", steps, M_, dcontexts);
  const auto ds = out("dscores", "(T, B, S)", steps, S_, to.dscores);
  const auto dq = out("dqueries", "(T, B, K)", steps, K_, to.dqueries);
  const auto dk = out("dkeys", "(S, B, K)", S_, K_, to.dkeys);
  const auto dv = out("dvalues", "(S, B, M)", S_, M_, to.dvalues);
  T* dvector = contiguous<T>({kName, "dvector", "(K,)", {K_}}, to.dvector, Access::kWrite);
  if (!vector_.empty() && (dvector == nullptr) != (dk.data == nullptr))
    fail_value("[attention] expected both of dkeys and dvector or neither, got one");
  const int64_t* ends = checked_integers(kName, "lengths", lengths, B_, steps);

  const Kernels<T>& kernel = kernels_of<T>(table_);
  double total = 0;
  for (int64_t b = 0; b < B_; ++b) total += 3.0 * work(b, ends[b]);
  const int size = team_size(total, 0, B_);
  Buffer<T> outer(size * kernel.outer_scratch);
  // A part for each source, added in their order: no bit depends on the threads.
  std::vector<T> parts(dvector == nullptr ? 0 : static_cast<size_t>(B_ * K_), T(0));
  run_team(size, [&](const Team& team) {
    for (int64_t b = B_ * team.rank / team.size; b < B_ * (team.rank + 1) / team.size; ++b) {
      AttentionBackwardArgs<T> args{};
      args.source = from_[static_cast<size_t>(b)];
      args.steps = args.source.S == 0 ? 0 : ends[b];
      args.K = K_, args.M = M_;
      args.vector = vector_.empty() ? nullptr : vector_.data();
      args.queries = column(q, b), args.weights = column(w, b), args.dcontexts = column(dc, b);
      args.dscores = column(ds, b), args.scored = to.scored;
      args.dqueries = column(dq, b), args.dkeys = column(dk, b), args.dvalues = column(dv, b);
      args.dvector = dvector == nullptr ? nullptr : parts.data() + b * K_;
      args.outer = outer.data() + team.rank * kernel.outer_scratch;
      if (dk.data != nullptr) zero_rows(args.dkeys, 0, S_, K_);
      if (dv.data != nullptr) zero_rows(args.dvalues, 0, S_, M_);
      if (args.steps > 0) kernel.attention_backward(args);
      if (dq.data != nullptr) zero_rows(args.dqueries, args.steps, steps, K_);
      if (!to.scored) zero_rows(args.dscores, args.steps, steps, S_);
    }
  });
  for (size_t i = 0; i < parts.size(); ++i) dvector[i % static_cast<size_t>(K_)] += parts[i];
}

template class AttentionMemory<float>;
template class AttentionMemory<double>;

}  // namespace unrolled
