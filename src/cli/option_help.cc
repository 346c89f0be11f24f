#include "cli/option_help.h"

#include "cli/output.h"
#include "cli/personality.h"
#include "ops/create_options.h"

namespace byre::cli {

namespace {

// Laid out as qemu-img does, for programs that look for "NAME=<".
void print_plain_help(const std::string& format, bool with_file) {
  print(with_file ? "Supported options:\n" : "Supported " + format + " options:\n");
  for (const ops::OptionHelp& option : ops::create_option_help(format)) {
    const bool of_file = option.name == "nocow" || option.name == "extent_size_hint" ||
                         (format == "raw" && option.name == "preallocation");
    if (of_file && !with_file) continue;
    const std::string_view type = option.value == "on/off"   ? "bool (on/off)"
                                  : option.value == "number" ? "num"
                                  : option.value == "size"   ? "size"
                                                             : "str";
    print(fmt::format("  {:<22} - {}\n", fmt::format("{}=<{}>", option.name, type), option.description));
  }
  if (!with_file) print("\nThere are more that concern the file: name it to list them.\n");
}

}  // namespace

int print_option_help(const std::string& format, bool with_file) {
  if (personality().plain_results) {
    print_plain_help(format, with_file);
    return 0;
  }
  print("Supported " + format + " options:\n");
  for (const ops::OptionHelp& option : ops::create_option_help(format)) {
    print(fmt::format("  {:<26} {}\n", fmt::format("{}=<{}>", option.name, option.value), option.description));
  }
  return 0;
}

}  // namespace byre::cli
