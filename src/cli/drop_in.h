// What `byre help drop-in` says.
#pragma once

#include <string>

namespace byre::cli {

std::string drop_in_help();

}  // namespace byre::cli
