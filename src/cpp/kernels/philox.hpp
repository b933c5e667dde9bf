// Counter-based random numbers: the same (seed, index) gives the same number for any thread count
// and in any order. Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
// (2011).
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define UNROLLED_ANYWHERE __host__ __device__
#else
#define UNROLLED_ANYWHERE
#endif

namespace unrolled {

struct PhiloxBlock {
  uint32_t word[4];
};

UNROLLED_ANYWHERE inline PhiloxBlock philox(uint64_t seed, uint64_t counter) {
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  PhiloxBlock x{{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0}};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * x.word[0], b = uint64_t{0xCD9E8D57} * x.word[2];
    x = {{static_cast<uint32_t>(b >> 32) ^ x.word[1] ^ key0, static_cast<uint32_t>(b),
          static_cast<uint32_t>(a >> 32) ^ x.word[3] ^ key1, static_cast<uint32_t>(a)}};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return x;
}

}  // namespace unrolled
