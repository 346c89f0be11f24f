// random_io IMAGE read|write|flush|randread|randwrite DEPTH COUNT [none]: 4 KiB requests through the library, several
// in flight; at strided offsets, as `qemu-img bench -s 4096 -S STEP -c COUNT -d DEPTH` makes them, or drawn ones. With
// `flush` each is a write to the next 64 KiB with a flush behind it, as with `-w -S 65536 --flush-interval=1`. `none`
// is direct I/O. Prints the seconds that the requests took.

#include <fmt/core.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "byre/data/disk.h"
#include "byre/task/pollers.h"
#include "byre/task/sync.h"

namespace byre {
namespace {

constexpr std::uint64_t request_bytes = 4096;
constexpr std::uint64_t step_bytes = 4096 * 16411;  // a stride that visits the disk in no local order
constexpr std::uint64_t flushed_step_bytes = 64 << 10;

struct Job {
  Disk& disk;
  bool write;
  bool flush;
  bool random;
  std::uint64_t left;
  std::uint64_t at = 0;
  std::mt19937_64 draw{1};

  std::uint64_t take_offset() {
    if (random) return draw() % (disk.size_bytes() / request_bytes) * request_bytes;
    const std::uint64_t taken = at;
    at = (at + (flush ? flushed_step_bytes : step_bytes)) % disk.size_bytes();
    return taken;
  }
};

Task<Result<void>> work(Job& job) {
  std::vector<std::byte> buffer(request_bytes, std::byte{0x5a});
  while (job.left > 0) {
    --job.left;
    const std::uint64_t offset = job.take_offset();
    if (job.write) {
      const ConstBytes data(buffer);
      BYRE_CO_CHECK(co_await job.disk.write(offset, data));
      if (job.flush) BYRE_CO_CHECK(co_await job.disk.flush());
    } else {
      const Bytes target(buffer);
      BYRE_CO_CHECK(co_await job.disk.read(offset, target));
    }
  }
  co_return Result<void>{};
}

Task<Result<double>> measure(std::string path, std::string what, unsigned depth, std::uint64_t count, CacheMode cache) {
  const bool random = what.starts_with("rand");
  const bool write = !what.ends_with("read");
  OpenOptions options;
  options.format = "qcow2";
  options.writable = write;
  options.cache = cache;
  BYRE_CO_TRY(auto disk, co_await open_disk(path, options));
  Job job{*disk, write, what == "flush", random, count};
  const auto begin = std::chrono::steady_clock::now();
  TaskGroup group;
  for (unsigned i = 0; i < depth; ++i) group.start(work(job));
  BYRE_CO_CHECK(co_await group.join());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  BYRE_CO_CHECK(co_await disk->close());
  co_return seconds.count();
}

}  // namespace
}  // namespace byre

int main(int argc, char** argv) {
  const bool direct = argc == 6 && std::string(argv[5]) == "none";
  if (argc != 5 && !direct) {
    fmt::print(stderr, "usage: random_io IMAGE read|write|flush|randread|randwrite DEPTH COUNT [none]\n");
    return 1;
  }
  auto loop = byre::make_event_loop();
  if (!loop) return 1;
  const auto depth = static_cast<unsigned>(std::atoi(argv[3]));
  const auto cache = direct ? byre::CacheMode::none : byre::CacheMode::writeback;
  const auto seconds = (*loop)->run(byre::measure(argv[1], argv[2], depth, std::strtoull(argv[4], nullptr, 10), cache));
  if (!seconds) {
    fmt::print(stderr, "random_io: {}\n", seconds.error().message());
    return 1;
  }
  fmt::print("{:.3f}\n", *seconds);
  return 0;
}
