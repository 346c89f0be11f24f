// The two faces of `info`: JSON with the keys that scripts know, and text (docs/format.md C-12 to C-14, C-21).
#pragma once

#include <string>
#include <vector>

#include "byre/ops/info.h"
#include "cli/output.h"

namespace byre::cli {

Json info_to_json(const ImageInfo& info);

// The lines of one image.
std::string info_to_text(const ImageInfo& info);

// A chain of two or more images as a tree, top first.
std::string chain_to_text(const std::vector<ImageInfo>& chain);

// An array of objects with the keys of `info`.
Json snapshots_to_json(const std::vector<SnapshotInfo>& snapshots);

// The lines of "Snapshot list:", empty if there are none.
std::string snapshot_list(const std::vector<SnapshotInfo>& snapshots);

}  // namespace byre::cli
