// The parts of the request path by themselves: CPU time of one operation, no system call but where said.

#include <benchmark/benchmark.h>

#include <random>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "data/qcow2_disk.h"
#include "format/compression.h"
#include "format/entry.h"
#include "support/fresh_image.h"

namespace byre {
namespace {

constexpr std::uint64_t disk_bytes = 16 << 20;
constexpr std::size_t request_bytes = 4096;

// An allocated image in memory, small enough for the processor's caches: the engine's own time is what counts.
struct Fixture {
  Fixture() : loop(std::move(*make_event_loop(IoMode::threads))) {
    test::FreshImageOptions fresh;
    fresh.size_bytes = disk_bytes;
    OpenOptions options;
    options.format = "qcow2";
    options.writable = true;
    const auto image = test::fresh_image(fresh);
    disk = std::move(*loop->run(open_disk(std::make_unique<MemoryStorage>(ConstBytes(image)), options, nullptr)));
    const std::vector<std::byte> data(1 << 20, std::byte{0x5a});
    for (std::uint64_t at = 0; at < disk_bytes; at += data.size()) (void)loop->run(disk->write(at, data));
    (void)loop->run(disk->flush());
  }
  ~Fixture() { (void)loop->run(disk->close()); }
  std::uint64_t next_offset() { return random() % (disk_bytes / request_bytes) * request_bytes; }

  std::unique_ptr<EventLoop> loop;
  std::unique_ptr<Disk> disk;
  std::mt19937_64 random{1};
};

void decode_normal_l2_entry(benchmark::State& state) {
  const format::Geometry geometry;
  std::byte raw[8];
  format::encode_l2_entry(geometry, format::L2Entry::normal(HostOffset(0x50000), true), raw);
  for (auto _ : state) benchmark::DoNotOptimize(format::decode_l2_entry(geometry, raw));
}
BENCHMARK(decode_normal_l2_entry);

void lookup_cached_4k(benchmark::State& state) {
  Fixture fixture;
  auto& metadata = static_cast<Qcow2Disk&>(*fixture.disk).metadata();
  for (auto _ : state) benchmark::DoNotOptimize(metadata.lookup(GuestOffset(fixture.next_offset()), request_bytes));
}
BENCHMARK(lookup_cached_4k);

// The whole path of a 4 KiB read but the system call: memory takes its place, with the copy that it makes.
void read_allocated_4k(benchmark::State& state) {
  Fixture fixture;
  std::vector<std::byte> buffer(request_bytes);
  for (auto _ : state) {
    const Bytes target(buffer);
    benchmark::DoNotOptimize(fixture.loop->run(fixture.disk->read(fixture.next_offset(), target)));
  }
}
BENCHMARK(read_allocated_4k);

void write_allocated_4k(benchmark::State& state) {
  Fixture fixture;
  const std::vector<std::byte> buffer(request_bytes, std::byte{0x11});
  for (auto _ : state) {
    const ConstBytes data(buffer);
    benchmark::DoNotOptimize(fixture.loop->run(fixture.disk->write(fixture.next_offset(), data)));
  }
}
BENCHMARK(write_allocated_4k);

std::vector<std::byte> text_like_cluster() {
  std::vector<std::byte> cluster(65536);
  std::mt19937_64 random(1);
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    cluster[i] =
        i > 64 && random() % 4 != 0 ? cluster[i - 1 - random() % 64] : static_cast<std::byte>('a' + random() % 26);
  }
  return cluster;
}

void compress_64k(benchmark::State& state) {
  const auto type = static_cast<format::CompressionType>(state.range(0));
  const auto cluster = text_like_cluster();
  std::vector<std::byte> payload(cluster.size() - 1);
  for (auto _ : state) benchmark::DoNotOptimize(format::compress_cluster(type, 0, cluster, payload));
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * 65536);
  state.SetLabel(state.range(0) == 0 ? "deflate" : "zstd");
}
BENCHMARK(compress_64k)->Arg(0)->Arg(1);

void decompress_64k(benchmark::State& state) {
  const auto type = static_cast<format::CompressionType>(state.range(0));
  auto cluster = text_like_cluster();
  std::vector<std::byte> payload(cluster.size() - 1);
  payload.resize(format::compress_cluster(type, 0, cluster, payload));
  for (auto _ : state) benchmark::DoNotOptimize(format::decompress_cluster(type, payload, cluster));
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * 65536);
  state.SetLabel(state.range(0) == 0 ? "deflate" : "zstd");
}
BENCHMARK(decompress_64k)->Arg(0)->Arg(1);

}  // namespace
}  // namespace byre
