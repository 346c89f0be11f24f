// One state of the source goes through the copy loop into a disk that can only be written, which decides where things
// go; all states have a loop of their own.

#include "ops/new_image_copy.h"

#include <bit>
#include <memory>

#include "base/text.h"
#include "byre/storage/memory.h"
#include "data/load.h"
#include "data/new_image.h"
#include "data/qcow2_disk.h"
#include "ops/hash.h"
#include "ops/stable_image.h"
#include "ops/state_copy.h"

namespace byre::ops {
namespace {

Result<void> check_combination(std::string_view option, const ConvertOptions& options) {
  const auto refuse = [option](std::string_view what) {
    return fail(ErrorCode::invalid_argument, "{} and {} do not go together", option, what);
  };
  if (options.target.format == "raw") {
    return fail(ErrorCode::unsupported, "{}: a raw image has no clusters; use -O qcow2", option);
  }
  if (!options.create) return refuse("a target that is not created (-n)");
  if (options.target.backing_file) return refuse("a backing file of the target (-B)");
  if (options.all_snapshots) return refuse("all snapshots (--all-snapshots)");
  if (options.target.preallocation != Preallocation::off) return refuse("preallocation");
  return {};
}

// Digests are not stored: SHA-256, the fastest one with 256 bits where the processor helps with it.
Result<SharingRules> sharing_rules() {
  Result<Hash> hash = Hash::load(ChecksumAlgorithm::sha256);
  if (!hash) return std::unexpected(std::move(hash).error().with_remark("--dedup needs them"));
  SharingRules rules;
  rules.digest = [hash = *std::move(hash)](ConstBytes cluster, ClusterDigest& digest) {
    Hasher hasher(hash);
    hasher.run({cluster}, digest);
  };
  return rules;
}

}  // namespace

Result<void> check_new_image_options(const ConvertOptions& options) {
  const bool stable = options.placement == Placement::stable;
  if (options.deduplicate) BYRE_CHECK(check_combination("--dedup", options));
  if (stable) BYRE_CHECK(check_combination("--layout stable", options));
  if (stable && options.deduplicate) {
    return fail(ErrorCode::invalid_argument, "--layout stable and --dedup do not go together");
  }
  if (stable && options.copy.compress) {
    return fail(
        ErrorCode::invalid_argument,
        "--layout stable and -c do not go together: where a compressed cluster lies depends on those before it");
  }
  if (options.deduplicate && !options.copy.compress) {
    return fail(ErrorCode::invalid_argument,
                "--dedup needs -c: only compressed clusters stay sound when one of those that share is written");
  }
  return {};
}

Result<void> check_new_image(std::uint64_t size_bytes, const ConvertOptions& options) {
  if (options.deduplicate) {
    BYRE_TRY([[maybe_unused]] const SharingRules rules, sharing_rules());
  }
  if (options.placement != Placement::stable) return {};
  format::Geometry geometry;
  geometry.version = options.target.version;
  geometry.cluster_bits = static_cast<unsigned>(std::countr_zero(options.target.cluster_size_bytes));
  geometry.refcount_order = static_cast<unsigned>(std::countr_zero(options.target.refcount_bits));
  return check_layout(plan_stable_layout(geometry, size_bytes));
}

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

Result<std::unique_ptr<WriteOnlyDisk>> make_new_image_disk(Storage& target, format::Header header,
                                                           const ConvertOptions& options) {
  if (options.placement == Placement::stable) return std::make_unique<StableImageDisk>(target, std::move(header));
  auto disk =
      std::make_unique<NewImageDisk>(target, std::move(header), !options.copy.out_of_order, options.copy.cancel);
  if (options.deduplicate) {
    BYRE_TRY(SharingRules rules, sharing_rules());
    disk->share(std::move(rules));
  }
  return disk;
}

Task<Result<void>> write_new_image(std::vector<Disk*> sources, Storage& target, format::Header header,
                                   const ConvertOptions& options) {
  if (options.all_snapshots) {
    auto& source = dynamic_cast<Qcow2Disk&>(*sources.front());
    co_return co_await copy_states(source, target, std::move(header), options.copy);
  }
  BYRE_CO_TRY(const std::unique_ptr<WriteOnlyDisk> disk, make_new_image_disk(target, std::move(header), options));
  BYRE_CO_CHECK(co_await disk->begin());
  CopyOptions copy = options.copy;
  copy.target_content = TargetContent::zeros;
  BYRE_CO_CHECK(co_await copy_disks(std::move(sources), *disk, std::move(copy)));
  co_return co_await disk->close();
}

}  // namespace byre::ops
