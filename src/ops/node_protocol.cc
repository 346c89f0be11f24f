// Where the bytes come from. Each driver takes its options, opens, and leaves what it does not know to be found.
#include <algorithm>
#include <array>
#include <limits>

#include "base/math.h"
#include "base/text.h"
#include "byre/storage/file.h"
#include "ops/debug_node.h"
#include "ops/disk_storage.h"
#include "ops/node_open.h"
#include "storage/debug_storage.h"
#include "storage/nbd_storage.h"
#include "storage/null_storage.h"
#include "storage/window_storage.h"

namespace byre::ops {

namespace {

using Opened = Result<std::unique_ptr<Storage>>;

// Drivers of other engines, with what there is instead.
struct Refused {
  std::string_view driver;
  std::string_view reason;
};
constexpr std::array refused_drivers = {
    Refused{"quorum", "an image is kept once: there is no voting among copies"},
    Refused{"copy-on-read", "opening with copy-on-read does that for a qcow2 image"},
    Refused{"throttle", "requests are not limited by a node"},
    Refused{"luks", "encryption is not supported yet"},
    Refused{"blkreplay", "the simulator in the test programs replays requests"},
    Refused{"blklogwrites", "the simulator in the test programs records requests"},
    Refused{"vvfat", "a directory is no image"},
};
constexpr std::string_view unsupported_drivers[] = {
    "bochs",         "cloop",      "compress",    "copy-before-write",
    "curl",          "dmg",        "ftp",         "ftps",
    "gluster",       "host_cdrom", "http",        "https",
    "io_uring",      "iscsi",      "nfs",         "nvme",
    "nvme-io_uring", "parallels",  "preallocate", "qcow",
    "qed",           "rbd",        "replication", "snapshot-access",
    "ssh",           "vdi",        "vhdx",        "vmdk",
    "vpc",
};

// Options of the file driver that say how another engine works; checked, and nothing else.
Result<> take_file_tuning(NodeOptions& node, const NodeSetting& setting) {
  BYRE_TRY(const auto aio, node.take_choice("aio", {"threads", "native", "io_uring"}));
  if (aio == 1 && setting.cache != CacheMode::none && setting.cache != CacheMode::directsync) {
    return fail(ErrorCode::invalid_argument, "{}=native needs cache.direct=on",
                escape_untrusted(node.full_name("aio")));
  }
  BYRE_TRY([[maybe_unused]] const auto batch, node.take_number("aio-max-batch"));
  BYRE_TRY([[maybe_unused]] const auto drop, node.take_bool("drop-cache"));
  BYRE_TRY([[maybe_unused]] const auto look, node.take_bool("x-check-cache-dropped"));
  return node.refuse("pr-manager", "persistent reservations are not supported");
}

Result<> take_locking(NodeOptions& node, FileOptions& options) {
  BYRE_TRY(const auto locking, node.take_choice("locking", {"auto", "on", "off"}));
  if (locking != 2) return {};
  if (options.writable) {
    return fail(ErrorCode::unsupported, "{}=off: a file that is written is locked",
                escape_untrusted(node.full_name("locking")));
  }
  options.locking = Locking::force_share;
  return {};
}

Opened open_file_node(NodeOptions node, const NodeSetting& setting, bool device) {
  FileOptions options = file_options(setting);
  BYRE_TRY(const std::optional<std::string> path, node.take_text("filename"));
  BYRE_CHECK(take_file_tuning(node, setting));
  BYRE_CHECK(take_locking(node, options));
  BYRE_CHECK(node.expect_empty(device ? "host_device" : "file"));
  if (!path || path->empty()) {
    return fail(ErrorCode::invalid_argument, "a file has no name: {}=PATH is needed",
                escape_untrusted(node.full_name("filename")));
  }
  BYRE_TRY(std::unique_ptr<Storage> storage, open_file(*path, options));
  if (device && storage->identity().inode != 0) {
    return fail_in(*path, ErrorCode::invalid_argument, "driver host_device is for block devices");
  }
  return storage;
}

Opened open_null_node(NodeOptions node, const NodeSetting& setting, std::string_view driver) {
  NullStorageOptions options;
  options.writable = setting.writable;
  BYRE_TRY(const auto size, node.take_size("size"));
  BYRE_TRY(const auto latency, node.take_number("latency-ns"));
  BYRE_TRY(const auto read_zeroes, node.take_bool("read-zeroes"));
  BYRE_CHECK(node.expect_empty(driver));
  options.size_bytes = size.value_or(options.size_bytes);
  constexpr std::uint64_t longest_ns = 3'600'000'000'000;
  if (latency.value_or(0) > longest_ns) {
    return fail(ErrorCode::invalid_argument, "{}={}: must be at most an hour",
                escape_untrusted(node.full_name("latency-ns")), *latency);
  }
  options.latency = std::chrono::nanoseconds(latency.value_or(0));
  options.read_zeroes = read_zeroes.value_or(false);
  return std::make_unique<NullStorage>(options, fmt::format("{}://", driver));
}

Result<std::optional<std::string>> take_either(NodeOptions& node, std::string_view name, std::string_view other) {
  BYRE_TRY(std::optional<std::string> value, node.take_text(name));
  BYRE_TRY(std::optional<std::string> second, node.take_text(other));
  if (!value || !second) return value ? value : second;
  return fail(ErrorCode::invalid_argument, "{} and {} say the same thing", escape_untrusted(node.full_name(name)),
              escape_untrusted(node.full_name(other)));
}

// "server.type", "server.path", "server.host", "server.port"; or without "server.", as older scripts have them.
Result<NbdAddress> take_address(NodeOptions& node) {
  NbdAddress address;
  BYRE_TRY(const auto type, node.take_choice("server.type", {"unix", "inet"}));
  BYRE_TRY(address.socket_path, take_either(node, "server.path", "path"));
  BYRE_TRY(const auto host, take_either(node, "server.host", "host"));
  BYRE_TRY(const auto port, take_either(node, "server.port", "port"));
  BYRE_TRY(const auto export_name, node.take_text("export"));
  address.host = host.value_or("");
  address.port = port.value_or("10809");
  address.export_name = export_name.value_or("");
  const bool local = address.socket_path && !host && !port && type.value_or(0) == 0;
  const bool remote = !address.socket_path && host && type.value_or(1) == 1;
  if ((local && !address.socket_path->empty()) || (remote && !host->empty())) return address;
  return fail(ErrorCode::invalid_argument, "driver nbd needs {}, or {} and server.port",
              escape_untrusted(node.full_name("server.path")), escape_untrusted(node.full_name("server.host")));
}

Task<Opened> open_nbd_node(NodeOptions node, NodeSetting setting) {
  BYRE_CO_TRY(NbdAddress address, take_address(node));
  BYRE_CO_CHECK(node.refuse("tls-creds", "TLS is not supported for clients"));
  BYRE_CO_CHECK(node.refuse("tls-hostname", "TLS is not supported for clients"));
  BYRE_CO_CHECK(node.refuse("x-dirty-bitmap", "bitmaps of servers are not read"));
  for (const std::string_view key : {"reconnect-delay", "open-timeout"}) {
    BYRE_CO_TRY(const auto seconds, node.take_number(key));
    if (seconds.value_or(0) == 0) continue;
    co_return fail(ErrorCode::unsupported, "{}={}: a server is connected to once",
                   escape_untrusted(node.full_name(key)), *seconds);
  }
  BYRE_CO_CHECK(node.expect_empty("nbd"));
  const FileOptions options = file_options(setting);
  co_return co_await open_nbd(std::move(address), options);
}

Task<Opened> open_debug_node(NodeOptions node, NodeSetting setting) {
  BYRE_CO_TRY(DebugRules rules, co_await take_debug_rules(node));
  BYRE_CO_TRY(std::optional<NodeOptions> image, node.take_child("image"));
  BYRE_CO_CHECK(node.expect_empty("blkdebug"));
  if (!image) {
    co_return fail(ErrorCode::invalid_argument, "driver blkdebug needs an image: {}=PATH",
                   escape_untrusted(node.full_name("image.filename")));
  }
  BYRE_CO_TRY(std::unique_ptr<Storage> storage, co_await open_bytes(*std::move(image), setting));
  co_return std::make_unique<DebugStorage>(std::move(storage), std::move(rules));
}

Task<Opened> open_raw_node(NodeOptions node, NodeSetting setting) {
  BYRE_CO_TRY(std::optional<NodeOptions> file, node.take_child("file"));
  if (!file) {
    co_return fail(ErrorCode::invalid_argument, "driver raw needs a file: {}=PATH",
                   escape_untrusted(node.full_name("file.filename")));
  }
  BYRE_CO_TRY(std::unique_ptr<Storage> storage, co_await open_bytes(*std::move(file), setting));
  BYRE_CO_TRY(storage, take_window(node, std::move(storage)));
  BYRE_CO_CHECK(node.expect_empty("raw"));
  co_return storage;
}

// `node` has its driver still: it is opened as an image is.
Task<Opened> open_nested_image(NodeOptions node, NodeSetting setting) {
  if (setting.writable) {
    co_return fail(ErrorCode::unsupported, "{}: an image inside another one can only be read",
                   escape_untrusted(node.full_name("driver")));
  }
  OpenOptions options;
  apply(setting, options);
  BYRE_CO_TRY(std::unique_ptr<Disk> disk, co_await open_image_node(std::move(node), std::move(options)));
  co_return std::make_unique<DiskStorage>(std::move(disk));
}

}  // namespace

FileOptions file_options(const NodeSetting& setting) {
  FileOptions options;
  options.writable = setting.writable;
  options.cache = setting.cache;
  options.locking = setting.force_share ? Locking::force_share : Locking::enforced;
  options.discard = setting.discard ? DiscardMode::unmap : DiscardMode::ignore;
  return options;
}

bool is_protocol(std::string_view driver) {
  constexpr std::string_view known[] = {"file", "host_device", "nbd", "null-co", "null-aio", "blkdebug", "blkverify"};
  return std::ranges::find(known, driver) != std::end(known);
}

std::unexpected<Error> refuse_driver(const NodeOptions& node, std::string_view driver) {
  const std::string name = fmt::format("{}={}", escape_untrusted(node.full_name("driver")), escape_untrusted(driver));
  const auto refused = std::ranges::find(refused_drivers, driver, &Refused::driver);
  if (refused != refused_drivers.end()) return fail(ErrorCode::unsupported, "{}: {}", name, refused->reason);
  constexpr std::string_view here =
      "the formats qcow2 and raw, and file, host_device, nbd, null-co, null-aio, blkdebug and blkverify";
  if (std::ranges::find(unsupported_drivers, driver) != std::end(unsupported_drivers)) {
    return fail(ErrorCode::unsupported, "{}: is not supported: {} are", name, here);
  }
  return fail(ErrorCode::invalid_argument, "{}: is unknown: {} are known", name, here);
}

Result<std::unique_ptr<Storage>> take_window(NodeOptions& node, std::unique_ptr<Storage> storage) {
  BYRE_TRY(const auto offset, node.take_size("offset"));
  BYRE_TRY(const auto size, node.take_size("size"));
  if (!offset && !size) return storage;
  const std::uint64_t whole = storage->size_bytes();
  if (fits_within(offset.value_or(0), size.value_or(0), whole)) {
    return std::make_unique<WindowStorage>(std::move(storage), offset.value_or(0), size);
  }
  return fail(ErrorCode::invalid_argument, "{}={}, size={}: does not lie inside the {} bytes of {}",
              escape_untrusted(node.full_name("offset")), offset.value_or(0), size.value_or(0), whole,
              escape_untrusted(storage->name(), 4096));
}

Task<Opened> open_bytes(NodeOptions node, NodeSetting setting) {
  const std::string driver = node.text_or("driver", "file");
  if (driver == "qcow2") co_return co_await open_nested_image(std::move(node), setting);
  BYRE_CO_TRY([[maybe_unused]] const auto taken, node.take_text("driver"));
  BYRE_CO_CHECK(take_common(node, setting));
  if (setting.detect_zeroes != DetectZeroes::off) {
    co_return fail(ErrorCode::unsupported, "{}: belongs to the outermost node",
                   escape_untrusted(node.full_name("detect-zeroes")));
  }
  if (driver == "file" || driver == "host_device") {
    co_return open_file_node(std::move(node), setting, driver == "host_device");
  }
  if (driver == "null-co" || driver == "null-aio") co_return open_null_node(std::move(node), setting, driver);
  if (driver == "nbd") co_return co_await open_nbd_node(std::move(node), setting);
  if (driver == "blkdebug") co_return co_await open_debug_node(std::move(node), setting);
  if (driver == "raw") co_return co_await open_raw_node(std::move(node), setting);
  if (driver == "blkverify") {
    co_return fail(ErrorCode::unsupported, "{}=blkverify: a format inside a pair that is compared is not supported",
                   escape_untrusted(node.full_name("driver")));
  }
  co_return refuse_driver(node, driver);
}

}  // namespace byre::ops
