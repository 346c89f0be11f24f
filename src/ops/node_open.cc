// From the outermost node inwards: what a node says holds for those below it, unless they say otherwise. Bytes first,
// then the format decides which options there may be, then the layer below. Whatever nobody took is an error, so that
// no option is ignored.
//
// Left out: nodes that refer to others by their names, and formats that are written inside another format.
#include "ops/node_open.h"

#include <algorithm>

#include "base/text.h"
#include "data/load.h"
#include "data/open.h"
#include "ops/verified_disk.h"

namespace byre {

namespace ops {

NodeSetting setting_of(const OpenOptions& options) {
  NodeSetting setting;
  setting.writable = options.writable;
  setting.force_share = options.force_share;
  setting.cache = options.cache;
  setting.discard = options.discard;
  setting.detect_zeroes = options.detect_zeroes;
  return setting;
}

void apply(const NodeSetting& setting, OpenOptions& options) {
  options.force_share = setting.force_share;
  options.cache = setting.cache;
  options.discard = setting.discard;
  options.detect_zeroes = setting.detect_zeroes;
}

namespace {

// A layer whose bytes are open, with what is to be known before its format is loaded.
struct Layer {
  std::unique_ptr<Storage> storage;
  OpenOptions options;
  std::optional<NodeOptions> backing;
};

// The node that has the format, whose driver is not taken yet; what is a protocol alone becomes its "file".
Result<NodeOptions> format_node(NodeOptions node, OpenOptions& options) {
  BYRE_TRY(const std::optional<std::string> driver, node.take_text("driver"));
  if (driver && is_protocol(*driver)) {
    if (!options.format) options.format = "raw";
    return std::move(node).moved_below("file", *driver);
  }
  if (driver && !options.format) options.format = driver;
  if (driver && options.writable && *options.format != *driver) {
    return fail(ErrorCode::invalid_argument, "{}={}, but it is to be written as {}",
                escape_untrusted(node.full_name("driver")), escape_untrusted(*driver),
                escape_untrusted(*options.format));
  }
  if (options.format && *options.format != "qcow2" && *options.format != "raw") {
    return refuse_driver(node, *options.format);
  }
  if (node.has_below("file")) return node;
  if (options.format) {
    return fail(ErrorCode::invalid_argument, "driver {} needs a file: {}=PATH", *options.format,
                escape_untrusted(node.full_name("file.filename")));
  }
  return fail(ErrorCode::invalid_argument, "neither a driver nor a file is given: {}=PATH",
              escape_untrusted(node.full_name("file.filename")));
}

NodeSetting below(NodeSetting setting) {
  setting.detect_zeroes = DetectZeroes::off;
  return setting;
}

// The format is guessed if it is not said, also for a raw file to be written if `may_guess`.
Task<Result<Layer>> open_layer_bytes(NodeOptions node, OpenOptions options, bool may_guess) {
  Layer layer;
  NodeSetting setting = setting_of(options);
  BYRE_CO_CHECK(take_common(node, setting));
  apply(setting, options);
  BYRE_CO_TRY(std::optional<NodeOptions> file, node.take_child("file"));
  BYRE_CO_TRY(layer.storage, co_await open_bytes(*std::move(file), below(setting)));
  OpenOptions guess = options;
  guess.writable = options.writable && !may_guess;
  BYRE_CO_TRY(options.format, co_await decide_format(*layer.storage, guess));
  if (*options.format == "raw") {
    BYRE_CO_TRY(layer.storage, take_window(node, std::move(layer.storage)));
  } else {
    BYRE_CO_CHECK(take_qcow2_options(node, options));
    if (node.take_null("backing")) {
      options.backing.follow = false;
      options.backing.absent = true;
    } else {
      BYRE_CO_TRY(layer.backing, node.take_child("backing"));
    }
  }
  BYRE_CO_CHECK(node.expect_empty(*options.format));
  layer.options = std::move(options);
  co_return layer;
}

// The layer that the description puts below instead of what the image names.
Task<Result<std::unique_ptr<Disk>>> open_described_backing(Layer& layer) {
  OpenOptions options = layer.options;
  options.writable = false;
  options.copy_on_read = false;
  options.snapshot.reset();
  options.lazy_refcounts.reset();
  options.detect_zeroes = DetectZeroes::off;
  options.format.reset();
  options.backing.format.reset();
  BYRE_CO_TRY(const format::Header header, co_await read_header(*layer.storage, format::HeaderUse::read));
  // What is discarded there would read through to it.
  if (layer.options.writable && header.backing_name.empty()) {
    co_return fail(ErrorCode::unsupported, "{}: the image names no backing file: it can only be read above one",
                   escape_untrusted(layer.backing->full_name("file")));
  }
  if (!layer.backing->contains("driver")) {
    options.format = header.backing_format ? header.backing_format : layer.options.backing.format;
    if (!options.format) {
      co_return fail(ErrorCode::refused, "the format of the backing file is not recorded, and it is not guessed: {}=",
                     escape_untrusted(layer.backing->full_name("driver")));
    }
  }
  BYRE_CO_TRY(std::unique_ptr<Disk> disk, co_await open_image_node(*layer.backing, std::move(options)));
  for (Disk* below = disk.get(); below; below = below->backing()) {
    if (below->storage().identity() != layer.storage->identity()) continue;
    (void)co_await disk->close();  // was only read
    co_return fail(ErrorCode::refused, "the backing chain is a loop: '{}' comes twice",
                   escape_untrusted(below->storage().name(), 4096));
  }
  co_return disk;
}

// A raw node over a format, or over a pair that is compared, is that disk itself.
Result<std::optional<NodeOptions>> take_disk_below(NodeOptions& node, const OpenOptions& options) {
  if (options.format && *options.format != "raw") return std::nullopt;
  const std::string driver = node.text_or("file.driver", "");
  if (driver != "blkverify" && driver != "qcow2") return std::nullopt;
  if (driver == "qcow2" && (!options.format || node.has_below("offset") || node.has_below("size"))) return std::nullopt;
  return node.take_child("file");
}

Task<Result<std::unique_ptr<Disk>>> open_disk_below(NodeOptions node, NodeOptions child, OpenOptions options) {
  NodeSetting setting = setting_of(options);
  BYRE_CO_CHECK(take_common(node, setting));
  BYRE_CO_CHECK(node.expect_empty("raw"));
  apply(setting, options);
  options.format.reset();
  if (child.text_or("driver", "") == "blkverify") co_return co_await open_verified(std::move(child), options);
  co_return co_await open_image_node(std::move(child), std::move(options));
}

}  // namespace

Task<Result<std::unique_ptr<Disk>>> open_image_node(NodeOptions node, OpenOptions options) {
  BYRE_CO_TRY(NodeOptions top, format_node(std::move(node), options));
  BYRE_CO_TRY(std::optional<NodeOptions> child, take_disk_below(top, options));
  if (child) co_return co_await open_disk_below(std::move(top), *std::move(child), std::move(options));
  BYRE_CO_TRY(Layer layer, co_await open_layer_bytes(std::move(top), std::move(options), false));
  std::unique_ptr<Disk> backing;
  if (layer.backing && layer.options.backing.follow) {
    BYRE_CO_TRY(backing, co_await open_described_backing(layer));
  }
  co_return co_await open_disk(std::move(layer.storage), std::move(layer.options), std::move(backing));
}

}  // namespace ops

Task<Result<std::unique_ptr<Disk>>> open_node(NodeDescription node, OpenOptions options) {
  if (node.is_path()) co_return co_await open_disk(*node.path(), std::move(options));
  co_return co_await ops::open_image_node(ops::NodeOptions(node.options()), std::move(options));
}

Task<Result<NodeStorage>> open_node_storage(NodeDescription node, OpenOptions options) {
  NodeStorage result;
  if (node.is_path()) {
    const FileOptions file = ops::file_options(ops::setting_of(options));
    BYRE_CO_TRY(result.storage, open_file(*node.path(), file));
    result.options = std::move(options);
    co_return result;
  }
  BYRE_CO_TRY(ops::NodeOptions top, ops::format_node(ops::NodeOptions(node.options()), options));
  BYRE_CO_TRY(ops::Layer layer, co_await ops::open_layer_bytes(std::move(top), std::move(options), true));
  result.storage = std::move(layer.storage);
  result.options = std::move(layer.options);
  co_return result;
}

}  // namespace byre
