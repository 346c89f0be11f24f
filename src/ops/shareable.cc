#include "ops/shareable.h"

#include <algorithm>

#include "base/math.h"
#include "base/text.h"

namespace byre::ops {

namespace {

Result<void> check_clusters(const Storage& storage, std::uint64_t cluster_bytes, std::uint64_t block_bytes) {
  if (cluster_bytes == 0 || cluster_bytes >= block_bytes) return {};
  return fail(ErrorCode::unsupported,
              "{}: its clusters of {} bytes cannot be shared, since the file system has blocks of {} bytes",
              escape_untrusted(storage.name(), 4096), cluster_bytes, block_bytes);
}

}  // namespace

bool may_share(const CopyOptions& options) {
  return options.reflink != Reflink::never && !options.compress && options.sparse_bytes != 0;
}

Result<void> check_shareable_sizes(const ImageSequence& sources, const Storage& target, std::uint64_t cluster_bytes) {
  const std::uint64_t block = target.clone_block_bytes();
  BYRE_CHECK(check_clusters(target, cluster_bytes, block));
  for (Disk* const layer : sources.layers()) {
    BYRE_CHECK(check_clusters(layer->storage(), layer->cluster_size_bytes(), block));
  }
  const std::uint64_t unit = std::max<std::uint64_t>({cluster_bytes, block, 1});
  for (const std::uint64_t begin : sources.begins()) {
    if (is_aligned(begin, unit)) continue;
    return fail(ErrorCode::unsupported,
                "{}: a source would begin at byte {}; only from multiples of {} on it can be shared",
                escape_untrusted(target.name(), 4096), begin, unit);
  }
  return {};
}

Task<Result<std::set<const Storage*>>> find_shareable(const ImageSequence& sources, Storage& target, bool all_must) {
  std::set<const Storage*> result;
  for (Disk* const layer : sources.layers()) {
    const Result<void> tried = co_await try_clone(target, layer->storage());
    if (tried) {
      result.insert(&layer->storage());
    } else if (all_must) {
      co_return std::unexpected(tried.error());
    }
  }
  co_return result;
}

}  // namespace byre::ops
