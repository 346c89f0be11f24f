// One table. Left out: a version number that follows the other tool's; scripts get the one that is answered to.
#include "cli/personality.h"

#include <algorithm>

#include "cli/qemu_img.h"

namespace byre::cli {

namespace {

#define BYRE_FOREIGN_VERSION(name) \
  name " version 7.2.22 (Byre " BYRE_VERSION ")\n'byre help drop-in' says what is covered under this name.\n"

const Personality personalities[] = {
    {.program = "byre", .version = "byre " BYRE_VERSION "\n", .only_command = {}, .prompt = "byre> "},
    {.program = "qemu-img",
     .version = BYRE_FOREIGN_VERSION("qemu-img"),
     .only_command = {},
     .prompt = {},
     .command_line = &qemu_img,
     .plain_results = true},
    {.program = "qemu-io",
     .version = BYRE_FOREIGN_VERSION("qemu-io"),
     .only_command = "io",
     .prompt = "qemu-io> ",
     .plain_results = true},
    {.program = "qemu-nbd",
     .version = BYRE_FOREIGN_VERSION("qemu-nbd"),
     .only_command = "qemu-nbd",
     .prompt = {},
     .plain_results = true},
};

const Personality* chosen_personality = &personalities[0];

}  // namespace

void choose_personality(std::string_view started_as) {
  const std::string_view name = started_as.substr(started_as.rfind('/') + 1);  // npos + 1 is 0
  const auto* known = std::ranges::find(personalities, name, &Personality::program);
  chosen_personality = known == std::end(personalities) ? &personalities[0] : known;
}

const Personality& personality() { return *chosen_personality; }

}  // namespace byre::cli
