#include "cuda/emulation.hpp"

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulation {

Index thread_index, block_index, block_size, grid_size;
Barriers barriers = Barriers::kAll;

namespace {

constexpr size_t kStackBytes = 64 * 1024;
constexpr int kWarp = 32;
constexpr unsigned kShortBurst = 2, kLongestBurst = 256;  // in rounds
constexpr int kPatience = 200;  // bursts in which threads do nothing but look at a counter

// Where threads wait for each other: the last one to arrive begins the next turn.
struct Meeting {
  unsigned size = 0, arrived = 0, turn = 0;
};

struct Warp {
  Meeting meeting;
  float values[2][kWarp];  // by turns: those of the last exchange may still be read
};

struct Block {
  unsigned index = 0;
  Meeting meeting;
  std::vector<Warp> warps;
  std::unique_ptr<float[]> shared;
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  void* fake_stack = nullptr;
  Block* block = nullptr;
  unsigned thread = 0;
  const Meeting* waits_at = nullptr;
  unsigned turn = 0;
  bool spins = false, done = false;

  bool ready() const { return !done && (waits_at == nullptr || waits_at->turn != turn); }
};

std::mt19937 generator;
const std::function<void()>* body;
Fiber* running;
ucontext_t scheduler;
void* scheduler_fake_stack = nullptr;
const void* scheduler_stack = nullptr;
size_t scheduler_stack_bytes = 0;

// AddressSanitizer has to know on which stack the program runs.
void before_switch([[maybe_unused]] void** fake, [[maybe_unused]] const void* stack,
                   [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake, stack, bytes);
#endif
}
void behind_switch([[maybe_unused]] void* fake, [[maybe_unused]] const void** stack,
                   [[maybe_unused]] size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, stack, bytes);
#endif
}

void suspend() {
  Fiber* self = running;
  before_switch(self->done ? nullptr : &self->fake_stack, scheduler_stack, scheduler_stack_bytes);
  swapcontext(&self->context, &scheduler);
  behind_switch(self->fake_stack, nullptr, nullptr);
}

void enter() {
  behind_switch(nullptr, &scheduler_stack, &scheduler_stack_bytes);
  (*body)();
  running->done = true;
  suspend();
}

void resume(Fiber& fiber) {
  running = &fiber;
  fiber.waits_at = nullptr;
  fiber.spins = false;
  thread_index = {fiber.thread};
  block_index = {fiber.block->index};
  before_switch(&scheduler_fake_stack, fiber.stack.get(), kStackBytes);
  swapcontext(&scheduler, &fiber.context);
  behind_switch(scheduler_fake_stack, nullptr, nullptr);
}

void meet(Meeting& meeting) {
  if (++meeting.arrived == meeting.size) {
    meeting.arrived = 0;
    ++meeting.turn;
    return;
  }
  running->waits_at = &meeting;
  running->turn = meeting.turn;
  suspend();
}

Block make_block(unsigned index, int threads, int64_t shared_bytes) {
  Block block;
  block.index = index;
  block.meeting.size = static_cast<unsigned>(threads);
  for (int first = 0; first < threads; first += kWarp)
    block.warps.emplace_back().meeting.size =
        static_cast<unsigned>(std::min(kWarp, threads - first));
  const size_t floats = static_cast<size_t>(shared_bytes) / sizeof(float);
  block.shared.reset(new float[floats]);
  std::fill_n(block.shared.get(), floats, std::numeric_limits<float>::quiet_NaN());
  return block;
}

// Lets a block alone go on for a while, of which some warps or some threads rest in every round:
// one that is ahead of the others is what a missing barrier shows up with. Returns whether anything
// was done.
bool run_burst(std::vector<Fiber*>& fibers) {
  bool progress = false;
  unsigned rounds = generator() % 2 == 0 ? kShortBurst : generator() % kLongestBurst;
  for (; rounds > 0 && !fibers.empty(); --rounds) {
    std::shuffle(fibers.begin(), fibers.end(), generator);
    const bool by_warps = generator() % 4 != 0;
    const auto resting_warps = generator();
    for (Fiber* fiber : fibers) {
      const auto rests = by_warps ? resting_warps >> (fiber->thread / kWarp) : generator();
      if (rests % 2 != 0 || !fiber->ready()) continue;
      resume(*fiber);
      progress = progress || !fiber->spins;
      // It waits for other blocks: time for them, whatever the rest of this one has still to do.
      if (fiber->spins && generator() % 2 == 0) return progress;
    }
    std::erase_if(fibers, [](const Fiber* fiber) { return fiber->done; });
  }
  return progress;
}

void run_together(std::vector<Block>& blocks, unsigned threads) {
  static std::vector<std::unique_ptr<Fiber>> fibers;  // kept: stacks are large
  while (fibers.size() < blocks.size() * threads) fibers.push_back(std::make_unique<Fiber>());
  std::vector<std::vector<Fiber*>> left(blocks.size());
  for (size_t i = 0; i < blocks.size() * threads; ++i) {
    Fiber& fiber = *fibers[i];
    fiber.block = &blocks[i / threads];
    fiber.thread = static_cast<unsigned>(i % threads);
    fiber.waits_at = nullptr;
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
    left[i / threads].push_back(&fiber);
  }
  for (int idle = 0; !left.empty();) {
    idle = run_burst(left[generator() % left.size()]) ? 0 : idle + 1;
    std::erase_if(left, [](const auto& block) { return block.empty(); });
    if (idle > kPatience) {
      std::fprintf(stderr, "deadlock: the threads of %zu blocks wait for each other\n",
                   left.size());
      std::abort();
    }
  }
}

}  // namespace

void seed(unsigned value) { generator.seed(value); }

float* shared_memory() { return running->block->shared.get(); }

void maybe_yield() {
  if (generator() % 2 == 0) suspend();
}

void spin() {
  running->spins = true;
  suspend();
}

void meet_block() {
  if (barriers != Barriers::kNotOfBlocks) meet(running->block->meeting);
}

float exchange(float value, int from_lane) {
  Warp& warp = running->block->warps[running->thread / kWarp];
  float* values = warp.values[warp.meeting.turn % 2];
  values[running->thread % kWarp] = value;
  meet(warp.meeting);
  return values[from_lane];
}

void run(const std::function<void()>& thread, int64_t blocks, int threads, int64_t shared_bytes,
         bool together) {
  body = &thread;
  block_size = {static_cast<unsigned>(threads)};
  grid_size = {static_cast<unsigned>(blocks)};
  std::vector<unsigned> indices(static_cast<size_t>(blocks));
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<unsigned>(i);
  std::shuffle(indices.begin(), indices.end(), generator);
  std::vector<Block> group;
  for (const unsigned index : indices) {
    group.push_back(make_block(index, threads, shared_bytes));
    if (together && group.size() < indices.size()) continue;
    run_together(group, static_cast<unsigned>(threads));
    group.clear();
  }
}

}  // namespace emulation
