// Opening what a description says, one node after the other.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "byre/data/disk.h"
#include "ops/node_options.h"

namespace byre::ops {

// What a node takes over from the one above it, or from the command.
struct NodeSetting {
  bool writable = false;
  bool force_share = false;
  CacheMode cache = CacheMode::writeback;
  bool discard = true;
  DetectZeroes detect_zeroes = DetectZeroes::off;
};

// As a command has it, or for what a node opens in its turn.
NodeSetting setting_of(const OpenOptions& options);
void apply(const NodeSetting& setting, OpenOptions& options);
FileOptions file_options(const NodeSetting& setting);

// The options that every node has: read-only, force-share, cache.*, discard, detect-zeroes, and names that nobody asks
// for here.
Result<> take_common(NodeOptions& node, NodeSetting& setting);

// The runtime options of the qcow2 driver (docs/format.md Appendix B).
Result<> take_qcow2_options(NodeOptions& node, OpenOptions& options);

// A node as bytes: a protocol; a stretch of another one; or what a format holds, to be read.
Task<Result<std::unique_ptr<Storage>>> open_bytes(NodeOptions node, NodeSetting setting);

// Whether a driver gives bytes and knows nothing of formats.
bool is_protocol(std::string_view driver);
// Errors: why that driver is not here.
std::unexpected<Error> refuse_driver(const NodeOptions& node, std::string_view driver);

// A whole image, with the layers below it.
Task<Result<std::unique_ptr<Disk>>> open_image_node(NodeOptions node, OpenOptions options);

// The stretch that "offset" and "size" of a raw node say, or all of it. Errors: it does not lie in the storage.
Result<std::unique_ptr<Storage>> take_window(NodeOptions& node, std::unique_ptr<Storage> storage);

}  // namespace byre::ops
