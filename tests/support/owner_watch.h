// Watches who owns each host cluster while the engine runs, by looks from outside: the tables on the disk (durable, and
// as written so far), the engine's answer for each guest cluster, and the I/O in flight. Found wrong:
//
//   two owners     two guest clusters on one host cluster, or data where the disk has a table
//   taken early    a write or punch where what is durable on the disk still refers to something else
//   taken twice    a write to a cluster that is nobody's yet, or a punch, where other I/O is in flight
#pragma once

#include <map>
#include <optional>
#include <string>

#include "byre/data/disk.h"
#include "byre/storage/simulated.h"
#include "support/region_map.h"

namespace byre {
class Qcow2Disk;
}

namespace byre::test {

class OwnerWatch {
 public:
  // Looks at every event of `storage` from now on; `disk` is open on it. Both must outlive the last event.
  OwnerWatch(SimulatedDisk& storage, Disk& disk);

  std::uint64_t looks() const { return looks_; }        // at the whole
  std::uint64_t requests() const { return requests_; }  // writes and punches that were held against the maps
  const std::string& failure() const { return failure_; }

 private:
  struct InFlight {
    StorageOperation operation;
    std::uint64_t begin, end;
  };
  using Owners = std::map<std::uint64_t, std::vector<Region>>;

  void note(const StorageEvent& event);
  static bool only_read_along(const StorageEvent& event, const InFlight& other);
  Owners owners_in_memory();
  void check_all(const Owners& in_memory);
  void check_request(const StorageEvent& event, const Owners& in_memory);
  void check_cluster(const StorageEvent& event, std::uint64_t cluster, const Owners& in_memory);
  const RegionMap& durable();
  void fail(std::string text);

  SimulatedDisk& storage_;
  Qcow2Disk& disk_;
  std::map<std::uint64_t, InFlight> in_flight_;  // by number
  std::vector<std::byte> durable_image_;
  std::optional<RegionMap> durable_;
  std::uint64_t looks_ = 0;
  std::uint64_t requests_ = 0;
  std::string failure_;
};

}  // namespace byre::test
