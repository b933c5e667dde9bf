#include "cuda/host/attention.hpp"

#include <vector>

#include "cuda/attention.hpp"
#include "cuda/host/put.hpp"
#include "cuda/host/upload.hpp"

namespace unrolled::cuda {
namespace {

const char* const kName = "attention";

Memory memory_of(const MemoryArguments& from, Arguments& given) {
  Memory m{};
  const ArrayView &keys = view(from.keys), &values = view(from.values);
  m.S = axis(keys, 0), m.B = axis(keys, 1), m.K = axis(keys, 2), m.M = axis(values, 2);
  m.keys = given.sequence<const float>("keys", "(S, B, K)", {m.S, m.B, m.K}, from.keys);
  m.values = given.sequence<const float>("values", "(S, B, M)", {m.S, m.B, m.M}, from.values);
  m.vector = given.array<const float>("vector", "(K,)", {m.K}, from.vector);
  return m;
}

// Checked integers of the host, one array behind the other.
class Integers {
 public:
  void add(const char* what, const ArrayView& view, int64_t count, int64_t limit) {
    const int64_t* values = checked_integers(kName, what, view, count, limit);
    image_.insert(image_.end(), values, values + count);
  }
  const int64_t* upload(Argument memory, Arguments& given, uintptr_t stream) const {
    return cuda::upload(kName, image_.data(), std::ssize(image_), memory, given, stream);
  }

 private:
  std::vector<int64_t> image_;
};

}  // namespace

void attend(const AttendArguments& arrays, uintptr_t stream) {
  Arguments given(kName);
  Attention args{};
  const Memory& m = args.memory = memory_of(arrays.of, given);
  const int64_t T = args.T = axis(view(arrays.queries), 0);
  const int64_t N = args.N = axis(view(arrays.queries), 1);
  args.queries = given.sequence<const float>("queries", "(T, N, K)", {T, N, m.K}, arrays.queries);
  args.contexts = given.array<float>("contexts", "(T, N, M)", {T, N, m.M}, arrays.contexts);
  args.weights = given.array<float>("weights", "(T, N, S)", {T, N, m.S}, arrays.weights);
  Integers integers;
  integers.add("source lengths", arrays.of.places, m.B, m.S);
  integers.add("lengths", arrays.lengths, N, T);
  integers.add("sources", arrays.sources, N, m.B - 1);
  args.memory.places = integers.upload(arrays.memory, given, stream);
  args.lengths = args.memory.places + m.B;
  args.sources = args.lengths + N;
  put(given, stream, [&](Device& device) { attend(args, device); });
}

int64_t attention_scratch(const MemoryArguments& of, bool of_memory) {
  Arguments given(kName);
  return attention_scratch(memory_of(of, given), of_memory);
}

void attention_backward(const AttentionBackwardArguments& arrays, uintptr_t stream) {
  Arguments given(kName);
  AttentionBackward args{};
  const Memory& m = args.memory = memory_of(arrays.of, given);
  const int64_t T = args.T = axis(view(arrays.queries), 0), S = m.S, B = m.B;
  args.queries = given.sequence<const float>("queries", "(T, B, K)", {T, B, m.K}, arrays.queries);
  args.weights = given.sequence<const float>("weights", "(T, B, S)", {T, B, S}, arrays.weights);
  args.dcontexts =
      given.sequence<const float>("dcontexts", "(T, B, M)", {T, B, m.M}, arrays.dcontexts);
  args.dscores = given.array<float>("dscores", "(T, B, S)", {T, B, S}, arrays.dscores);
  args.scored = arrays.scored;
  args.dqueries = given.array<float>("dqueries", "(T, B, K)", {T, B, m.K}, arrays.dqueries);
  args.dkeys = given.array<float>("dkeys", "(S, B, K)", {S, B, m.K}, arrays.dkeys);
  args.dvalues = given.array<float>("dvalues", "(S, B, M)", {S, B, m.M}, arrays.dvalues);
  args.dvector = given.array<float>("dvector", "(K,)", {m.K}, arrays.dvector);
  if ((args.dkeys == nullptr) != (args.dvalues == nullptr))
    fail_value("[attention] expected both of dkeys and dvalues or neither, got one");
  if (m.vector != nullptr && (args.dvector == nullptr) != (args.dkeys == nullptr))
    fail_value("[attention] expected both of dkeys and dvector or neither, got one");
  args.scratch = given.array<float>("scratch", "(scratch,)",
                                    {attention_scratch(m, args.dkeys != nullptr)}, arrays.scratch);
  Integers integers;
  integers.add("source lengths", arrays.of.places, B, S);
  integers.add("lengths", arrays.lengths, B, T);
  args.memory.places = integers.upload(arrays.memory, given, stream);
  args.lengths = args.memory.places + B;
  put(given, stream, [&](Device& device) { attention_backward(args, device); });
}

}  // namespace unrolled::cuda
