// A new qcow2 image is laid out in one piece: every table's place and content follows from the layout alone, so that
// tables of any size are computed piece by piece and written in large requests, in the order of the file. The header
// comes last, behind a flush: before it, there is no image (O-1, O-5 and O-8 hold trivially).
#include "byre/ops/create.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <vector>

#include "base/endian.h"
#include "base/text.h"
#include "format/entry.h"
#include "format/header.h"
#include "format/refcount.h"
#include "ops/create_options.h"
#include "ops/layout.h"

namespace byre {

namespace {

using format::Geometry;
using ops::Layout;

constexpr std::uint64_t filled_piece_bytes = std::uint64_t{2} << 20;

// Writes the bytes of one part of a table region; the offset counts from the region's start.
using Fill = std::function<void(std::uint64_t offset_bytes, Bytes target)>;

struct Plan {
  Layout layout;
  Preallocation preallocation = Preallocation::off;
  std::vector<std::byte> header;
};

Geometry geometry_of(const CreateOptions& options) {
  Geometry geometry;
  geometry.version = options.version;
  geometry.cluster_bits = static_cast<unsigned>(std::countr_zero(options.cluster_size_bytes));
  geometry.refcount_order = static_cast<unsigned>(std::countr_zero(options.refcount_bits));
  return geometry;
}

format::Header make_header(const CreateOptions& options, const Layout& layout) {
  format::Header header;
  header.version = options.version;
  header.cluster_bits = layout.geometry.cluster_bits;
  header.refcount_order = layout.geometry.refcount_order;
  header.virtual_size_bytes = round_up(*options.size_bytes, format::sector_bytes);
  header.l1_entries = static_cast<std::uint32_t>(layout.l1_entries);
  if (layout.l1_entries > 0) header.l1_table = layout.l1_start();
  header.refcount_table = layout.refcount_table_start();
  header.refcount_table_clusters = static_cast<std::uint32_t>(layout.refcount_table);
  if (options.version == 2) header.header_length = format::header_length_version_2;
  if (options.lazy_refcounts) header.compatible_features |= format::compatible::lazy_refcounts;
  if (options.compression == Compression::zstd) {
    header.incompatible_features |= format::incompatible::compression_type;
    header.compression_type = format::CompressionType::zstd;
  }
  header.backing_name = options.backing_file.value_or("");
  header.backing_format = options.backing_format;
  header.feature_names = format::default_feature_names(options.version, header.cluster_bits);
  return header;
}

Result<Plan> make_plan(const CreateOptions& options) {
  if (!options.size_bytes) return fail(ErrorCode::invalid_argument, "the size of the disk is missing");
  BYRE_CHECK(check_create_options(options));
  const bool empty = options.preallocation == Preallocation::off;
  const std::uint64_t size_bytes = round_up(*options.size_bytes, format::sector_bytes);
  Plan plan;
  plan.preallocation = options.preallocation;
  plan.layout = ops::plan_layout(geometry_of(options), size_bytes,
                                 empty ? ops::LayoutScope::empty_disk : ops::LayoutScope::full_disk);
  BYRE_CHECK(ops::check_layout(plan.layout));
  BYRE_TRY(plan.header, format::encode_header(make_header(options, plan.layout)));
  return plan;
}

Task<Result<void>> write_region(Storage& storage, HostOffset start, std::uint64_t length_bytes, Fill fill) {
  Buffer buffer(std::min(length_bytes, filled_piece_bytes));
  for (std::uint64_t done = 0; done < length_bytes; done += buffer.size()) {
    const Bytes piece = buffer.bytes().first(std::min<std::uint64_t>(buffer.size(), length_bytes - done));
    std::fill(piece.begin(), piece.end(), std::byte{0});
    fill(done, piece);
    BYRE_CO_CHECK(co_await write_bytes(storage, start.bytes + done, piece));
  }
  co_return Result<void>();
}

// The blocks lie one behind the other, so that together they are one array of counts.
Fill refcount_block_fill(const Layout& layout) {
  return [layout](std::uint64_t offset_bytes, Bytes target) {
    const unsigned order = layout.geometry.refcount_order;
    const std::uint64_t first = (offset_bytes * 8) >> order;
    const std::uint64_t count = (target.size() * 8) >> order;
    const std::uint64_t used = layout.total_clusters();
    for (std::uint64_t i = 0; i < count && first + i < used; ++i) format::store_refcount(target.data(), order, i, 1);
  };
}

Fill refcount_table_fill(const Layout& layout) {
  return [layout](std::uint64_t offset_bytes, Bytes target) {
    for (std::uint64_t i = 0; i < target.size() / 8; ++i) {
      const std::uint64_t block = offset_bytes / 8 + i;
      if (block >= layout.refcount_blocks) break;
      const HostOffset at = layout.refcount_blocks_start() + layout.bytes_of(block);
      store_be64(target.data() + i * 8, format::encode_refcount_table_entry(at));
    }
  };
}

Fill l1_fill(const Layout& layout) {
  return [layout](std::uint64_t offset_bytes, Bytes target) {
    for (std::uint64_t i = 0; i < target.size() / 8; ++i) {
      const HostOffset table = layout.l2_start() + layout.bytes_of(offset_bytes / 8 + i);
      store_be64(target.data() + i * 8, format::encode_l1_entry({table, true}));
    }
  };
}

// The L2 tables, too, are one array: entry i of it is guest cluster i.
Fill l2_fill(const Layout& layout) {
  return [layout](std::uint64_t offset_bytes, Bytes target) {
    for (std::uint64_t i = 0; i < target.size() / 8; ++i) {
      const std::uint64_t cluster = offset_bytes / 8 + i;
      if (cluster >= layout.data) break;
      const HostOffset host = layout.data_start() + layout.bytes_of(cluster);
      format::encode_l2_entry(layout.geometry, format::L2Entry::normal(host, true), target.data() + i * 8);
    }
  };
}

Task<Result<void>> write_zero_bytes(Storage& storage, HostOffset start, std::uint64_t length_bytes) {
  Fill nothing = [](std::uint64_t, Bytes) {};
  co_return co_await write_region(storage, start, length_bytes, std::move(nothing));
}

Task<Result<void>> write_tables(Storage& storage, const Layout& layout) {
  BYRE_CO_CHECK(co_await write_region(storage, layout.refcount_table_start(), layout.bytes_of(layout.refcount_table),
                                      refcount_table_fill(layout)));
  BYRE_CO_CHECK(co_await write_region(storage, layout.refcount_blocks_start(), layout.bytes_of(layout.refcount_blocks),
                                      refcount_block_fill(layout)));
  if (layout.l2_tables == 0) co_return Result<void>();
  BYRE_CO_CHECK(co_await write_region(storage, layout.l1_start(), layout.l1_entries * 8, l1_fill(layout)));
  co_return co_await write_region(storage, layout.l2_start(), layout.bytes_of(layout.l2_tables), l2_fill(layout));
}

Task<Result<void>> reserve_data(Storage& storage, const Plan& plan) {
  const HostOffset start = plan.layout.data_start();
  const std::uint64_t length_bytes = plan.layout.bytes_of(plan.layout.data);
  if (length_bytes == 0) co_return Result<void>();
  if (plan.preallocation == Preallocation::falloc) {
    co_return co_await storage.allocate(start.bytes, length_bytes);
  }
  if (plan.preallocation == Preallocation::full) co_return co_await write_zero_bytes(storage, start, length_bytes);
  co_return Result<void>();
}

// What an earlier content left must not show through: neither as an image, while this one is being made, nor later as
// the content of clusters that count as zeros. Behind its end there is nothing to wipe.
Task<Result<void>> wipe(Storage& storage, const Plan& plan) {
  const std::uint64_t end = std::min(storage.size_bytes(), plan.layout.total_bytes());
  if (end == 0) co_return Result<void>();
  const std::uint64_t header_end = std::min(end, plan.layout.bytes_of(1));
  BYRE_CO_CHECK(co_await storage.zero(0, header_end, false));
  BYRE_CO_CHECK(co_await storage.flush());
  if (header_end == end) co_return Result<void>();
  const bool may_unmap = plan.preallocation == Preallocation::off || plan.preallocation == Preallocation::metadata;
  co_return co_await storage.zero(header_end, end - header_end, may_unmap);
}

// An L1 table of zeros at the end is not written: the file is only made long enough to hold it.
Task<Result<void>> extend(Storage& storage, const Layout& layout) {
  const bool ends_with_l1 = layout.data == 0 && layout.l1_entries > 0;
  const std::uint64_t end_bytes = ends_with_l1 ? layout.l1_start().bytes + layout.l1_entries * 8 : layout.total_bytes();
  if (storage.size_bytes() >= end_bytes) co_return Result<void>();
  co_return co_await storage.resize(end_bytes);
}

}  // namespace

Result<> ops::check_plan(const CreateOptions& options) {
  BYRE_TRY([[maybe_unused]] const Plan plan, make_plan(options));
  return {};
}

Task<Result<void>> create_qcow2(Storage& storage, CreateOptions options) {
  BYRE_CO_TRY(const Plan plan, make_plan(options));
  BYRE_CO_CHECK(co_await wipe(storage, plan));
  BYRE_CO_CHECK(co_await extend(storage, plan.layout));
  BYRE_CO_CHECK(co_await reserve_data(storage, plan));
  BYRE_CO_CHECK(co_await write_tables(storage, plan.layout));
  BYRE_CO_CHECK(co_await storage.flush());
  BYRE_CO_CHECK(co_await write_bytes(storage, 0, plan.header));
  co_return co_await storage.flush();
}

std::string formatting_line(const std::string& path, const CreateOptions& options) {
  // Commas are doubled, as in the option list that would give the same image.
  const auto quoted = [](const std::string& text) {
    std::string result;
    for (const char c : escape_untrusted(text, text.size())) result += c == ',' ? std::string(",,") : std::string(1, c);
    return result;
  };
  const auto on_off = [](bool value) { return value ? "on" : "off"; };
  const bool is_raw = options.format == "raw";
  const bool allocates = options.preallocation != Preallocation::off;
  const std::string preallocation = fmt::format(" preallocation={}", ops::preallocation_name(options.preallocation));

  std::string line = fmt::format("Formatting '{}', fmt={}", escape_untrusted(path, path.size()), options.format);
  if (!is_raw) line += fmt::format(" cluster_size={} extended_l2=off", options.cluster_size_bytes);
  if (!is_raw && allocates) line += preallocation;
  if (!is_raw) line += fmt::format(" compression_type={}", ops::compression_name(options.compression));
  if (options.size_bytes) line += fmt::format(" size={}", *options.size_bytes);
  if (is_raw && allocates) line += preallocation;
  if (options.version == 2 && !is_raw) line += " compat=0.10";
  if (options.backing_file) line += fmt::format(" backing_file={}", quoted(*options.backing_file));
  if (options.backing_format) line += fmt::format(" backing_fmt={}", quoted(*options.backing_format));
  if (!is_raw) {
    line += fmt::format(" lazy_refcounts={} refcount_bits={}", on_off(options.lazy_refcounts), options.refcount_bits);
  }
  if (options.nocow) line += " nocow=on";
  if (options.extent_size_hint_bytes) line += fmt::format(" extent_size_hint={}", *options.extent_size_hint_bytes);
  return line;
}

}  // namespace byre
