// The server's used buffers: given out again by length, and bounded.

#include <gtest/gtest.h>

#include "nbd/buffer_shelf.h"

namespace byre::nbd {
namespace {

TEST(NbdBufferShelf, GivesBackWhatHasTheSameLength) {
  BufferShelf shelf;
  Buffer small(512), large(1 << 20);
  const std::byte* const at_small = small.data();
  const std::byte* const at_large = large.data();
  shelf.give_back(std::move(small));
  shelf.give_back(std::move(large));
  EXPECT_EQ(shelf.take(1 << 20).data(), at_large);
  const Buffer other = shelf.take(4096);
  EXPECT_EQ(other.size(), 4096u);
  EXPECT_NE(other.data(), at_small);
  EXPECT_EQ(shelf.take(512).data(), at_small);
}

TEST(NbdBufferShelf, KeepsNoMoreThanItMayAndDropsTheOldest) {
  BufferShelf shelf;
  std::vector<const std::byte*> given;
  for (int i = 0; i < 9; ++i) {
    Buffer buffer(1 << 20);
    given.push_back(buffer.data());
    shelf.give_back(std::move(buffer));
  }
  EXPECT_EQ(shelf.kept_bytes(), BufferShelf::most_bytes);
  Buffer newest = shelf.take(1 << 20);
  EXPECT_EQ(newest.data(), given.back());

  // Others of another length replace those that nobody asks for.
  for (std::size_t i = 0; i < 2 * BufferShelf::most_buffers; ++i) shelf.give_back(Buffer(65536));
  EXPECT_LE(shelf.kept_bytes(), BufferShelf::most_bytes);
  EXPECT_EQ(shelf.kept_bytes() % (1 << 20), 0u);
  std::size_t count = 0;
  for (; shelf.kept_bytes() > 0; ++count) EXPECT_EQ(shelf.take(65536).size(), 65536u);
  EXPECT_EQ(count, BufferShelf::most_bytes / 65536);

  shelf.give_back(Buffer(2 * BufferShelf::most_bytes));
  EXPECT_EQ(shelf.kept_bytes(), 0u);
}

}  // namespace
}  // namespace byre::nbd
