// What qemu-img 7.2 takes, command by command.
#pragma once

#include "cli/foreign_tool.h"

namespace byre::cli {

extern const ForeignTool qemu_img;

}  // namespace byre::cli
