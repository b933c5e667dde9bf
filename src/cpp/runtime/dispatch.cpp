#include "runtime/dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#if defined(UNROLLED_HAS_avx512_amx) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

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
#if defined(UNROLLED_HAS_avx512_amx)
namespace avx512_amx {
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

#if defined(UNROLLED_HAS_avx512_amx)
// Whether the CPU has tile registers with products of bfloat16 and int8, and the system lets this
// process use them: Linux hands out their large state on request only, for all threads at once.
bool tile_registers_allowed() {
#if defined(__linux__)
  unsigned a, b, c, d;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
  constexpr unsigned kAll = kBf16 | kTile | kInt8;
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAll) == kAll &&
         syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}
#endif

#if defined(UNROLLED_HAS_avx512_bf16)
// Intel's CPUs run vdpbf16ps at half the rate of a multiply-add: there the base, which multiplies
// floats that it has rounded, is faster (a softmax head of 10,000 classes takes 58 ms, not 85).
const KernelTable& narrow_table() noexcept {
  static const KernelTable chosen = []() noexcept {
    KernelTable table = avx512_bf16::table();
    constexpr int kBf16 = static_cast<int>(Precision::kBf16);
    if (__builtin_cpu_is("intel")) {
      table.f32.cells[kBf16] = avx512::table().f32.cells[kBf16];
      table.f32.heads[kBf16] = avx512::table().f32.heads[kBf16];
    }
    return table;
  }();
  return chosen;
}
#endif

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
    [[maybe_unused]] const bool avx512_bf16 =
        avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
#if defined(UNROLLED_HAS_avx512_bf16)
    found.push_back({"avx512_bf16", narrow_table, avx512_bf16});
#endif
#if defined(UNROLLED_HAS_avx512_amx)
    found.push_back({"avx512_amx", avx512_amx::table, avx512_bf16 && tile_registers_allowed()});
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
