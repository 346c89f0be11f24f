// What an image says about itself (docs/format.md C-12 to C-14). Looking never writes, never starts the engine, and
// opens nothing but the named file; only chain_info() follows backing names, as far as its policy allows (H-7, H-49,
// H-50). Damaged, dirty, encrypted and half-supported images can be looked at as long as their header makes sense.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "byre/base/result.h"
#include "byre/data/disk.h"
#include "byre/ops/create.h"
#include "byre/ops/node.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"

namespace byre {

// Strings come from the image as they are: escape them before printing (H-6).
struct SnapshotInfo {
  std::string id;
  std::string name;
  std::uint64_t vm_state_bytes = 0;
  std::uint32_t date_seconds = 0;
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_nanoseconds = 0;
  std::optional<std::uint64_t> instruction_count;
};

struct BitmapInfo {
  std::string name;
  std::uint64_t granularity_bytes = 0;
  bool in_use = false;
  bool auto_record = false;
};

struct LuksSlotInfo {
  bool active = false;
  std::uint64_t key_offset_bytes = 0;  // from the start of the encryption area
  std::uint32_t iterations = 0;        // only of active slots, as is the next
  std::uint32_t stripes = 0;
};
struct LuksInfo {
  std::string cipher;  // "aes-256"
  std::string cipher_mode;
  std::string iv_generator;
  std::optional<std::string> iv_generator_hash;  // of essiv
  std::string hash;
  std::string uuid;
  std::uint64_t payload_offset_bytes = 0;
  std::uint32_t master_key_iterations = 0;
  std::vector<LuksSlotInfo> slots;
};

// How the disk's clusters are stored, in the active tables.
struct ClusterUse {
  std::uint64_t total = 0;
  std::uint64_t allocated = 0;  // normal, compressed, or reserved and zero
  std::uint64_t zero = 0;       // that read as zeros by their entry
  std::uint64_t compressed = 0;
  std::uint64_t fragmented = 0;  // not behind their predecessor (section 20.5)
};

enum class Encryption { none, aes, luks };

struct Qcow2Info {
  unsigned version = 3;
  std::uint64_t cluster_size_bytes = 0;
  Compression compression = Compression::zlib;
  unsigned refcount_bits = 16;
  bool lazy_refcounts = false;
  bool dirty = false;
  bool corrupt = false;
  bool extended_l2 = false;
  bool has_data_file = false;
  bool data_file_raw = false;
  std::optional<std::string> data_file;
  Encryption encryption = Encryption::none;
  std::optional<LuksInfo> luks;
  std::vector<SnapshotInfo> snapshots;
  std::vector<BitmapInfo> bitmaps;
  std::vector<std::string> features;      // "lazy refcounts (compatible)", escaped
  std::optional<ClusterUse> cluster_use;  // where it was asked for and cheap
};

struct ImageInfo {
  std::string filename;
  std::string format;  // "qcow2" or "raw"
  std::uint64_t virtual_size_bytes = 0;
  std::uint64_t file_size_bytes = 0;
  std::optional<std::uint64_t> allocated_bytes;  // of the host
  std::optional<std::string> backing_name;       // as stored
  std::optional<std::string> backing_path;       // where it leads; none if it is not a plain file name
  std::optional<std::string> backing_format;
  std::optional<Qcow2Info> qcow2;
};

struct InfoOptions {
  std::optional<std::string> format;  // none: probed
  bool force_share = false;
  bool count_clusters = false;  // fills in cluster_use, unless the tables are damaged or larger than some 64 MiB
  BackingPolicy backing;        // of chain_info()
};

// Errors: those of opening, and corrupt or unsupported for a header, snapshot table or bitmap directory that cannot be
// read. Nothing is allocated by an unchecked size.
Task<Result<ImageInfo>> image_info(NodeDescription node, InfoOptions options);
Task<Result<ImageInfo>> image_info(Storage& storage, InfoOptions options);

// The image and what lies below it, top first. A loop, a missing member and a refused name are errors.
Task<Result<std::vector<ImageInfo>>> chain_info(NodeDescription node, InfoOptions options);

}  // namespace byre
