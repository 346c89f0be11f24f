// A bag of references to host clusters, kept as runs: one reference to each cluster of a run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace byre {

struct ClusterRun {
  std::uint64_t first;
  std::uint64_t count;
  std::uint64_t references = 1;  // to each cluster

  std::uint64_t end() const { return first + count; }
  friend bool operator==(const ClusterRun&, const ClusterRun&) = default;
};

class ClusterRuns {
 public:
  void add(std::uint64_t first, std::uint64_t count) {
    if (count == 0) return;
    if (!runs_.empty() && runs_.back().end() == first) {
      runs_.back().count += count;
    } else {
      runs_.push_back({first, count});
    }
  }

  // The same bag as disjoint runs that rise; each cluster with its number of references.
  std::vector<ClusterRun> take_sorted();

 private:
  std::vector<ClusterRun> runs_;
};

}  // namespace byre
