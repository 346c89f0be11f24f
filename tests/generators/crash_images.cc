// crash_images DIRECTORY COUNT FIRST_SEED: writes images that crashes of random programs leave.
//
//   SEED/base       what the images of this seed are backed by, if they are
//   SEED/N.qcow2    crash state number N of the program
//   SEED/N.raw      its disk, as the engine reads it

#include <fmt/core.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "byre/storage/memory.h"
#include "support/simulation.h"

namespace {

namespace fs = std::filesystem;

constexpr unsigned one_in = 5;  // crash states of a moment resemble one another
constexpr std::uint64_t images_of_a_seed = 20;

void write_file(const fs::path& path, byre::ConstBytes bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

bool write_content(const fs::path& path, const byre::test::TestImage& test, byre::ConstBytes image) {
  byre::EventLoop loop(std::make_unique<byre::SimulatedScheduler>(0));  // nothing waits on memory
  const auto content = loop.run(byre::test::read_all(image, test));
  if (content) write_file(path, *content);
  return content.has_value();
}

// Returns how many images were written, at most `most`.
std::uint64_t write_images(const fs::path& directory, std::uint64_t seed, std::uint64_t most, bool& sound) {
  fs::create_directories(directory);
  byre::test::SimulationOptions options;
  options.seed = seed;
  options.operations = seed % 2 == 0 ? 6 : 40;
  options.crash_one_in = seed % 2 == 0 ? 1 : 8;
  std::uint64_t seen = 0;
  std::uint64_t written = 0;
  options.on_crash = [&](const byre::test::TestImage& test, byre::ConstBytes image) {
    if (++seen % one_in != 0 || written == most) return;
    if (written++ == 0) write_file(directory / "base", test.backing);
    write_file(directory / fmt::format("{}.qcow2", seen), image);
    sound = write_content(directory / fmt::format("{}.raw", seen), test, image) && sound;
  };
  const byre::test::SimulationResult result = byre::test::simulate(options);
  if (!result.failure.empty()) fmt::print(stderr, "seed {}: {}\n", seed, result.failure);
  sound = sound && result.failure.empty();
  return written;
}

}  // namespace

int main(int argument_count, char** arguments) {
  if (argument_count != 4) {
    fmt::print(stderr, "usage: crash_images DIRECTORY COUNT FIRST_SEED\n");
    return 2;
  }
  std::uint64_t left = std::strtoull(arguments[2], nullptr, 10);
  std::uint64_t seed = std::strtoull(arguments[3], nullptr, 10);
  bool sound = true;
  for (; left > 0; ++seed) {
    left -= write_images(fs::path(arguments[1]) / std::to_string(seed), seed, std::min(left, images_of_a_seed), sound);
  }
  return sound ? 0 : 1;
}
