#include "runtime/arena.hpp"

#include "runtime/fork.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace unrolled {
namespace {

constexpr size_t kLine = 64, kHugePage = size_t{2} << 20;
// Half a huge page is better than many small ones, which meet in some sets of L2: a stream of two
// GRUs of 256 units, 1.5 MB each, takes a step in 95 instead of 105 us.
constexpr size_t kHugeFrom = kHugePage / 2;
// What may lie unused; beyond it what was given back longest ago is freed. So many bytes in any
// case, and up to a multiple of them where all memory together stays within what was lately in use
// at once: a training step that needs more finds its memory again, and the next smaller work lets
// it go. None where AddressSanitizer looks for whoever uses released memory.
constexpr bool kKeeps = kGuardBytes == 0;
constexpr size_t kKeptAlways = size_t{512} << 20, kKeptMost = 8 * kKeptAlways;
constexpr size_t kKeptBlocks = 256;
constexpr int kLately = 1024;  // blocks taken, to twice as many

struct Block {
  void* memory;
  size_t capacity;
};

struct Store {
  std::mutex mutex;
  std::vector<Block> kept;  // in the order in which they were given back
  size_t kept_bytes = 0, used_bytes = 0;
  size_t peak = 0, peak_before = 0;  // of used_bytes, since `taken` was last zero, and before
  int taken = 0;

  // Whether `all` bytes may lie unused.
  bool may_keep(size_t all) const {
    const size_t lately = std::max(peak, peak_before);
    return all <= kKeptAlways || (all <= kKeptMost && all + used_bytes <= lately);
  }

  void use(size_t bytes) {
    used_bytes += bytes;
    if (++taken == kLately) {
      peak_before = std::exchange(peak, 0);
      taken = 0;
    }
    peak = std::max(peak, used_bytes);
  }

  Block take(size_t i) {
    const Block block = kept[i];
    kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(i));
    kept_bytes -= block.capacity;
    return block;
  }
};

// Leaked on purpose: buffers may be released while the interpreter shuts down.
Store& store() {
  static Store* const instance = [] {
    Store* fresh = new Store;
    fresh->kept.reserve(kKeptBlocks);
    keep_usable_after_fork<store>();
    return fresh;
  }();
  return *instance;
}

void* allocate(size_t bytes) {
  const size_t alignment = bytes >= kHugeFrom ? kHugePage : kLine;
  void* memory = ::operator new(bytes, std::align_val_t{alignment});
#if defined(__linux__)
  if (bytes >= kHugeFrom)
    madvise(memory, bytes, MADV_HUGEPAGE);  // a wish: failure costs speed only
#endif
  return memory;
}

void deallocate(const Block& block) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(block.memory, block.capacity);
#endif
  const size_t alignment = block.capacity >= kHugePage ? kHugePage : kLine;
  ::operator delete(block.memory, std::align_val_t{alignment});
}

// What lies unused may be what is missing.
void* allocate_or_trim(size_t bytes) {
  try {
    return allocate(bytes);
  } catch (const std::bad_alloc&) {
    if (trim_memory() == 0) throw;
    return allocate(bytes);
  }
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__)
void guard_memory(void* memory, size_t bytes) { __asan_poison_memory_region(memory, bytes); }
void unguard_memory(void* memory, size_t bytes) { __asan_unpoison_memory_region(memory, bytes); }
#endif

void* acquire_memory(size_t bytes, size_t* capacity) {
  if (kGuardBytes == 0) bytes = (bytes + kLine - 1) / kLine * kLine;
  if (bytes >= kHugeFrom) bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  Store& s = store();
  {
    std::lock_guard<std::mutex> lock(s.mutex);
    size_t best = s.kept.size();
    for (size_t i = 0; i < s.kept.size(); ++i)
      if (s.kept[i].capacity >= bytes && s.kept[i].capacity <= 2 * bytes &&
          (best == s.kept.size() || s.kept[i].capacity < s.kept[best].capacity))
        best = i;
    if (best < s.kept.size()) {
      const Block block = s.take(best);
      s.use(block.capacity);
      *capacity = block.capacity;
      return block.memory;
    }
  }
  *capacity = bytes;
  void* const memory = allocate_or_trim(bytes);
  const std::lock_guard<std::mutex> lock(s.mutex);
  s.use(bytes);
  return memory;
}

void release_memory(void* memory, size_t capacity) noexcept {
  if (!kKeeps) return deallocate({memory, capacity});
  const Block own{memory, capacity};
  Store& s = store();
  for (bool released = false;; released = true) {
    Block leaves = own;
    {
      std::lock_guard<std::mutex> lock(s.mutex);
      if (!released) s.used_bytes -= capacity;
      if (s.may_keep(capacity)) {
        if (s.kept.size() < kKeptBlocks && s.may_keep(s.kept_bytes + capacity)) {
          s.kept.push_back(own);
          s.kept_bytes += capacity;
          return;
        }
        // Not the newest: work that moves on to other sizes would never find a block again.
        leaves = s.take(0);
      }
    }
    deallocate(leaves);
    if (leaves.memory == memory) return;
  }
}

size_t trim_memory() {
  Store& s = store();
  std::vector<Block> blocks;
  blocks.reserve(kKeptBlocks);
  {
    std::lock_guard<std::mutex> lock(s.mutex);
    blocks.swap(s.kept);
    s.kept_bytes = 0;
  }
  size_t freed = 0;
  for (const Block& block : blocks) {
    freed += block.capacity;
    deallocate(block);
  }
  return freed;
}

}  // namespace unrolled
