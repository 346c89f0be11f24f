// byre checksum: a checksum of what images read as, however they store it (docs/checksum.md).
#include "byre/ops/checksum.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace byre::cli {

namespace {

constexpr unsigned most_parallel_requests = 16;
constexpr unsigned not_given = ~0u;

struct ChecksumArguments {
  std::vector<std::string> files;
  OpenFlags open;
  std::optional<std::string> snapshot;
  bool all_snapshots = false;
  std::optional<ChecksumAlgorithm> algorithm;
  std::optional<Checksum> expected;
  unsigned parallel_requests = not_given;
  OutputFormat output = OutputFormat::human;
  bool progress = false;
  bool quiet = false;
};

struct FileChecksums {
  std::string file;
  std::string format;
  std::vector<StateChecksum> states;  // the disk (or the snapshot that was asked for), then all snapshots
};

ChecksumOptions checksum_options(const ChecksumArguments& arguments, Progress& progress) {
  ChecksumOptions options;
  options.algorithm = arguments.algorithm.value_or(ChecksumAlgorithm::sha256);
  if (arguments.expected) options.algorithm = arguments.expected->algorithm;
  if (arguments.parallel_requests != not_given) options.parallel_requests = arguments.parallel_requests;
  options.progress = [&](std::uint64_t done_bytes, std::uint64_t total_bytes) {
    progress.update(done_bytes, total_bytes);
  };
  options.cancel = &interrupted();
  return options;
}

Task<Result<std::vector<StateChecksum>>> checksum_open(Disk& disk, ChecksumOptions options, bool all_snapshots) {
  if (all_snapshots) {
    BYRE_CO_TRY(std::vector<StateChecksum> states, co_await checksum_states(disk, std::move(options)));
    std::rotate(states.begin(), states.end() - 1, states.end());
    co_return states;
  }
  BYRE_CO_TRY(Checksum checksum, co_await checksum_disk(disk, std::move(options)));
  std::vector<StateChecksum> states(1);
  states.front().size_bytes = disk.size_bytes();
  states.front().checksum = std::move(checksum);
  co_return states;
}

Task<Result<FileChecksums>> checksum_file(const ChecksumArguments& arguments, std::string file,
                                          ChecksumOptions options) {
  OpenOptions opening = open_options(arguments.open, arguments.quiet);
  BYRE_CO_CHECK(choose_snapshot(arguments.snapshot, opening));
  BYRE_CO_TRY(const std::unique_ptr<Disk> disk, co_await open_image(file, arguments.open, std::move(opening)));
  FileChecksums result;
  result.file = std::move(file);
  result.format = disk->format();
  auto states = co_await checksum_open(*disk, std::move(options), arguments.all_snapshots);
  (void)co_await disk->close();  // nothing was written: there is nothing to lose
  BYRE_CO_TRY(result.states, std::move(states));
  co_return result;
}

void print_lines(const FileChecksums& checksums, const std::optional<std::string>& snapshot) {
  for (const StateChecksum& state : checksums.states) {
    std::string line = fmt::format("{}  {}", checksum_text(state.checksum), escape_untrusted(checksums.file, 4096));
    if (snapshot) line += fmt::format(" (snapshot {})", escape_untrusted(*snapshot));
    if (state.snapshot) {
      line += fmt::format(" (snapshot {} '{}')", escape_untrusted(state.snapshot->id),
                          escape_untrusted(state.snapshot->name));
    }
    print(line + "\n");
  }
}

Json to_json(const FileChecksums& checksums, const std::optional<std::string>& snapshot) {
  const StateChecksum& disk = checksums.states.front();
  Json json = {{"filename", checksums.file}, {"format", checksums.format}};
  if (snapshot) json["snapshot"] = *snapshot;
  json["virtual-size"] = disk.size_bytes;
  json["checksum"] = checksum_text(disk.checksum);
  for (const StateChecksum& state : checksums.states) {
    if (!state.snapshot) continue;
    json["snapshots"].push_back({{"id", state.snapshot->id},
                                 {"name", state.snapshot->name},
                                 {"virtual-size", state.size_bytes},
                                 {"checksum", checksum_text(state.checksum)}});
  }
  return json;
}

// Whether the file has the checksum that was expected, if one was.
bool is_expected(const FileChecksums& checksums, const std::optional<Checksum>& expected) {
  const Checksum& found = checksums.states.front().checksum;
  if (!expected || found == *expected) return true;
  print_error(fmt::format("{}: the checksum is {}, not {} as expected", escape_untrusted(checksums.file, 4096),
                          checksum_text(found), checksum_text(*expected)));
  return false;
}

// Every file is looked at, whatever happens to the others, as long as nobody interrupts.
int checksum_files(const ChecksumArguments& arguments) {
  int code = exit_success;
  Json all = Json::array();
  for (const std::string& file : arguments.files) {
    Progress progress(arguments.progress, arguments.quiet, "hashing");
    ChecksumOptions options = checksum_options(arguments, progress);
    const auto checksums = run_on_loop(checksum_file(arguments, file, std::move(options)));
    if (!checksums) {
      code = report(std::unexpected(checksums.error()));
      if (interrupted().load()) return code;
      continue;
    }
    progress.finish();
    if (arguments.output == OutputFormat::json) all.push_back(to_json(*checksums, arguments.snapshot));
    if (arguments.output == OutputFormat::human && !arguments.quiet) print_lines(*checksums, arguments.snapshot);
    if (!is_expected(*checksums, arguments.expected)) code = exit_failure;
  }
  if (arguments.output == OutputFormat::json) print_json(all);
  return code;
}

std::optional<std::string> contradiction(const ChecksumArguments& arguments) {
  if (arguments.all_snapshots && arguments.snapshot) return "-l and --all-snapshots exclude each other";
  if (arguments.all_snapshots && arguments.expected) {
    return "--expect is for one state of a disk: --all-snapshots does not go with it, -l does";
  }
  if (arguments.expected && arguments.algorithm && *arguments.algorithm != arguments.expected->algorithm) {
    return fmt::format("--expect names a checksum of another algorithm than --algorithm: {}",
                       checksum_name(arguments.expected->algorithm));
  }
  const unsigned parallel = arguments.parallel_requests;
  if (parallel != not_given && (parallel < 1 || parallel > most_parallel_requests)) {
    return fmt::format("-m {}: the number of parallel requests must be 1 to {}", parallel, most_parallel_requests);
  }
  return std::nullopt;
}

int run_checksum(const ChecksumArguments& arguments) {
  if (const auto message = contradiction(arguments)) {
    print_error(*message);
    return exit_failure;
  }
  catch_interrupts();
  return checksum_files(arguments);
}

void add_algorithm(Parser& parser, std::optional<ChecksumAlgorithm>& algorithm) {
  const auto parse = [&algorithm](const std::string& text) -> Result<> {
    if (text != "sha256" && text != "blake2b") {
      return fail(ErrorCode::invalid_argument, "--algorithm must be sha256 or blake2b, not '{}'",
                  escape_untrusted(text));
    }
    algorithm = text == "sha256" ? ChecksumAlgorithm::sha256 : ChecksumAlgorithm::blake2b;
    return {};
  };
  parser.add_option("--algorithm", parse, "sha256 (default) or blake2b").type_name("NAME");
}

void add_expected(Parser& parser, std::optional<Checksum>& expected) {
  const auto parse = [&expected](const std::string& text) -> Result<> {
    auto checksum = parse_checksum(text);
    if (!checksum) return std::unexpected(std::move(checksum).error().with_context("--expect"));
    expected = *std::move(checksum);
    return {};
  };
  parser.add_option("--expect", parse, "fail if a file has another checksum than this").type_name("CHECKSUM");
}

}  // namespace

void register_checksum(Cli& cli) {
  auto [parser, arguments] =
      cli.add<ChecksumArguments>({"checksum", "Print a checksum of what images read as, however they store it",
                                  "  byre checksum disk.img disk.qcow2\n"
                                  "  byre checksum -l before-upgrade disk.qcow2\n"
                                  "  byre checksum --all-snapshots --output=json disk.qcow2\n"
                                  "  byre checksum -q --expect byre1-sha256:2f05... disk.qcow2\n\n"
                                  "docs/checksum.md says what is hashed, so that other programs can do it.\n"},
                                 run_checksum);
  parser.add_option("files", arguments.files, "the images").required();
  add_algorithm(parser, arguments.algorithm);
  add_expected(parser, arguments.expected);
  add_snapshot(parser, arguments.snapshot);
  parser.add_flag("--all-snapshots", arguments.all_snapshots, "of the disk and of each internal snapshot");
  parser
      .add_option("-m,--parallel", arguments.parallel_requests,
                  "stretches of 2 MiB in flight, 1 to 16 (default: 2 for each processor, at least 8)")
      .type_name("COUNT");
  add_output(parser, arguments.output);
  add_progress(parser, arguments.progress);
  add_quiet(parser, arguments.quiet);
  add_open_flags(parser, arguments.open);
  add_cache_mode(parser, "-T,--source-cache", arguments.open.cache, "cache mode of the images (default: writeback)");
}

}  // namespace byre::cli
