// One state of the source goes through the copy loop into a disk that can only be written; all states have a loop of
// their own.

#include "ops/new_image_copy.h"

#include "base/text.h"
#include "byre/storage/memory.h"
#include "data/load.h"
#include "data/new_image.h"
#include "data/qcow2_disk.h"
#include "ops/state_copy.h"

namespace byre::ops {

bool is_written_in_one_go(const ConvertOptions& options) {
  const CreateOptions& target = options.target;
  return options.create && target.format == "qcow2" && !target.backing_file &&
         target.preallocation == Preallocation::off;
}

Task<Result<format::Header>> new_image_header(CreateOptions options) {
  MemoryStorage empty;
  BYRE_CO_CHECK(co_await create_qcow2(empty, std::move(options)));
  co_return co_await read_header(empty, format::HeaderUse::write);
}

Task<Result<void>> check_states(std::vector<Disk*> sources, const ConvertOptions& options) {
  if (!options.all_snapshots) co_return Result<void>{};
  Disk& source = *sources.front();
  auto* const image = dynamic_cast<Qcow2Disk*>(&source);
  if (!image) {
    co_return fail_in(source.storage().name(), ErrorCode::unsupported,
                      "a {} disk has no internal snapshots (--all-snapshots)", source.format());
  }
  if (options.target.version >= 3) co_return Result<void>{};
  BYRE_CO_TRY(const std::vector<format::Snapshot> snapshots, co_await image->snapshots());
  Result<void> fit = format::check_snapshots_fit_version_2(snapshots, source.size_bytes(), source.size_bytes());
  if (fit) co_return fit;
  co_return std::unexpected(std::move(fit).error().in_file(source.storage().name()));
}

Task<Result<void>> write_new_image(std::vector<Disk*> sources, Storage& target, format::Header header,
                                   const ConvertOptions& options) {
  if (options.all_snapshots) {
    auto& source = dynamic_cast<Qcow2Disk&>(*sources.front());
    co_return co_await copy_states(source, target, std::move(header), options.copy);
  }
  NewImageDisk disk(target, std::move(header), !options.copy.out_of_order, options.copy.cancel);
  BYRE_CO_CHECK(co_await disk.begin());
  CopyOptions copy = options.copy;
  copy.target_content = TargetContent::zeros;
  BYRE_CO_CHECK(co_await copy_disks(std::move(sources), disk, std::move(copy)));
  co_return co_await disk.close();
}

}  // namespace byre::ops
