// Options that change how an image is used, not what it holds. Those that tune another engine's caches are checked and
// otherwise only seen as far as they say how much memory there is.
#include <algorithm>
#include <bit>
#include <limits>

#include "base/math.h"
#include "base/text.h"
#include "format/limits.h"
#include "ops/node_open.h"

namespace byre::ops {

namespace {

constexpr std::uint64_t largest_clean_interval = std::numeric_limits<std::int32_t>::max();

// "writeback" and so on are three switches; this engine has not all of their combinations.
struct CacheSwitches {
  bool direct;
  bool no_flush;
  bool through;
};

CacheSwitches switches_of(CacheMode mode) {
  return {.direct = mode == CacheMode::none || mode == CacheMode::directsync,
          .no_flush = mode == CacheMode::unsafe,
          .through = mode == CacheMode::writethrough || mode == CacheMode::directsync};
}

// Past the page cache, flushes are not left out: slower than what was asked for, never less safe.
CacheMode mode_of(CacheSwitches switches) {
  if (switches.direct) return switches.through ? CacheMode::directsync : CacheMode::none;
  if (switches.no_flush) return CacheMode::unsafe;
  return switches.through ? CacheMode::writethrough : CacheMode::writeback;
}

Result<> take_cache_mode(NodeOptions& node, CacheMode& mode) {
  CacheSwitches switches = switches_of(mode);
  BYRE_TRY(const std::optional<bool> direct, node.take_bool("cache.direct"));
  BYRE_TRY(const std::optional<bool> no_flush, node.take_bool("cache.no-flush"));
  if (!direct && !no_flush) return {};
  switches.direct = direct.value_or(switches.direct);
  switches.no_flush = no_flush.value_or(switches.no_flush);
  mode = mode_of(switches);
  return {};
}

Result<> take_zeroes(NodeOptions& node, NodeSetting& setting) {
  BYRE_TRY(const std::optional<std::size_t> discard, node.take_choice("discard", {"ignore", "off", "unmap", "on"}));
  if (discard) setting.discard = *discard >= 2;
  BYRE_TRY(const std::optional<std::size_t> detect, node.take_choice("detect-zeroes", {"off", "on", "unmap"}));
  if (detect) setting.detect_zeroes = static_cast<DetectZeroes>(*detect);
  if (setting.detect_zeroes != DetectZeroes::unmap || setting.discard) return {};
  return fail(ErrorCode::invalid_argument, "{}=unmap needs discard=unmap",
              escape_untrusted(node.full_name("detect-zeroes")));
}

Result<> take_overlap_check(NodeOptions& node) {
  const auto take_mode = [&node](std::string_view key) {
    return node.take_choice(key, {"none", "constant", "cached", "all"});
  };
  BYRE_TRY(const auto mode, take_mode("overlap-check"));
  BYRE_TRY(const auto as_template, take_mode("overlap-check.template"));
  if (mode && as_template && *mode != *as_template) {
    return fail(ErrorCode::invalid_argument, "{} and {} say different things",
                escape_untrusted(node.full_name("overlap-check")),
                escape_untrusted(node.full_name("overlap-check.template")));
  }
  for (const std::string_view part : {"main-header", "active-l1", "active-l2", "refcount-table", "refcount-block",
                                      "snapshot-table", "inactive-l1", "inactive-l2", "bitmap-directory"}) {
    BYRE_TRY([[maybe_unused]] const auto checked, node.take_bool("overlap-check." + std::string(part)));
  }
  return {};
}

Result<> take_discards(NodeOptions& node, OpenOptions& options) {
  BYRE_TRY(const auto request, node.take_bool("pass-discard-request"));
  BYRE_TRY(const auto snapshot, node.take_bool("pass-discard-snapshot"));
  // What is overwritten elsewhere is used again rather than given back, whatever is asked for: a hint.
  BYRE_TRY([[maybe_unused]] const auto other, node.take_bool("pass-discard-other"));
  options.pass_discard_request = request.value_or(options.pass_discard_request);
  options.pass_discard_snapshot = snapshot.value_or(options.pass_discard_snapshot);
  return {};
}

Result<> take_cache_sizes(NodeOptions& node, OpenOptions& options) {
  BYRE_TRY(const auto all, node.take_size("cache-size"));
  BYRE_TRY(const auto l2, node.take_size("l2-cache-size"));
  BYRE_TRY(const auto refcounts, node.take_size("refcount-cache-size"));
  if (all && l2 && refcounts) {
    return fail(ErrorCode::invalid_argument, "{}, l2-cache-size and refcount-cache-size: two of them say all",
                escape_untrusted(node.full_name("cache-size")));
  }
  for (const auto& [part, name] : {std::pair(l2, "l2-cache-size"), std::pair(refcounts, "refcount-cache-size")}) {
    if (!all || !part || *part <= *all) continue;
    return fail(ErrorCode::invalid_argument, "{}={} is more than cache-size={}", escape_untrusted(node.full_name(name)),
                *part, *all);
  }
  if (all) options.cache_size_bytes = *all;
  if (!all && (l2 || refcounts)) {
    options.cache_size_bytes = checked_add(l2.value_or(0), refcounts.value_or(0)).value_or(0);
  }
  return {};
}

Result<> take_cache_details(NodeOptions& node) {
  BYRE_TRY(const auto entry, node.take_size("l2-cache-entry-size"));
  constexpr std::uint64_t largest_cluster = std::uint64_t{1} << format::max_cluster_bits;
  if (entry && (!std::has_single_bit(*entry) || *entry < format::sector_bytes || *entry > largest_cluster)) {
    return fail(ErrorCode::invalid_argument, "{}={}: must be a power of two between 512 and the cluster size",
                escape_untrusted(node.full_name("l2-cache-entry-size")), *entry);
  }
  BYRE_TRY(const auto interval, node.take_number("cache-clean-interval"));
  if (interval.value_or(0) > largest_clean_interval) {
    return fail(ErrorCode::invalid_argument, "{}={}: must be at most {} seconds",
                escape_untrusted(node.full_name("cache-clean-interval")), *interval, largest_clean_interval);
  }
  return {};
}

}  // namespace

Result<> take_common(NodeOptions& node, NodeSetting& setting) {
  BYRE_TRY([[maybe_unused]] const auto name, node.take_text("node-name"));
  BYRE_TRY([[maybe_unused]] const auto automatic, node.take_bool("auto-read-only"));
  BYRE_TRY(const std::optional<bool> read_only, node.take_bool("read-only"));
  BYRE_TRY(const std::optional<bool> share, node.take_bool("force-share"));
  for (const auto& [asked, key] : {std::pair(read_only, "read-only"), std::pair(share, "force-share")}) {
    if (!asked.value_or(false) || !setting.writable) continue;
    return fail(ErrorCode::invalid_argument, "{}=on is for reading only, but the image is to be written",
                escape_untrusted(node.full_name(key)));
  }
  setting.force_share = share.value_or(setting.force_share);
  BYRE_CHECK(take_cache_mode(node, setting.cache));
  return take_zeroes(node, setting);
}

Result<> take_qcow2_options(NodeOptions& node, OpenOptions& options) {
  BYRE_TRY(const std::optional<bool> lazy, node.take_bool("lazy-refcounts"));
  if (lazy) options.lazy_refcounts = lazy;
  BYRE_CHECK(take_overlap_check(node));
  BYRE_CHECK(take_discards(node, options));
  BYRE_CHECK(take_cache_sizes(node, options));
  BYRE_CHECK(take_cache_details(node));
  BYRE_CHECK(node.refuse("data-file", "external data files are not supported yet"));
  return node.refuse("encrypt", "encrypted images are not supported yet");
}

}  // namespace byre::ops
