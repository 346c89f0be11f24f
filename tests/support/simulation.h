// One run of the real engine in the simulator: a random program on a small image, several requests in flight, I/O that
// completes in a seeded order, crashes at every or at random moments, and the checks after each. Everything follows
// from the seed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "byre/storage/simulated.h"
#include "format/geometry.h"
#include "support/test_image.h"

namespace byre::test {

struct SimulationOptions {
  std::uint64_t seed = 0;
  unsigned operations = 12;
  unsigned workers = 3;
  // A crash is examined before one in so many completions; 1: every one.
  unsigned crash_one_in = 1;
  unsigned images_per_crash = 4;
  FaultPlan fault;     // applied to the program, not to its preparation
  bool large = false;  // allow clusters above 4 KiB
  // Picks which of so many pending completions comes next. Empty: an order is drawn.
  std::function<std::size_t(std::size_t count)> choose;
  std::uint32_t sector_bytes = 0;  // 512 or 4096; 0: drawn
  // Sees the disk before the program begins.
  std::function<void(SimulatedDisk& storage, Disk& disk)> on_start;
  // Sees each crash image before it is examined.
  std::function<void(const TestImage& test, ConstBytes image)> on_crash;
  bool crowded = false;  // nearly all that the refcount table can count is taken, so that it must grow
  bool lazy = false;     // lazy refcounts, and little that keeps a flush from taking one sync only
};

struct SimulationResult {
  std::uint64_t crash_states = 0;
  std::uint32_t sector_bytes = 0;
  std::uint64_t disk_bytes = 0;
  std::uint64_t picks = 0;
  std::uint64_t faults = 0;
  std::uint64_t operations_on_disk = 0;  // I/O of the program, for placing faults
  std::string failure;                   // empty: nothing found
};

SimulationResult simulate(const SimulationOptions& options);

class Simulation;

// One program run again and again, each time in another order or with another fault: image and backing content are made
// once.
class RepeatedSimulation {
 public:
  explicit RepeatedSimulation(const SimulationOptions& options);
  RepeatedSimulation(const RepeatedSimulation&) = delete;
  RepeatedSimulation& operator=(const RepeatedSimulation&) = delete;
  ~RepeatedSimulation();
  void set_crash_one_in(unsigned completions);
  SimulationResult run() const;
  SimulationResult run(const FaultPlan& fault) const;  // in place of that of the options

 private:
  std::unique_ptr<Simulation> prepared_;
};

}  // namespace byre::test
