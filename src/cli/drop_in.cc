// What is missing comes from the table of the command line, so that it cannot say otherwise than the tool does.
#include "cli/drop_in.h"

#include <fmt/format.h>

#include "cli/qemu_img.h"

namespace byre::cli {

std::string drop_in_help() {
  return fmt::format(
      "Started through a link called qemu-img, byre takes that tool's command line (version 7.2), prints what it\n"
      "prints, and ends with its exit codes. Messages begin with its name; their words are ours. The formats are\n"
      "qcow2 and raw, in files, block devices, streams and NBD exports; --image-opts and json:{{...}} describe "
      "them.\n\n"
      "qemu-img, not there yet:\n{}"
      "    The keys extended_l2, data_file, data_file_raw, encryption and encrypt.* of -o. An image that is written\n"
      "    loses its persistent bitmaps.\n\n"
      "Started through qemu-io or qemu-nbd it takes the options of that tool. Not there yet, or refused by name: of\n"
      "qemu-io --object, and -b of read and write; of qemu-nbd -c, -d, -B, --tls-authz and --selinux-label.\n"
      "docs/drop-in.md lists every option of qemu-img, and where it differs.\n",
      foreign_gaps(qemu_img));
}

}  // namespace byre::cli
