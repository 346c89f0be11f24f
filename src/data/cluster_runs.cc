// Runs that overlap (payloads that share a cluster) are laid over one another: each begin and each end is a step in the
// number of references.

#include "data/cluster_runs.h"

#include <utility>

namespace byre {
namespace {

bool overlap_somewhere(const std::vector<ClusterRun>& runs) {
  for (std::size_t i = 1; i < runs.size(); ++i) {
    if (runs[i].first < runs[i - 1].end()) return true;
  }
  return false;
}

std::vector<ClusterRun> laid_over(const std::vector<ClusterRun>& runs) {
  std::vector<std::pair<std::uint64_t, bool>> steps;  // where, and whether it is a begin
  for (const ClusterRun& run : runs) {
    steps.emplace_back(run.first, true);
    steps.emplace_back(run.end(), false);
  }
  std::ranges::sort(steps);
  std::vector<ClusterRun> disjoint;
  std::uint64_t references = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (i > 0 && references > 0 && steps[i].first > steps[i - 1].first) {
      disjoint.push_back({steps[i - 1].first, steps[i].first - steps[i - 1].first, references});
    }
    references += steps[i].second ? 1 : std::uint64_t(0) - 1;
  }
  return disjoint;
}

}  // namespace

std::vector<ClusterRun> ClusterRuns::take_sorted() {
  std::vector<ClusterRun> runs = std::exchange(runs_, {});
  const auto before = [](const ClusterRun& a, const ClusterRun& b) { return a.first < b.first; };
  if (!std::ranges::is_sorted(runs, before)) std::ranges::sort(runs, before);
  return overlap_somewhere(runs) ? laid_over(runs) : runs;
}

}  // namespace byre
