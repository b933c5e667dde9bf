#include "runtime/threads.hpp"

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

namespace unrolled {
namespace {

constexpr int kMaxThreads = 1024;
// Spins before a waiting thread goes to sleep. A pause is 40 to 140 cycles, so these are 0.1 to 0.4
// milliseconds: after a fifth of that, threads slept where another had only a little more to do.
constexpr int kSpins = 10000;

// CPUs that this process may run on.
int available_cpus() {
  int count = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) count = CPU_COUNT(&allowed);
#endif
  return std::clamp(count, 1, kMaxThreads);
}

// Members beyond the CPUs cost time and gain nothing, but a test of many wants them on any machine.
bool may_oversubscribe() {
  static const bool may = [] {
    const char* text = std::getenv("UNROLLED_OVERSUBSCRIBE");
    return text != nullptr && std::string(text) == "1";
  }();
  return may;
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// CPU on which the calling thread is, or -1 where nobody says.
int current_cpu() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// Where threads wait for a condition that others make true with sequentially consistent stores, and
// then ring: spinning at first, then asleep. Who is waited for so long has lost its core to
// somebody else, and an idle core may take it over. Yielding instead would keep that core busy, and
// where somebody else wants it give away a slice of milliseconds each time (Linux 6.18).
class Doorbell {
 public:
  // Returns whether it came to sleeping.
  template <class Done>
  bool wait(int spins, Done done) {
    for (int n = 0; n < spins; ++n) {
      if (done()) return false;
      pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    sleeping_.fetch_add(1);
    awake_.wait(lock, done);
    sleeping_.fetch_sub(1);
    return true;
  }
  void ring() {
    if (sleeping_.load() == 0) return;
    {
      std::lock_guard<std::mutex> lock(mutex_);
    }
    awake_.notify_all();
  }

 private:
  std::atomic<int> sleeping_{0};
  std::mutex mutex_;
  std::condition_variable awake_;
};

// The dissemination barrier of Hensgen, Finkel and Manber 1988: in round r every member signals the
// one 2^r places on and waits for the one 2^r places before. What a member waits for lies in a
// cache line that only one other member writes, so that a round costs one transfer between two
// cores.
struct Barrier {
  static constexpr int kRounds = 10;  // kMaxThreads = 2^10
  struct Member {
    alignas(64) std::atomic<unsigned> signals[kRounds] = {};  // the latest meeting signalled
    alignas(64) unsigned meeting = 0;                         // this member's own count
    alignas(64) Doorbell bell;
    std::atomic<int> cpu{-1};  // where it was last seen
  };
  Member members[kMaxThreads];
  int size = 1, spins = kSpins;

  // Where there are more members than CPUs, somebody waits for the core on which another spins.
  void resize(int members_now) {
    if (members_now == size) return;  // the cache line stays with everybody
    static const int cpus = available_cpus();
    size = members_now;
    spins = size > cpus ? 0 : kSpins;
  }

  void wait(int rank) {
    const unsigned meeting = ++members[rank].meeting;
    for (int round = 0, distance = 1; distance < size; ++round, distance *= 2) {
      Member& next = members[(rank + distance) % size];
      next.signals[round].store(meeting);
      next.bell.ring();
      // The other may be one meeting ahead.
      const bool slept =
          members[rank].bell.wait(spins, [&signal = members[rank].signals[round], meeting] {
            return static_cast<int>(signal.load() - meeting) >= 0;
          });
      if (slept) arrive(rank);
    }
  }

  // Notes where a member is. A worker that woke up on the CPU of another member goes to one
  // without: members that take turns on a CPU are never both ready to run when Linux looks for
  // somebody to move to an idle one.
  void arrive(int rank) {
    const int cpu = current_cpu();
    members[rank].cpu.store(cpu, std::memory_order_relaxed);
#if defined(__linux__)
    if (rank == 0) return;  // the caller's thread is not ours to move
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    cpu_set_t free = allowed;
    bool shared = false;
    for (int i = 0; i < size; ++i) {
      const int other = members[i].cpu.load(std::memory_order_relaxed);
      if (i == rank || other < 0) continue;
      shared = shared || other == cpu;
      CPU_CLR(static_cast<size_t>(other), &free);
    }
    if (!shared || CPU_COUNT(&free) == 0) return;
    if (sched_setaffinity(0, sizeof free, &free) == 0)
      sched_setaffinity(0, sizeof allowed, &allowed);
    members[rank].cpu.store(current_cpu(), std::memory_order_relaxed);
#endif
  }
};

// Workers are started when first needed and never end: the pool is leaked on purpose, so that no
// destructor runs while a worker waits at process exit.
class Pool {
 public:
  void run(int size, void* context, void (*body)(void*, const Team&)) {
    std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (size <= 1 || !owner.owns_lock()) {
      body(context, Team{0, 1, nullptr, nullptr});
      return;
    }
    size = start_workers(size);
    barrier_.resize(size);
    // Members that were not in the last team are behind: all begin where the caller stands.
    first_meeting_ = barrier_.members[0].meeting;
    barrier_.members[0].cpu.store(current_cpu(), std::memory_order_relaxed);
    context_ = context;
    body_ = body;
    remaining_.store(size - 1, std::memory_order_relaxed);
    // One word tells a worker both that there is a new job and whether it belongs to it; only
    // members of the team go on to read the other fields.
    job_.store(((job_.load() >> 16) + 1) << 16 | static_cast<uint64_t>(size));
    jobs_.ring();
    body(context, team(0, size));
    done_.wait(barrier_.spins, [&] { return remaining_.load() == 0; });
  }

 private:
  Team team(int rank, int size) {
    return {rank, size, &barrier_,
            [](void* barrier, int member) { static_cast<Barrier*>(barrier)->wait(member); }};
  }

  // Returns the team size that could be had.
  int start_workers(int size) {
    while (workers_ < size - 1) {
      try {
        std::thread(&Pool::work, this, workers_ + 1, job_.load()).detach();
      } catch (const std::system_error&) {
        break;  // the system gives no more threads: go on with those there are
      }
      ++workers_;
    }
    return std::min(size, workers_ + 1);
  }

  void work(int rank, uint64_t seen) {
    for (;;) {
      const uint64_t job = next_job(seen);
      seen = job;
      const int size = static_cast<int>(job & 0xffff);
      if (rank >= size) continue;
      barrier_.members[rank].meeting = first_meeting_;
      body_(context_, team(rank, size));
      if (remaining_.fetch_sub(1) == 1) done_.ring();
    }
  }

  uint64_t next_job(uint64_t seen) {
    jobs_.wait(kSpins, [&] { return job_.load() != seen; });
    return job_.load();
  }

  Barrier barrier_;
  std::mutex owner_;
  int workers_ = 0;
  // One cache line tells workers all of a job.
  alignas(64) std::atomic<uint64_t> job_{0};
  void* context_ = nullptr;
  void (*body_)(void*, const Team&) = nullptr;
  unsigned first_meeting_ = 0;
  alignas(64) std::atomic<int> remaining_{0};
  Doorbell jobs_, done_;
};

std::atomic<Pool*> current_pool{nullptr};

// After fork only the calling thread exists in the child: it begins again with a new pool.
Pool& pool() {
  static const bool registered = [] {
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, [] { current_pool.store(nullptr); });
#endif
    return true;
  }();
  (void)registered;
  Pool* found = current_pool.load(std::memory_order_acquire);
  if (found != nullptr) return *found;
  Pool* fresh = new Pool;
  if (current_pool.compare_exchange_strong(found, fresh)) return *fresh;
  delete fresh;
  return *found;
}

int parse_threads(const std::string& text) {
  try {
    size_t used = 0;
    const int count = std::stoi(text, &used);
    if (used == text.size() && count >= 1 && count <= kMaxThreads) return count;
  } catch (const std::logic_error&) {
    // not a number, or one that no int holds: reported below like any other bad value
  }
  throw std::invalid_argument("[threads] expected UNROLLED_NUM_THREADS to be 1 .. " +
                              std::to_string(kMaxThreads) + ", got '" + text + "'");
}

int default_threads() {
  if (const char* text = std::getenv("UNROLLED_NUM_THREADS"); text != nullptr && *text != '\0')
    return parse_threads(text);
  return available_cpus();
}

struct ThreadCount {
  std::atomic<int> wanted{default_threads()};
  std::atomic<int> cpus{available_cpus()};  // asked again whenever somebody wants another number
};

ThreadCount& thread_count() {
  static ThreadCount count;
  return count;
}

}  // namespace

int wanted_threads() { return thread_count().wanted.load(); }

int num_threads() {
  const ThreadCount& count = thread_count();
  return may_oversubscribe() ? count.wanted.load()
                             : std::min(count.wanted.load(), count.cpus.load());
}

void set_num_threads(int count) {
  if (count < 1 || count > kMaxThreads)
    throw std::invalid_argument("[set_num_threads] expected 1 .. " + std::to_string(kMaxThreads) +
                                ", got " + std::to_string(count));
  thread_count().wanted.store(count);
  thread_count().cpus.store(available_cpus());
}

int team_size(double work, int64_t meetings, int64_t parts) {
  // A call costs about 5 microseconds to hand out and each meeting about 0.3; at some 50 GFLOP/s a
  // thread that is the work below. A second thread must save more than it costs.
  const double call_cost = 250e3, meeting_cost = 15e3;
  const double worth = work / (call_cost + meeting_cost * static_cast<double>(meetings));
  const int64_t most = std::min<int64_t>(num_threads(), std::max<int64_t>(parts, 1));
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  return static_cast<int>(most);  // every path on a whole team, small as the problems of tests are
#endif
  return static_cast<int>(std::clamp<double>(worth, 1.0, static_cast<double>(most)));
}

void run_team(int size, void* context, void (*body)(void*, const Team&)) {
  pool().run(size, context, body);
}

}  // namespace unrolled
