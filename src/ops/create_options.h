// The names of the create options, as -o has them (docs/format.md Appendix B).
#pragma once

#include <string_view>
#include <vector>

#include "byre/ops/create.h"
#include "ops/option_list.h"

namespace byre::ops {

// Turns a list into options. Errors: unknown or malformed options (invalid_argument); options of features that Byre
// does not create (unsupported). The values as a whole are judged by check_create_options().
Result<CreateOptions> parse_create_options(std::string_view format, OptionList list);

struct OptionHelp {
  std::string_view name;
  std::string_view value;  // "size", "on/off", ...
  std::string_view description;
};
// What a format understands, in alphabetical order.
std::vector<OptionHelp> create_option_help(std::string_view format);

// What check_create_options() cannot see: whether tables, header and names of this very image stay within their limits.
// For qcow2, with a size.
Result<> check_plan(const CreateOptions& options);

std::string_view preallocation_name(Preallocation mode);
std::optional<Preallocation> preallocation_named(std::string_view name);  // nothing for any other word
std::string_view compression_name(Compression type);

}  // namespace byre::ops
