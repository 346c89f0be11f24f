// A program with an event loop of its own, here plain poll(2), reads a whole disk with eight requests on their way and
// answers to its standard input meanwhile. Prints the sum of all bytes; a line of input asks how far it has come.
//   own_loop IMAGE
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "byre/data/image.h"

int main(int count, char** words) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s IMAGE\n", words[0]);
    return 2;
  }
  byre::OpenOptions options;
  options.format = "qcow2";
  auto opened = byre::Image::open(byre::open_disk(words[1], options));
  if (!opened) {
    std::fprintf(stderr, "%s\n", opened.error().message().c_str());
    return 1;
  }
  byre::Image& image = **opened;
  const std::uint64_t size = image.disk().size_bytes();
  constexpr std::uint64_t piece = 256 << 10;
  byre::Buffer buffers[8];
  std::uint64_t next = 0, done = 0, sum = 0;
  const auto read_next = [&](std::uint64_t slot) {
    if (next >= size) return;
    buffers[slot] = byre::Buffer(std::min(piece, size - next));
    image.read(next, buffers[slot].bytes(), slot);
    next += piece;
  };
  for (std::uint64_t slot = 0; slot < 8; ++slot) read_next(slot);
  pollfd waiting[] = {{image.descriptor(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  while (image.under_way() > 0) {
    image.submit();
    if (poll(waiting, 2, -1) < 0) continue;  // EINTR
    char line[256];
    if (waiting[1].revents != 0) {
      if (read(STDIN_FILENO, line, sizeof line) <= 0) waiting[1].fd = -1;
      std::printf("%llu of %llu bytes\n", static_cast<unsigned long long>(done), static_cast<unsigned long long>(size));
    }
    for (const auto& [slot, result] : image.completions()) {
      if (!result) std::fprintf(stderr, "%s\n", result.error().message().c_str());
      if (!result) return 1;
      for (const std::byte byte : buffers[slot].bytes()) sum += static_cast<std::uint64_t>(byte);
      done += buffers[slot].size();
      read_next(slot);
    }
  }
  std::printf("sum %llu\n", static_cast<unsigned long long>(sum));
  return image.close() ? 0 : 1;
}
