// The rules of a blkdebug node: from its options, and from the configuration file that it names.
#pragma once

#include <string_view>

#include "byre/base/result.h"
#include "byre/task/task.h"
#include "ops/node_options.h"
#include "storage/debug_rules.h"

namespace byre::ops {

// Adds to the options of a node what a configuration file says: sections [inject-error] and [set-state], each with
// lines of key = "value", become inject-error.N.key and set-state.N.key. Errors name the line.
Result<> add_debug_config(std::string_view text, NodeOptions& node);

// Reads the file that "config" names, if it does, and takes the rules out. Errors (unsupported): an event that this
// engine does not have.
Task<Result<DebugRules>> take_debug_rules(NodeOptions& node);

}  // namespace byre::ops
