// The thread team as kernels see it.
#pragma once

namespace unrolled {

// One member of the thread team that runs a kernel. Every member calls the same kernel with the
// same arguments and does the share of `rank`; wait() returns when all members have called it.
struct Team {
  int rank, size;
  void* barrier;
  void (*wait)(void* barrier, int rank);
};

}  // namespace unrolled
