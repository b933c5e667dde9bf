// The thread team. A call enters it once; its members meet at spin barriers.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/table.hpp"

namespace unrolled {

// set_num_threads, else UNROLLED_NUM_THREADS, else the CPUs that this process may run on.
int wanted_threads();
// Threads that a call may use: as many as are wanted, but no more than those CPUs, unless
// UNROLLED_OVERSUBSCRIBE is 1.
int num_threads();
void set_num_threads(int count);  // throws std::invalid_argument unless 1 <= count <= 1024

// How many threads pay for `work` floating-point operations that meet `meetings` times at a
// barrier and can be cut into at most `parts` parts. Never changes a result.
int team_size(double work, int64_t meetings, int64_t parts);

// Calls body(context, team) on `size` threads, the caller being rank 0, and returns when all are
// done. When the team is busy with a call from another Python thread, the caller does all the work
// alone: same result, no waiting. `body` must not throw.
void run_team(int size, void* context, void (*body)(void* context, const Team& team));

template <class F>
void run_team(int size, F&& body) {
  using Body = std::remove_reference_t<F>;
  run_team(size, const_cast<void*>(static_cast<const void*>(&body)),
           [](void* context, const Team& team) { (*static_cast<Body*>(context))(team); });
}

}  // namespace unrolled
