#include "cli/option_help.h"

#include "cli/output.h"
#include "ops/create_options.h"

namespace byre::cli {

int print_option_help(const std::string& format) {
  print("Supported " + format + " options:\n");
  for (const ops::OptionHelp& option : ops::create_option_help(format)) {
    print(fmt::format("  {:<26} {}\n", fmt::format("{}=<{}>", option.name, option.value), option.description));
  }
  return 0;
}

}  // namespace byre::cli
