// Gathers what format/ decodes into plain values. The header is decoded for inspection, so that damage which only the
// tables' users would meet does not hide what the image is.
#include "byre/ops/info.h"

#include <algorithm>
#include <array>

#include "base/math.h"
#include "base/text.h"
#include "byre/storage/file.h"
#include "data/load.h"
#include "data/reference.h"
#include "format/limits.h"
#include "ops/cluster_use.h"
#include "ops/image_reader.h"
#include "ops/snapshot_info.h"

namespace byre {

namespace {

constexpr std::size_t whole_name = 4096;  // the caller's own file names are not cut

std::vector<BitmapInfo> describe_bitmaps(const std::vector<format::BitmapEntry>& bitmaps) {
  std::vector<BitmapInfo> infos;
  infos.reserve(bitmaps.size());
  for (const format::BitmapEntry& bitmap : bitmaps) {
    infos.push_back({bitmap.name, std::uint64_t{1} << bitmap.granularity_bits, bitmap.in_use, bitmap.auto_record});
  }
  return infos;
}

LuksInfo describe_luks(const format::LuksHeader& header) {
  LuksInfo info;
  // XTS uses two keys of the cipher's size.
  const std::uint32_t cipher_bits = header.key_bytes * 8 / (header.mode == "xts" ? 2 : 1);
  info.cipher = fmt::format("{}-{}", header.cipher, cipher_bits);
  info.cipher_mode = header.mode;
  info.iv_generator = header.iv_generator;
  if (!header.iv_generator_hash.empty()) info.iv_generator_hash = header.iv_generator_hash;
  info.hash = header.hash;
  info.uuid = header.uuid;
  info.payload_offset_bytes = header.payload_offset_bytes;
  info.master_key_iterations = header.iterations;
  for (const format::LuksSlot& slot : header.slots) {
    info.slots.push_back({slot.active, slot.key_offset_bytes, slot.iterations, slot.stripes});
  }
  return info;
}

// Names of our own for known bits: the image's table may lie.
std::string feature_name(format::FeatureKind kind, unsigned bit, const format::Header& header) {
  const auto find = [&](const format::FeatureNameTable& table) -> std::optional<std::string> {
    const auto found = std::ranges::find_if(
        table, [&](const format::FeatureName& name) { return name.kind == kind && name.bit == bit; });
    if (found == table.end()) return std::nullopt;
    return escape_untrusted(found->name);
  };
  if (const auto known = find(format::standard_feature_names())) return *known;
  const auto claimed = header.feature_names ? find(*header.feature_names) : std::nullopt;
  return claimed ? fmt::format("unknown bit {}, '{}'", bit, *claimed) : fmt::format("unknown bit {}", bit);
}

std::vector<std::string> describe_features(const format::Header& header) {
  struct Word {
    format::FeatureKind kind;
    std::string_view name;
    std::uint64_t bits;
  };
  const std::array words = {
      Word{format::FeatureKind::incompatible, "incompatible", header.incompatible_features},
      Word{format::FeatureKind::compatible, "compatible", header.compatible_features},
      Word{format::FeatureKind::autoclear, "autoclear", header.autoclear_features},
  };
  std::vector<std::string> features;
  for (const Word& word : words) {
    for (unsigned bit = 0; bit < 64; ++bit) {
      if (((word.bits >> bit) & 1) == 0) continue;
      features.push_back(fmt::format("{} ({})", feature_name(word.kind, bit, header), word.name));
    }
  }
  return features;
}

Qcow2Info describe_header(const format::Header& header) {
  Qcow2Info info;
  info.version = header.version;
  info.cluster_size_bytes = header.geometry().cluster_size_bytes();
  info.compression = header.compression_type == format::CompressionType::zstd ? Compression::zstd : Compression::zlib;
  info.refcount_bits = header.geometry().refcount_bits();
  info.lazy_refcounts = (header.compatible_features & format::compatible::lazy_refcounts) != 0;
  info.dirty = header.is_dirty();
  info.corrupt = header.is_corrupt();
  info.extended_l2 = header.geometry().extended_l2;
  info.has_data_file = header.has_data_file();
  info.data_file_raw = (header.autoclear_features & format::autoclear::raw_external_data) != 0;
  info.data_file = header.data_file_name;
  if (header.crypt_method == format::CryptMethod::aes) info.encryption = Encryption::aes;
  if (header.crypt_method == format::CryptMethod::luks) info.encryption = Encryption::luks;
  info.features = describe_features(header);
  return info;
}

void describe_backing(const format::Header& header, ImageInfo& info) {
  info.backing_format = header.backing_format;
  if (header.backing_name.empty()) return;
  info.backing_name = header.backing_name;
  if (auto path = resolve_reference(info.filename, header.backing_name)) info.backing_path = *std::move(path);
}

Task<Result<void>> inspect_qcow2(Storage& storage, bool count_clusters, ImageInfo& info) {
  BYRE_CO_TRY(const format::Header header, co_await read_header(storage, format::HeaderUse::inspect));
  info.virtual_size_bytes = header.virtual_size_bytes;
  describe_backing(header, info);
  Qcow2Info& qcow2 = info.qcow2.emplace(describe_header(header));
  BYRE_CO_TRY(const auto snapshots, co_await read_snapshots(storage, header));
  qcow2.snapshots = ops::describe_snapshots(snapshots);
  BYRE_CO_TRY(const auto bitmaps, co_await ops::read_bitmap_directory(storage, header));
  qcow2.bitmaps = describe_bitmaps(bitmaps);
  if (header.encryption) {
    BYRE_CO_TRY(const auto luks, co_await ops::read_luks_header(storage, header));
    qcow2.luks = describe_luks(luks);
  }
  if (count_clusters) qcow2.cluster_use = co_await ops::count_clusters(storage, header);
  co_return Result<void>();
}

Task<Result<ImageInfo>> inspect(Storage& storage, const InfoOptions& options) {
  ImageInfo info;
  info.filename = storage.name();
  info.file_size_bytes = storage.size_bytes();
  info.allocated_bytes = storage.allocated_bytes();
  info.format = options.format.value_or("");
  if (!options.format) {
    BYRE_CO_TRY(const bool is_qcow2, co_await ops::has_qcow2_magic(storage));
    info.format = is_qcow2 ? "qcow2" : "raw";
  }
  if (info.format == "raw") {
    info.virtual_size_bytes = round_up(info.file_size_bytes, format::sector_bytes);
  } else if (info.format == "qcow2") {
    BYRE_CO_CHECK(co_await inspect_qcow2(storage, options.count_clusters, info));
  } else {
    co_return fail(ErrorCode::unsupported, "unknown format '{}': qcow2 and raw are supported",
                   escape_untrusted(info.format));
  }
  co_return info;
}

FileOptions file_options(const InfoOptions& options) {
  FileOptions file;
  file.locking = options.force_share ? Locking::force_share : Locking::enforced;
  return file;
}

// Opens what is described, and enters the format if it is.
Task<Result<std::unique_ptr<Storage>>> open_top(NodeDescription node, InfoOptions& options) {
  OpenOptions open;
  open.format = options.format;
  open.force_share = options.force_share;
  open.backing = options.backing;
  BYRE_CO_TRY(NodeStorage opened, co_await open_node_storage(std::move(node), std::move(open)));
  options.format = opened.options.format;
  options.backing.follow = opened.options.backing.follow;
  co_return std::move(opened.storage);
}

// Opens what `above` names, and prepares `options` for looking at it.
Result<std::unique_ptr<Storage>> open_next(const ImageInfo& above, std::size_t depth, InfoOptions& options) {
  options.format = above.backing_format ? above.backing_format : options.backing.format;
  options.backing.format.reset();
  const std::string name = escape_untrusted(*above.backing_name);
  if (!options.format) {
    return fail(ErrorCode::refused,
                "{}: the format of the backing file '{}' is not recorded, and it is not guessed: name it with "
                "--backing-format",
                escape_untrusted(above.filename, whole_name), name);
  }
  if (depth > options.backing.max_depth) {
    return fail(ErrorCode::refused, "the backing chain is deeper than {} files", options.backing.max_depth);
  }
  auto path = resolve_reference(above.filename, *above.backing_name);
  if (!path) {
    return std::unexpected(std::move(path).error().in_file(above.filename));
  }
  return open_reference(*path, options.backing, file_options(options));
}

}  // namespace

Task<Result<ImageInfo>> image_info(Storage& storage, InfoOptions options) {
  auto info = co_await inspect(storage, options);
  if (!info) co_return std::unexpected(std::move(info).error().in_file(storage.name()));
  co_return info;
}

Task<Result<ImageInfo>> image_info(NodeDescription node, InfoOptions options) {
  BYRE_CO_TRY(const std::unique_ptr<Storage> storage, co_await open_top(std::move(node), options));
  co_return co_await image_info(*storage, std::move(options));
}

Task<Result<std::vector<ImageInfo>>> chain_info(NodeDescription node, InfoOptions options) {
  if (node.has_below("backing.file")) {
    co_return fail(ErrorCode::unsupported, "{}: the chain is shown as the images name it: no backing.file",
                   escape_untrusted(node.text(), whole_name));
  }
  std::vector<ImageInfo> chain;
  std::vector<StorageIdentity> seen;
  BYRE_CO_TRY(std::unique_ptr<Storage> storage, co_await open_top(std::move(node), options));
  for (;;) {
    if (std::ranges::find(seen, storage->identity()) != seen.end()) {
      co_return fail(ErrorCode::refused, "the backing chain is a loop: '{}' comes twice",
                     escape_untrusted(storage->name()));
    }
    seen.push_back(storage->identity());
    BYRE_CO_TRY(ImageInfo info, co_await image_info(*storage, options));
    chain.push_back(std::move(info));
    if (!chain.back().backing_name || !options.backing.follow) co_return chain;
    BYRE_CO_TRY(storage, open_next(chain.back(), chain.size(), options));
  }
}

}  // namespace byre
