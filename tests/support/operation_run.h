// Exclusive operations (snapshots, amend, ...) in the simulator: crash at every moment, or fail any I/O, and look
// whether the image is sound and shows the state before or the state after, all snapshots included.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "byre/storage/simulated.h"
#include "support/test_image.h"

namespace byre::test {

using Content = std::vector<std::byte>;

// What a guest can see of an image.
struct DiskState {
  Content disk;
  std::map<std::string, Content> snapshots;  // by id

  friend bool operator==(const DiskState&, const DiskState&) = default;
};

class OperationRun {
 public:
  using Operation = std::function<Task<Result<void>>(Disk& disk)>;

  // An empty image. `seed` decides the order of I/O, the crash states, and nothing else.
  OperationRun(std::uint64_t seed, const TestImage& test);

  // Runs something without crashes, in memory, and looks at what it left.
  void prepare(const Operation& operation);

  // Changes bytes of the image, as an outside tool would, and looks at what that left.
  void edit(const std::function<void(Content& image)>& change);

  // Runs the operation, which leads from state() to `after`, with crashes. Where the fault makes it fail, it is run
  // again without: on the same disk, or where that has stopped on one that is opened anew.
  void run(const Operation& operation, const DiskState& after, const FaultPlan& fault = {});

  const DiskState& state() const { return state_; }
  const Content& image() const { return image_; }
  TestImage& test() { return test_; }
  SimulatedRandom& random() { return random_; }

  std::string failure;             // the first that was found; empty: none
  std::uint64_t crash_states = 0;  // that were examined, each a different image within its run()
  std::uint64_t operations = 0;    // I/O of the last run() up to the end of the operation

 private:
  void fail(const std::string& text) {
    if (failure.empty()) failure = text;
  }
  Task<Result<void>> attempt(Disk& disk, const Operation& operation, const FaultPlan& fault);
  bool done_after_all();
  void look_again();
  void again(const Operation& operation);
  void crash();
  void examine(const Content& image, const std::string& where);
  void examine_writable(const Content& image, const std::string& where, const DiskState& seen);
  void finish(bool faulty);
  Result<DiskState> look(const Content& image);

  std::uint64_t seed_;
  TestImage test_;
  SimulatedRandom random_;
  Content image_, crash_;
  std::unordered_set<std::size_t> examined_;  // hashes of the crash states of this run()
  DiskState state_, after_;
  SimulatedDisk* storage_ = nullptr;
  bool failed_ = false;
  std::uint64_t known_leaks_ = 0;
};

// One of these operations: an internal snapshot, of some name.
Task<Result<void>> take_snapshot(Disk& disk);

}  // namespace byre::test
