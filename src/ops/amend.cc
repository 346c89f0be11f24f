// The order of changes follows from what depends on what: up to version 3 first, down to version 2 last.

#include "byre/ops/amend.h"

#include <bit>
#include <vector>

#include "base/text.h"
#include "data/qcow2_disk.h"
#include "format/features.h"

namespace byre {
namespace {

Result<void> check_backing_names(const format::Header& header, const AmendOptions& options) {
  if (options.backing_file && *options.backing_file != header.backing_name) {
    return fail(ErrorCode::invalid_argument, "the backing file is '{}': amend cannot change it, rebase can",
                escape_untrusted(header.backing_name));
  }
  if (options.backing_format && *options.backing_format != header.backing_format.value_or("")) {
    return fail(ErrorCode::invalid_argument, "the backing file's format is '{}': amend cannot change it, rebase can",
                escape_untrusted(header.backing_format.value_or("")));
  }
  return {};
}

Result<void> check(const Qcow2Disk& disk, const AmendOptions& options) {
  const format::Header& header = disk.header();
  BYRE_CHECK(check_backing_names(header, options));
  const unsigned version = options.version.value_or(header.version);
  if (version != 2 && version != 3) {
    return fail(ErrorCode::invalid_argument, "unknown version {}: 2 (compat=0.10) and 3 (compat=1.1)", version);
  }
  const unsigned bits = options.refcount_bits.value_or(1u << header.refcount_order);
  if (!std::has_single_bit(bits) || bits > 64) {
    return fail(ErrorCode::invalid_argument, "refcount_bits={}: must be a power of two, at most 64", bits);
  }
  if (version == 2 && bits != 16) {
    return fail(ErrorCode::unsupported, "refcounts of {} bits need version 3 (compat=1.1); version 2 has 16", bits);
  }
  if (version == 2 && options.lazy_refcounts.value_or(false)) {
    return fail(ErrorCode::unsupported, "lazy refcounts need version 3 (compat=1.1)");
  }
  return {};
}

using Step = std::function<Task<Result<void>>(Qcow2Disk& disk)>;

Task<Result<void>> set_lazy(Qcow2Disk& disk, bool lazy) {
  return disk.change_header([lazy](format::Header& header) {
    const std::uint64_t others = header.compatible_features & ~format::compatible::lazy_refcounts;
    header.compatible_features = lazy ? others | format::compatible::lazy_refcounts : others;
  });
}

std::vector<Step> steps_for(const AmendOptions& options) {
  std::vector<Step> steps;
  if (options.version == 3U) {
    const bool widens = options.refcount_bits.value_or(16) != 16;
    steps.emplace_back([widens](Qcow2Disk& disk) { return disk.upgrade(widens); });
  }
  if (options.refcount_bits) {
    const auto order = static_cast<unsigned>(std::countr_zero(*options.refcount_bits));
    steps.emplace_back([order](Qcow2Disk& disk) { return disk.set_refcount_order(order); });
  }
  if (options.lazy_refcounts && options.version != 2U) {
    const bool lazy = *options.lazy_refcounts;
    steps.emplace_back([lazy](Qcow2Disk& disk) { return set_lazy(disk, lazy); });
  }
  if (options.size_bytes) {
    const std::uint64_t size = *options.size_bytes;
    steps.emplace_back([size](Qcow2Disk& disk) { return disk.resize(size, Preallocation::off); });
  }
  if (options.version == 2U) steps.emplace_back([](Qcow2Disk& disk) { return disk.downgrade(); });
  return steps;
}

}  // namespace

Task<Result<void>> amend_disk(Disk& disk, AmendOptions options) {
  const std::string& file = disk.storage().name();
  auto* image = dynamic_cast<Qcow2Disk*>(&disk);
  if (!image) co_return fail_in(file, ErrorCode::unsupported, "format {} has no options to amend", disk.format());
  Result<void> done = check(*image, options);
  if (done) {
    const unsigned version = options.version.value_or(image->header().version);
    done = co_await image->check_amend(version, options.size_bytes.value_or(image->size_bytes()));
  }
  if (done && image->header().version == 2 && options.lazy_refcounts == false) options.lazy_refcounts.reset();
  const std::vector<Step> steps = steps_for(options);
  for (std::size_t i = 0; i < steps.size() && done; ++i) {
    if (options.progress) options.progress(i, steps.size());
    done = co_await steps[i](*image);
  }
  if (!done) co_return std::unexpected(std::move(done).error().in_file(file));
  if (options.progress) options.progress(steps.size(), steps.size());
  co_return done;
}

}  // namespace byre
