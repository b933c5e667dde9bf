// Locks of memory that a fork copies.
#pragma once

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace unrolled {

// Call once: from then on a fork waits until nobody holds the lock `owner().mutex`. A child has the
// forking thread alone, and would wait for ever for a lock that another one held.
template <auto owner>
void keep_usable_after_fork() {
#if !defined(_WIN32)
  pthread_atfork([] { owner().mutex.lock(); }, [] { owner().mutex.unlock(); },
                 [] { owner().mutex.unlock(); });
#endif
}

}  // namespace unrolled
