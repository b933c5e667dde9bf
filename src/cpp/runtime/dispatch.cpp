#include "runtime/dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace unrolled {

namespace generic {
const KernelTable& table() noexcept;
}
#if defined(UNROLLED_HAS_avx2)
namespace avx2 {
const KernelTable& table() noexcept;
}
#endif
#if defined(UNROLLED_HAS_avx512)
namespace avx512 {
const KernelTable& table() noexcept;
}
#endif
#if defined(UNROLLED_HAS_avx512_bf16)
namespace avx512_bf16 {
const KernelTable& table() noexcept;
}
#endif
#if defined(UNROLLED_HAS_neon)
namespace neon {
const KernelTable& table() noexcept;
}
#endif

namespace {

struct Candidate {
  const char* name;
  const KernelTable& (*table)() noexcept;
  bool available;
};

// Slowest first.
const std::vector<Candidate>& candidates() {
  static const std::vector<Candidate> list = [] {
    std::vector<Candidate> found;
    found.push_back({"generic", generic::table, true});
#if defined(__x86_64__)
    __builtin_cpu_init();
    [[maybe_unused]] const bool avx2_fma =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#if defined(UNROLLED_HAS_avx2)
    found.push_back({"avx2", avx2::table, avx2_fma});
#endif
    [[maybe_unused]] const bool avx512 =
        avx2_fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#if defined(UNROLLED_HAS_avx512)
    found.push_back({"avx512", avx512::table, avx512});
#endif
#if defined(UNROLLED_HAS_avx512_bf16)
    found.push_back(
        {"avx512_bf16", avx512_bf16::table,
         avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni")});
#endif
#endif
#if defined(UNROLLED_HAS_neon)
    found.push_back({"neon", neon::table, true});  // part of the AArch64 baseline
#endif
    return found;
  }();
  return list;
}

const KernelTable* find(const std::string& name) {
  std::string names;
  for (const Candidate& candidate : candidates()) {
    if (!candidate.available) continue;
    if (name == candidate.name) return &candidate.table();
    if (!names.empty()) names += ", ";
    names += candidate.name;
  }
  throw std::invalid_argument("[isa] expected UNROLLED_ISA to be one that this CPU has (" + names +
                              "), got '" + name + "'");
}

const KernelTable* choose() {
  if (const char* forced = std::getenv("UNROLLED_ISA"); forced != nullptr && *forced != '\0')
    return find(forced);
  const KernelTable* best = nullptr;
  for (const Candidate& candidate : candidates())
    if (candidate.available) best = &candidate.table();
  return best;
}

std::atomic<const KernelTable*>& current() {
  static std::atomic<const KernelTable*> table{choose()};
  return table;
}

}  // namespace

const KernelTable& kernels() { return *current().load(std::memory_order_acquire); }

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates())
    if (candidate.available) names.emplace_back(candidate.name);
  return names;
}

void force_isa(const std::string& name) { current().store(find(name), std::memory_order_release); }

}  // namespace unrolled
