// Parsing and judging of create options. Two steps, since programs fill CreateOptions without going through text.
#include "ops/create_options.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/text.h"
#include "data/reference.h"
#include "format/geometry.h"
#include "format/limits.h"

namespace byre {

namespace {

using ops::OptionList;

Result<> check_cluster_size(std::uint64_t size_bytes) {
  const std::uint64_t smallest = std::uint64_t{1} << format::min_cluster_bits;
  const std::uint64_t largest = std::uint64_t{1} << format::max_cluster_bits;
  if (std::has_single_bit(size_bytes) && size_bytes >= smallest && size_bytes <= largest) return {};
  return fail(ErrorCode::invalid_argument, "cluster_size={}: must be a power of two from 512 to 2M", size_bytes);
}

Result<> check_version(const CreateOptions& options) {
  if (options.version != 2 && options.version != 3) {
    return fail(ErrorCode::invalid_argument, "qcow2 version {}: must be 2 (compat=0.10) or 3 (compat=1.1)",
                options.version);
  }
  if (!std::has_single_bit(options.refcount_bits) || options.refcount_bits > 64) {
    return fail(ErrorCode::invalid_argument, "refcount_bits={}: must be 1, 2, 4, 8, 16, 32 or 64",
                options.refcount_bits);
  }
  if (options.version == 3) return {};
  if (options.refcount_bits != 16) {
    return fail(ErrorCode::invalid_argument, "refcount_bits={}: compat=0.10 has 16 only; use compat=1.1",
                options.refcount_bits);
  }
  if (options.lazy_refcounts) return fail(ErrorCode::invalid_argument, "lazy_refcounts=on needs compat=1.1");
  if (options.compression != Compression::zlib) {
    return fail(ErrorCode::invalid_argument, "compression_type=zstd needs compat=1.1");
  }
  return {};
}

Result<> check_backing_name(const CreateOptions& options) {
  const std::string& name = *options.backing_file;
  if (name.empty()) return fail(ErrorCode::invalid_argument, "the name of the backing file is empty");
  if (name.size() > format::max_backing_name_bytes || name.find('\0') != std::string::npos) {
    return fail(ErrorCode::invalid_argument, "the name of the backing file has {} bytes; at most {} can be stored",
                name.size(), format::max_backing_name_bytes);
  }
  BYRE_TRY([[maybe_unused]] const auto path, resolve_reference("", name));
  return {};
}

Result<> check_backing(const CreateOptions& options) {
  if (!options.backing_file) {
    if (!options.backing_format) return {};
    return fail(ErrorCode::invalid_argument, "a backing format was given without a backing file");
  }
  BYRE_CHECK(check_backing_name(options));
  if (!options.backing_format) {
    return fail(ErrorCode::invalid_argument,
                "backing file '{}' was given without its format: add -F qcow2 or -F raw (backing_fmt=...); a format "
                "that is guessed can be forged by a guest",
                escape_untrusted(*options.backing_file));
  }
  const std::string& format = *options.backing_format;
  const bool known = format == "qcow2" || format == "raw";
  if (!known && (options.open_backing || format.empty() || format.size() > format::max_backing_format_bytes)) {
    return fail(ErrorCode::unsupported, "backing format '{}': qcow2 and raw are supported", escape_untrusted(format));
  }
  if (options.preallocation != Preallocation::off) {
    return fail(ErrorCode::invalid_argument,
                "preallocation={}: cannot be used with a backing file, which the clusters would hide",
                ops::preallocation_name(options.preallocation));
  }
  return {};
}

Result<> check_size(const CreateOptions& options) {
  if (!options.size_bytes) return {};
  format::Geometry geometry;
  geometry.cluster_bits = static_cast<unsigned>(std::countr_zero(options.cluster_size_bytes));
  const std::uint64_t limit = format::max_l1_entries * geometry.guest_bytes_per_l2();
  if (options.format == "raw") {
    if (*options.size_bytes <= format::max_file_offset - format::sector_bytes) return {};
    return fail(ErrorCode::invalid_argument, "size {}: a file cannot be that long", *options.size_bytes);
  }
  if (*options.size_bytes <= limit) return {};
  return fail(ErrorCode::invalid_argument, "size {} ({}) is too large: with cluster_size={} a disk has at most {}{}",
              *options.size_bytes, human_size(*options.size_bytes), options.cluster_size_bytes, human_size(limit),
              geometry.cluster_bits < format::max_cluster_bits ? "; a larger cluster_size allows more" : "");
}

Result<> check_raw(const CreateOptions& options) {
  if (options.backing_file || options.backing_format) {
    return fail(ErrorCode::invalid_argument, "format raw has no backing file; use -f qcow2");
  }
  if (options.preallocation == Preallocation::metadata) {
    return fail(ErrorCode::invalid_argument, "preallocation=metadata: format raw has off, falloc and full only");
  }
  return check_size(options);
}

}  // namespace

Result<> check_create_options(const CreateOptions& options) {
  if (options.format == "raw") return check_raw(options);
  if (options.format != "qcow2") {
    return fail(ErrorCode::unsupported, "unknown format '{}': qcow2 and raw are supported",
                escape_untrusted(options.format));
  }
  BYRE_CHECK(check_cluster_size(options.cluster_size_bytes));
  BYRE_CHECK(check_version(options));
  BYRE_CHECK(check_backing(options));
  return check_size(options);
}

namespace ops {

namespace {

Result<> take_common(OptionList& list, CreateOptions& options) {
  BYRE_TRY(options.size_bytes, list.take_size("size"));
  BYRE_TRY(const auto nocow, list.take_bool("nocow"));
  options.nocow = nocow.value_or(false);
  BYRE_TRY(options.extent_size_hint_bytes, list.take_size("extent_size_hint"));
  const auto mode = list.take("preallocation");
  if (!mode) return {};
  const auto known = preallocation_named(*mode);
  if (!known) {
    return fail(ErrorCode::invalid_argument, "preallocation={}: must be off, metadata, falloc or full",
                escape_untrusted(*mode));
  }
  options.preallocation = *known;
  return {};
}

Result<> take_version(OptionList& list, CreateOptions& options) {
  const auto compat = list.take("compat");
  if (!compat) return {};
  if (*compat != "0.10" && *compat != "v2" && *compat != "1.1" && *compat != "v3") {
    return fail(ErrorCode::invalid_argument, "compat={}: must be 0.10 (v2) or 1.1 (v3)", escape_untrusted(*compat));
  }
  options.version = *compat == "0.10" || *compat == "v2" ? 2 : 3;
  return {};
}

Result<> take_compression(OptionList& list, CreateOptions& options) {
  const auto type = list.take("compression_type");
  if (!type) return {};
  if (*type != "zlib" && *type != "zstd") {
    return fail(ErrorCode::invalid_argument, "compression_type={}: must be zlib or zstd", escape_untrusted(*type));
  }
  options.compression = *type == "zstd" ? Compression::zstd : Compression::zlib;
  return {};
}

Result<> refuse_switch(OptionList& list, std::string_view key) {
  BYRE_TRY(const auto value, list.take_bool(key));
  if (value.value_or(false)) return fail(ErrorCode::unsupported, "{}=on is not supported yet", key);
  return {};
}

// Features that are valid, but that Byre does not create.
Result<> refuse_unsupported(OptionList& list) {
  for (const std::string_view key : {"extended_l2", "data_file_raw", "encryption"}) {
    BYRE_CHECK(refuse_switch(list, key));
  }
  for (const std::string_view key :
       {"data_file", "encrypt.format", "encrypt.key-secret", "encrypt.cipher-alg", "encrypt.cipher-mode",
        "encrypt.ivgen-alg", "encrypt.ivgen-hash-alg", "encrypt.hash-alg", "encrypt.iter-time"}) {
    if (list.take(key)) return fail(ErrorCode::unsupported, "option {} is not supported yet", key);
  }
  return {};
}

Result<> take_qcow2(OptionList& list, CreateOptions& options) {
  BYRE_CHECK(refuse_unsupported(list));
  BYRE_CHECK(take_version(list, options));
  BYRE_CHECK(take_compression(list, options));
  BYRE_TRY(const auto cluster_size, list.take_size("cluster_size"));
  options.cluster_size_bytes = cluster_size.value_or(options.cluster_size_bytes);
  BYRE_TRY(const auto refcount_bits, list.take_number("refcount_bits"));
  constexpr std::uint64_t beyond_all = std::numeric_limits<unsigned>::max();  // refused by check_create_options()
  if (refcount_bits) options.refcount_bits = static_cast<unsigned>(std::min(*refcount_bits, beyond_all));
  BYRE_TRY(const auto lazy, list.take_bool("lazy_refcounts"));
  options.lazy_refcounts = lazy.value_or(false);
  options.backing_file = list.take("backing_file");
  options.backing_format = list.take("backing_fmt");
  return {};
}

}  // namespace

Result<CreateOptions> parse_create_options(std::string_view format, OptionList list) {
  CreateOptions options;
  options.format = format;
  BYRE_CHECK(take_common(list, options));
  if (format != "raw") BYRE_CHECK(take_qcow2(list, options));
  BYRE_CHECK(list.expect_empty(format));
  return options;
}

std::vector<OptionHelp> create_option_help(std::string_view format) {
  if (format == "raw") {
    return {{"extent_size_hint", "size", "accepted for compatibility, without effect"},
            {"nocow", "on/off", "accepted for compatibility, without effect"},
            {"preallocation", "mode", "off (default), falloc (reserve host space) or full (write zeros)"},
            {"size", "size", "size of the disk"}};
  }
  return {{"backing_file", "name", "file that holds what this image does not"},
          {"backing_fmt", "format", "format of the backing file: qcow2 or raw"},
          {"cluster_size", "size", "unit of allocation, a power of two from 512 to 2M (default: 64k)"},
          {"compat", "version", "1.1 (v3, default) or 0.10 (v2)"},
          {"compression_type", "name", "zlib (default) or zstd"},
          {"extent_size_hint", "size", "accepted for compatibility, without effect"},
          {"lazy_refcounts", "on/off", "postpone reference counts; a crash then needs a repair (default: off)"},
          {"nocow", "on/off", "accepted for compatibility, without effect"},
          {"preallocation", "mode", "off (default), metadata, falloc (reserve host space) or full (write zeros)"},
          {"refcount_bits", "number", "width of a reference count: 1, 2, 4, 8, 16 (default), 32 or 64"},
          {"size", "size", "size of the disk"}};
}

std::string_view preallocation_name(Preallocation mode) {
  switch (mode) {
    case Preallocation::off: return "off";
    case Preallocation::metadata: return "metadata";
    case Preallocation::falloc: return "falloc";
    case Preallocation::full: return "full";
  }
  return "off";
}

std::optional<Preallocation> preallocation_named(std::string_view name) {
  for (const Preallocation mode :
       {Preallocation::off, Preallocation::metadata, Preallocation::falloc, Preallocation::full}) {
    if (name == preallocation_name(mode)) return mode;
  }
  return std::nullopt;
}

std::string_view compression_name(Compression type) { return type == Compression::zstd ? "zstd" : "zlib"; }

}  // namespace ops

}  // namespace byre
