// Buffers of aligned memory that are kept for the next call when they are given back: fresh pages
// cost the kernel more than the work on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace unrolled {

// Aligned to a cache line; big buffers to 2 MB, with huge pages asked for. Throws std::bad_alloc.
void* acquire_memory(size_t bytes, size_t* capacity);
void release_memory(void* memory, size_t capacity) noexcept;

// AddressSanitizer watches the end of a block; between the parts of one, it watches what it is told
// to. Elsewhere there is nothing to guard.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr size_t kGuardBytes = 64;
void guard_memory(void* memory, size_t bytes);  // until the block is released
void unguard_memory(void* memory, size_t bytes);
#else
inline constexpr size_t kGuardBytes = 0;
inline void guard_memory(void*, size_t) {}
inline void unguard_memory(void*, size_t) {}
#endif

// Frees what is kept; returns the number of bytes.
size_t trim_memory();

// An uninitialised array of T.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t size) : size_(size) {
    if (size > 0)
      data_ = static_cast<T*>(acquire_memory(static_cast<size_t>(size) * sizeof(T), &capacity_));
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  // Memory of somebody else, who keeps it for as long as the buffer lives.
  static Buffer lent(T* data, int64_t size) {
    Buffer buffer;
    buffer.data_ = data;
    buffer.size_ = size;
    return buffer;
  }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() {
    if (capacity_ > 0)
      release_memory(data_, capacity_);
    else if (data_ != nullptr)
      unguard_memory(data_, static_cast<size_t>(bytes()));
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }
  int64_t bytes() const { return size_ * static_cast<int64_t>(sizeof(T)); }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  T* data_ = nullptr;
  int64_t size_ = 0;
  size_t capacity_ = 0;
};

// Distance between rows of `width` elements: whole cache lines and never a multiple of 512 bytes,
// so that a column of a matrix does not fall into a few sets of the cache.
template <class T>
inline int64_t padded_stride(int64_t width) {
  const int64_t line = 64 / static_cast<int64_t>(sizeof(T));
  const int64_t lines = (width + line - 1) / line;
  return (lines % 8 == 0 ? lines + 1 : lines) * line;
}

}  // namespace unrolled
