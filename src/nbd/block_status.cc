// One walk along the disk's mapping feeds the lists of all contexts. A list is closed when it has as many extents as a
// reply may; the walk ends when all are closed, or after so many steps that other requests should have their turn.

#include "nbd/block_status.h"

#include <algorithm>

namespace byre::nbd {
namespace {

constexpr std::size_t most_extents = 1024;
constexpr unsigned most_steps = 4096;

constexpr std::uint32_t state_hole = 1 << 0;
constexpr std::uint32_t state_zero = 1 << 1;

std::uint32_t flags_in(Context context, const BlockStatus& status) {
  if (context == Context::depth) return status.present ? status.depth + 1 : 0;
  return (status.data ? 0 : state_hole) | (status.zero ? state_zero : 0);
}

class ExtentList {
 public:
  explicit ExtentList(std::size_t most) : most_(most) {}

  void add(std::uint64_t length_bytes, std::uint32_t flags) {
    if (closed_) return;
    if (!extents_.empty() && extents_.back().flags == flags) {
      extents_.back().length_bytes += length_bytes;
    } else if (extents_.size() < most_) {
      extents_.push_back({length_bytes, flags});
    } else {
      closed_ = true;
    }
  }
  bool closed() const { return closed_; }
  std::vector<Extent> take() { return std::move(extents_); }

 private:
  std::size_t most_;
  bool closed_ = false;
  std::vector<Extent> extents_;
};

}  // namespace

Task<Result<std::vector<std::vector<Extent>>>> find_extents(const DiskPart& part, const std::vector<Context>& contexts,
                                                            std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                                            bool one) {
  std::vector<ExtentList> lists(contexts.size(), ExtentList(one ? 1 : most_extents));
  std::uint64_t at = part.offset_bytes + offset_bytes;
  const std::uint64_t end = at + length_bytes;
  for (unsigned step = 0; at < end && step < most_steps; ++step) {
    BYRE_CO_TRY(const BlockStatus status, co_await part.disk->status(at, end - at));
    for (std::size_t i = 0; i < lists.size(); ++i) lists[i].add(status.length_bytes, flags_in(contexts[i], status));
    at += status.length_bytes;
    if (std::ranges::all_of(lists, &ExtentList::closed)) break;
  }
  std::vector<std::vector<Extent>> found;
  found.reserve(lists.size());
  for (ExtentList& list : lists) found.push_back(list.take());
  co_return found;
}

}  // namespace byre::nbd
