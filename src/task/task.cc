// Frame memory for coroutines. A request makes a handful of short-lived frames of the same few sizes, so a free list
// per size class and thread serves nearly all of them without the heap. Sanitizer builds use the heap, so that a
// frame used after its end is found.

#include "byre/task/task.h"

#include <array>
#include <cstdlib>
#include <new>

namespace byre {
namespace {

constexpr std::size_t class_size_bytes = 64;
constexpr std::size_t class_count = 64;  // frames up to 4 KiB
constexpr std::size_t kept_per_class = 256;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool pooled = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
constexpr bool pooled = false;
#else
constexpr bool pooled = true;
#endif
#else
constexpr bool pooled = true;
#endif

struct FreeFrame {
  FreeFrame* next;
};

struct FreeLists {
  std::array<FreeFrame*, class_count> heads{};
  std::array<std::size_t, class_count> counts{};
  ~FreeLists() {
    for (FreeFrame* head : heads) {
      while (head) ::operator delete(std::exchange(head, head->next));
    }
  }
};
thread_local FreeLists free_lists;

}  // namespace

void* allocate_frame(std::size_t size_bytes) {
  const std::size_t size_class = (size_bytes + class_size_bytes - 1) / class_size_bytes;
  if (!pooled || size_class >= class_count) return ::operator new(size_bytes);
  FreeFrame*& head = free_lists.heads[size_class];
  if (!head) return ::operator new(size_class * class_size_bytes);
  --free_lists.counts[size_class];
  return std::exchange(head, head->next);
}

void release_frame(void* frame, std::size_t size_bytes) noexcept {
  const std::size_t size_class = (size_bytes + class_size_bytes - 1) / class_size_bytes;
  if (!pooled || size_class >= class_count || free_lists.counts[size_class] >= kept_per_class) {
    ::operator delete(frame);
    return;
  }
  ++free_lists.counts[size_class];
  free_lists.heads[size_class] = new (frame) FreeFrame{free_lists.heads[size_class]};
}

}  // namespace byre
