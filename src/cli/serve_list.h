// Showing what a server offers.
#pragma once

#include <vector>

#include "cli/flags.h"
#include "nbd/listing.h"

namespace byre::cli {

// People get what other tools print; scripts get "exports", each with "name", "size", flags and sizes of requests.
void print_exports(const std::vector<nbd::OfferedExport>& exports, OutputFormat output);

}  // namespace byre::cli
