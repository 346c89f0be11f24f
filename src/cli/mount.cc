// byre mount: the virtual disk as a file, or a directory with it and its snapshots (FUSE).
#include "byre/fuse/mount.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "byre/ops/partition.h"
#include "byre/ops/snapshot.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/service.h"

namespace byre::cli {

namespace {

struct MountArguments {
  std::string file;
  std::string mountpoint;
  std::optional<std::string> snapshot;
  std::optional<std::string> pid_file;
  unsigned partition = 0;
  bool read_only = false;
  bool allow_other = false;
  bool fork = false;
  bool quiet = false;
  OpenFlags open;
};

// The disk, and in a directory its snapshots too, each opened once.
struct Shown {
  std::string name;
  std::unique_ptr<Disk> disk;
};

// A snapshot's name where it can be a file's and no other has it, else its id.
std::string file_name(const SnapshotInfo& snapshot, const std::vector<SnapshotInfo>& all) {
  const auto same = std::ranges::count(all, snapshot.name, &SnapshotInfo::name);
  const bool good = same == 1 && !snapshot.name.empty() && snapshot.name.size() <= 255 && snapshot.name != "." &&
                    snapshot.name != ".." &&
                    snapshot.name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
  return "snapshots/" + (good ? snapshot.name : "id-" + snapshot.id);
}

// Nothing changes what a snapshot holds, so that it may be read, through a file of its own, beside a disk that changes.
Task<Result<void>> open_snapshots(const MountArguments& arguments, std::vector<Shown>& shown) {
  if (shown.front().disk->format() != "qcow2") co_return Result<void>{};
  BYRE_CO_TRY(const std::vector<SnapshotInfo> all, co_await list_snapshots(*shown.front().disk));
  for (const SnapshotInfo& snapshot : all) {
    OpenOptions options = open_options(arguments.open, arguments.quiet);
    options.format = "qcow2";
    options.snapshot = snapshot.id;
    options.snapshot_key = SnapshotKey::id;
    options.force_share = true;
    BYRE_CO_TRY(std::unique_ptr<Disk> disk, co_await open_image(arguments.file, arguments.open, std::move(options)));
    shown.push_back({file_name(snapshot, all), std::move(disk)});
  }
  co_return Result<void>{};
}

Task<Result<void>> open_all(const MountArguments& arguments, bool in_directory, std::vector<Shown>& shown) {
  OpenOptions options = open_options(arguments.open, arguments.quiet);
  BYRE_CO_CHECK(choose_snapshot(arguments.snapshot, options));
  options.writable = !arguments.read_only && !arguments.snapshot && !arguments.open.force_share;
  BYRE_CO_TRY(std::unique_ptr<Disk> disk, co_await open_image(arguments.file, arguments.open, std::move(options)));
  shown.push_back({"disk", std::move(disk)});
  if (in_directory && !arguments.snapshot) BYRE_CO_CHECK(co_await open_snapshots(arguments, shown));
  co_return Result<void>{};
}

Task<Result<std::vector<fuse::File>>> files_of(const std::vector<Shown>& shown, unsigned partition) {
  std::vector<fuse::File> files;
  for (const Shown& one : shown) {
    fuse::File file;
    file.name = one.name;
    file.part.disk = one.disk.get();
    if (partition != 0) {
      auto found = co_await find_partition(*one.disk, partition);
      if (!found && &one != &shown.front()) continue;  // a snapshot from before it was made
      if (!found) co_return std::unexpected(std::move(found).error());
      file.part.offset_bytes = found->offset_bytes;
      file.part.size_bytes = found->size_bytes;
    }
    files.push_back(std::move(file));
  }
  co_return files;
}

Task<Result<void>> mount_files(const MountArguments& arguments, const std::vector<Shown>& shown, Running& running,
                               Background& background) {
  BYRE_CO_TRY(std::vector<fuse::File> files, co_await files_of(shown, arguments.partition));
  fuse::MountOptions options;
  options.mountpoint = arguments.mountpoint;
  options.allow_other = arguments.allow_other;
  if (!arguments.quiet) options.log = stderr_log();
  BYRE_CO_TRY(const auto mounted, fuse::Mount::make(std::move(files), std::move(options)));
  BYRE_CO_CHECK(running.tell(arguments.pid_file));
  if (!arguments.quiet) {
    print(fmt::format("{} ({}) is at {}\n", escape_untrusted(arguments.file),
                      human_size(shown.front().disk->size_bytes()), escape_untrusted(arguments.mountpoint)));
    flush_output();
  }
  background.ready();
  EventLoop::current().spawn(running.signal.wait([&mounted] { mounted->stop(); }));
  const Result<void> served = co_await mounted->run();
  co_await running.signal.release();
  co_return served;
}

Task<Result<void>> mount_image(const MountArguments& arguments, Background& background) {
  struct stat found{};
  const bool in_directory = ::stat(arguments.mountpoint.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
  std::vector<Shown> shown;
  Result<void> outcome = co_await open_all(arguments, in_directory, shown);
  Running running;
  if (outcome) outcome = co_await mount_files(arguments, shown, running, background);
  for (const Shown& one : shown) outcome = co_await close_after(std::move(outcome), one.disk.get());
  co_return outcome;
}

int run_mount(const MountArguments& arguments) {
  Result<Background> background = arguments.fork ? Background::enter() : Background();
  if (!background) return report(std::unexpected(background.error()));
  return report(run_on_loop(mount_image(arguments, *background)));
}

}  // namespace

void register_mount(Cli& cli) {
  auto [parser, arguments] = cli.add<MountArguments>(
      {"mount", "Show a disk as a file (FUSE)",
       "  touch disk.raw && byre mount vm.qcow2 disk.raw       # disk.raw is the disk until it is unmounted\n"
       "  mkdir vm && byre mount --fork vm.qcow2 vm            # vm/disk, vm/snapshots/NAME\n"
       "  byre mount --read-only --partition 1 vm.qcow2 root.raw\n\n"
       "Ends when it is unmounted (umount, fusermount3 -u), and on SIGTERM, SIGINT and SIGHUP.\n"},
      run_mount);
  parser.add_option("file", arguments.file, "the image").required();
  parser.add_option("mountpoint", arguments.mountpoint, "a file that the disk takes the place of, or a directory")
      .required();
  parser.add_flag("-r,--read-only", arguments.read_only, "open read-only");
  add_snapshot(parser, arguments.snapshot);
  parser.add_option("-P,--partition", arguments.partition, "only this partition (1, 2, ...; MBR or GPT)");
  parser.add_flag("--allow-other", arguments.allow_other, "other users may see it, too");
  parser.add_flag("--fork", arguments.fork, "go to the background once it is mounted");
  parser.add_option("--pid-file", arguments.pid_file, "write the process id to this file while it is mounted");
  add_cache_mode(parser, "-t,--cache", arguments.open.cache, "how the image is written");
  add_quiet(parser, arguments.quiet);
  add_open_flags(parser, arguments.open);
}

}  // namespace byre::cli
