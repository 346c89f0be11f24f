// byre snapshot: lists, takes, applies, deletes and compares internal snapshots (docs/format.md C-21).
#include "byre/ops/snapshot.h"

#include <ctime>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/info_text.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/personality.h"
#include "cli/snapshot_diff.h"

namespace byre::cli {

namespace {

struct SnapshotArguments {
  std::vector<std::string> words;  // the image; with --diff the second snapshot may stand before it
  bool list = false;
  std::optional<std::string> apply;
  std::optional<std::string> create;
  std::optional<std::string> remove;
  std::optional<std::string> diff;
  OutputFormat output = OutputFormat::human;
  bool quiet = false;
  OpenFlags open;

  const std::string& file() const { return words.back(); }
};

NewSnapshot taken_now(const std::string& name) {
  std::timespec now = {};
  std::timespec_get(&now, TIME_UTC);
  NewSnapshot snapshot;
  snapshot.name = name;
  snapshot.date_seconds = static_cast<std::uint32_t>(now.tv_sec);
  snapshot.date_nanoseconds = static_cast<std::uint32_t>(now.tv_nsec);
  snapshot.instruction_count = 0;  // as the reference stores it for a disk without a machine
  return snapshot;
}

Task<Result<void>> change(Disk& disk, const SnapshotArguments& arguments) {
  if (arguments.create) {
    NewSnapshot snapshot = taken_now(*arguments.create);
    BYRE_CO_TRY([[maybe_unused]] const std::string id, co_await create_snapshot(disk, std::move(snapshot)));
    co_return Result<void>{};
  }
  if (arguments.apply) co_return co_await apply_snapshot(disk, *arguments.apply);
  co_return co_await delete_snapshot(disk, *arguments.remove);
}

Task<Result<void>> change_file(const SnapshotArguments& arguments) {
  OpenOptions options = open_options(arguments.open, arguments.quiet);
  options.writable = true;
  options.backing.follow = false;
  BYRE_CO_TRY(const std::unique_ptr<Disk> disk,
              co_await open_image(arguments.file(), arguments.open, std::move(options)));
  auto done = co_await change(*disk, arguments);
  auto closed = co_await disk->close();
  co_return done ? closed : done;
}

Task<Result<std::vector<SnapshotInfo>>> list_file(const SnapshotArguments& arguments) {
  OpenOptions options = open_options(arguments.open, arguments.quiet);
  options.backing.follow = false;
  BYRE_CO_TRY(const std::unique_ptr<Disk> disk,
              co_await open_image(arguments.file(), arguments.open, std::move(options)));
  auto list = co_await list_snapshots(*disk);
  BYRE_CO_CHECK(co_await disk->close());
  co_return list;
}

// Asked for nothing: whether it opens.
Task<Result<void>> try_to_open(const SnapshotArguments& arguments) {
  OpenOptions options = open_options(arguments.open, arguments.quiet);
  options.backing.follow = false;
  BYRE_CO_TRY(const std::unique_ptr<Disk> disk,
              co_await open_image(arguments.file(), arguments.open, std::move(options)));
  co_return co_await disk->close();
}

int list(const SnapshotArguments& arguments) {
  const auto snapshots = run_on_loop(list_file(arguments));
  if (!snapshots) return report(std::unexpected(snapshots.error()));
  if (arguments.output == OutputFormat::json) {
    print_json(snapshots_to_json(*snapshots));
  } else if (!arguments.quiet || personality().plain_results) {
    print(snapshot_list(*snapshots));
  }
  return exit_success;
}

int diff(const SnapshotArguments& arguments) {
  SnapshotDiff wanted;
  wanted.file = arguments.file();
  wanted.first = *arguments.diff;
  if (arguments.words.size() > 1) wanted.second = arguments.words.front();
  wanted.output = arguments.output;
  wanted.quiet = arguments.quiet;
  wanted.open = arguments.open;
  return print_snapshot_diff(wanted);
}

int run_snapshot(const SnapshotArguments& arguments) {
  if (arguments.diff && arguments.words.size() <= 2) return diff(arguments);
  if (arguments.words.size() > 1) {
    print_error("one image is expected; with --diff A the second snapshot may stand before it");
    return exit_failure;
  }
  const bool changes = arguments.apply || arguments.create || arguments.remove;
  if (!changes && !arguments.list && arguments.output != OutputFormat::json) {
    return report(run_on_loop(try_to_open(arguments)));
  }
  if (!changes) return list(arguments);
  if (arguments.output == OutputFormat::json) {
    print_error("--output=json lists, it does not go with -a, -c or -d");
    return exit_failure;
  }
  if (arguments.open.force_share) {
    print_error("-U is for listing: an image that is changed cannot be shared");
    return exit_failure;
  }
  return report(run_on_loop(change_file(arguments)));
}

}  // namespace

void register_snapshot(Cli& cli) {
  auto [parser, arguments] =
      cli.add<SnapshotArguments>({"snapshot", "List, take, apply, delete and compare internal snapshots",
                                  "  byre snapshot -c before-upgrade disk.qcow2\n"
                                  "  byre snapshot -l disk.qcow2\n"
                                  "  byre snapshot -a before-upgrade disk.qcow2\n"
                                  "  byre snapshot -d before-upgrade disk.qcow2\n"
                                  "  byre snapshot --diff before-upgrade after-upgrade disk.qcow2\n\n"
                                  "To read one without applying it: byre convert -l, byre map --snapshot, ...\n"},
                                 run_snapshot);
  parser.add_option("file", arguments.words, "the image").required();
  exclude_each_other(
      {parser.add_flag("-l,--list", arguments.list, "list the snapshots"),
       parser.add_option("-a,--apply", arguments.apply, "make the disk what it was then; an id goes before a name")
           .type_name("SNAPSHOT"),
       parser.add_option("-c,--create", arguments.create, "keep the disk as it is now, under this name")
           .type_name("NAME"),
       parser.add_option("-d,--delete", arguments.remove, "forget the first snapshot of this name").type_name("NAME"),
       parser
           .add_option("--diff", arguments.diff,
                       "where A and B differ; without B, or where one is empty, it is the disk as it is now")
           .type_name("A [B]")});
  add_output(parser, arguments.output);
  parser.add_flag("--json", [&output = arguments.output] { output = OutputFormat::json; }, "short for --output=json");
  add_quiet(parser, arguments.quiet);
  add_open_flags(parser, arguments.open);
}

}  // namespace byre::cli
