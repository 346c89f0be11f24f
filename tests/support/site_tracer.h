// Names the place of each I/O of a simulated disk: its kind, and whose the bytes are that it touches. What nobody owns
// yet is looked at again after each flush, until the link to it is there.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "byre/storage/simulated.h"
#include "support/region_map.h"

namespace byre::test {

class SiteTracer {
 public:
  // The disk must outlive it, and tells it of every operation from now on.
  explicit SiteTracer(SimulatedDisk& disk);

  // Of the operations since then, in the order of their submission.
  std::vector<std::string> sites() const;

 private:
  struct Event {
    StorageOperation operation;
    std::uint64_t offset, length;
    std::string region;      // empty: not known yet
    bool fresh = false;      // nobody's when it was written
    std::size_t behind = 0;  // of a flush: the write before it, from 1; 0: none
  };
  void note(const StorageEvent& event);
  void look_again();
  std::string text(const Event& event) const;

  SimulatedDisk& disk_;
  std::vector<Event> events_;
  std::vector<std::size_t> open_;  // events whose region is not known
  std::unordered_map<std::uint64_t, RegionKind> last_owner_;
  std::size_t last_write_ = 0;
};

}  // namespace byre::test
