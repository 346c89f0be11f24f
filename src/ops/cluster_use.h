// Counting what the active tables hold, for `info`: bounded in memory and work, whatever the tables say.
#pragma once

#include <optional>

#include "byre/ops/info.h"
#include "format/header.h"

namespace byre::ops {

// Nothing if the tables are too large to be read for a mere look, cannot be read, or break a rule.
Task<std::optional<ClusterUse>> count_clusters(Storage& storage, const format::Header& header);

}  // namespace byre::ops
