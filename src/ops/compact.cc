// The work is done where the tables are (data/compaction.cc).

#include "byre/ops/compact.h"

#include "base/text.h"
#include "data/compaction.h"
#include "data/qcow2_disk.h"

namespace byre {

Task<Result<CompactReport>> compact_disk(Disk& disk, CompactOptions options) {
  const std::string& file = disk.storage().name();
  auto* image = dynamic_cast<Qcow2Disk*>(&disk);
  if (!image) co_return fail_in(file, ErrorCode::unsupported, "a {} disk cannot be compacted", disk.format());
  CompactionOptions all;
  all.zeroes = options.zeroes;
  all.cancel = options.cancel;
  all.progress = std::move(options.progress);
  CompactReport report;
  report.file_size_before_bytes = disk.storage().size_bytes();
  const auto counts = co_await image->compact(std::move(all));
  if (!counts) co_return std::unexpected(Error(counts.error()).in_file(file));
  report.file_size_after_bytes = disk.storage().size_bytes();
  report.moved_bytes = counts->moved_bytes;
  report.dropped_bytes = counts->dropped_bytes;
  co_return report;
}

}  // namespace byre
