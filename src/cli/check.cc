// byre check: says whether an image is sound, and repairs it (docs/format.md C-6 to C-11).
#include "byre/ops/check.h"

#include <nlohmann/json.hpp>

#include "byre/ops/info.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/personality.h"
#include "cli/progress.h"

namespace byre::cli {

namespace {

// C-6.
constexpr int exit_corruptions = 2;
constexpr int exit_leaks = 3;
constexpr int exit_no_check = 63;
constexpr std::size_t most_findings_in_json = 10'000;

struct CheckArguments {
  std::string file;
  std::optional<std::string> format;
  bool image_opts = false;
  std::optional<std::string> repair;
  std::optional<std::string> undo;
  std::optional<std::string> apply_undo;
  OutputFormat output = OutputFormat::human;
  CacheMode cache = CacheMode::writeback;
  bool data = false;
  bool backing_chain = false;
  BackingFlags backing;
  bool force_share = false;
  bool quiet = false;
  bool progress = false;
};

std::string place_of(const Finding& finding) {
  std::string place;
  if (finding.host_offset_bytes) place += fmt::format("host {:#x}", *finding.host_offset_bytes);
  if (finding.guest_offset_bytes) {
    place += fmt::format("{}guest {:#x}", place.empty() ? "" : ", ", *finding.guest_offset_bytes);
    if (finding.length_bytes) place += fmt::format(" (+{:#x})", *finding.length_bytes);
  }
  if (!finding.snapshot.empty()) place += fmt::format(", snapshot {}", escape_untrusted(finding.snapshot));
  return place;
}

// C-11: the line that scripts know, then, but for leaks, what it is about.
void print_finding(const Finding& finding, const std::string& file) {
  if (finding.kind == FindingClass::leak) {
    print_diagnostic(DiagnosticLevel::warning, finding.text + "\n", {{"message", finding.text}, {"file", file}});
    return;
  }
  const std::string place = place_of(finding);
  const std::string about = fmt::format("{}{}{}", place, place.empty() ? "" : ": ", finding.meaning);
  const ErrorCode code = finding.kind == FindingClass::unchecked ? ErrorCode::io : ErrorCode::corrupt;
  const Error error = Error(code, fmt::format("{}; {}", finding.text, about));
  Json members = error_to_json(error);
  members["file"] = file;
  print_diagnostic(DiagnosticLevel::error, fmt::format("{}\n    {}\n", finding.text, about), members);
}

Json finding_to_json(const Finding& finding) {
  Json json;
  json["class"] = finding.kind == FindingClass::lost        ? "lost"
                  : finding.kind == FindingClass::unchecked ? "unchecked"
                                                            : "corruption";
  json["text"] = finding.text;
  json["meaning"] = finding.meaning;
  if (finding.host_offset_bytes) json["host-offset"] = *finding.host_offset_bytes;
  if (finding.guest_offset_bytes) json["guest-offset"] = *finding.guest_offset_bytes;
  if (finding.length_bytes) json["length"] = *finding.length_bytes;
  if (!finding.snapshot.empty()) json["snapshot"] = finding.snapshot;
  return json;
}

// C-8.
Json report_to_json(const std::string& file, const CheckReport& report, Json findings) {
  Json json;
  json["filename"] = file;
  json["format"] = "qcow2";
  json["check-errors"] = report.check_errors;
  const std::pair<const char*, std::uint64_t> counters[] = {{"image-end-offset", report.image_end_offset_bytes},
                                                            {"corruptions", report.corruptions},
                                                            {"leaks", report.leaks},
                                                            {"corruptions-fixed", report.corruptions_fixed},
                                                            {"leaks-fixed", report.leaks_fixed},
                                                            {"total-clusters", report.total_clusters},
                                                            {"allocated-clusters", report.allocated_clusters},
                                                            {"fragmented-clusters", report.fragmented_clusters},
                                                            {"compressed-clusters", report.compressed_clusters}};
  for (const auto& [key, value] : counters) {
    if (value != 0) json[key] = value;
  }
  if (!findings.empty()) json["findings"] = std::move(findings);
  return json;
}

void print_repairs(const CheckReport& report) {
  if (report.leaks_fixed == 0 && report.corruptions_fixed == 0) return;
  print(
      fmt::format("The following inconsistencies were found and repaired:\n\n    {} leaked clusters\n"
                  "    {} corruptions\n\nDouble checking the fixed image now...\n",
                  report.leaks_fixed, report.corruptions_fixed));
}

// C-9.
void print_as_text(const CheckReport& report) {
  print_repairs(report);
  if (report.clean()) print("No errors were found on the image.\n");
  if (report.corruptions > 0) {
    print(
        fmt::format("\n{} errors were found on the image.\nData may be corrupted, or further writes to the image may "
                    "corrupt it.\n",
                    report.corruptions));
  }
  if (report.leaks > 0) {
    print(
        fmt::format("\n{} leaked clusters were found on the image.\nThis means waste of disk space, but no harm to "
                    "data.\n",
                    report.leaks));
  }
  if (report.check_errors > 0) {
    print(fmt::format("\n{} internal errors have occurred during the check.\n", report.check_errors));
  }
  if (report.total_clusters > 0 && report.allocated_clusters > 0) {
    const auto percent = [](std::uint64_t part, std::uint64_t whole) {
      return static_cast<double>(part) * 100.0 / static_cast<double>(whole);
    };
    print(fmt::format("{}/{} = {:.2f}% allocated, {:.2f}% fragmented, {:.2f}% compressed clusters\n",
                      report.allocated_clusters, report.total_clusters,
                      percent(report.allocated_clusters, report.total_clusters),
                      percent(report.fragmented_clusters, report.allocated_clusters),
                      percent(report.compressed_clusters, report.allocated_clusters)));
  }
  if (report.image_end_offset_bytes > 0) print(fmt::format("Image end offset: {}\n", report.image_end_offset_bytes));
}

int exit_code_of(const CheckReport& report) {
  if (report.check_errors > 0) return exit_failure;
  if (report.corruptions > 0) return exit_corruptions;
  return report.leaks > 0 ? exit_leaks : exit_success;
}

Result<Repair> parse_repair(const std::optional<std::string>& word) {
  if (!word) return Repair::none;
  if (*word == "leaks") return Repair::leaks;
  if (*word == "all") return Repair::all;
  return fail(ErrorCode::invalid_argument, "-r takes 'leaks' or 'all', not '{}'", escape_untrusted(*word));
}

Result<CheckFileOptions> file_options(const CheckArguments& arguments) {
  CheckFileOptions options;
  options.format = arguments.format;
  options.force_share = arguments.force_share;
  options.cache = arguments.cache;
  options.check.data = arguments.data;
  options.undo_path = arguments.undo;
  BYRE_TRY(options.check.repair, parse_repair(arguments.repair));
  const bool repairs = options.check.repair != Repair::none;
  if (repairs && arguments.force_share) return fail(ErrorCode::invalid_argument, "-U and -r exclude each other");
  if (!repairs && arguments.undo) return fail(ErrorCode::invalid_argument, "--undo needs a repair: -r leaks or -r all");
  return options;
}

// What came of one file. Nothing to report: the format has no check.
struct Checked {
  int exit_code = exit_success;
  std::optional<CheckReport> report;
  Json findings = Json::array();
};

Checked check_one(const CheckArguments& arguments, const NodeDescription& node, CheckFileOptions options) {
  Checked checked;
  const bool as_json = arguments.output == OutputFormat::json;
  const std::string file = node.path().value_or(node.text());
  options.check.on_finding = [&](const Finding& finding) {
    if (!arguments.quiet || personality().plain_results) print_finding(finding, file);  // -q is for results there
    if (!as_json || personality().plain_results || finding.kind == FindingClass::leak ||
        checked.findings.size() >= most_findings_in_json)
      return;
    checked.findings.push_back(finding_to_json(finding));
  };
  Progress progress(arguments.progress, arguments.quiet, "checking");
  options.check.on_progress = [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  auto report_of_file = run_on_loop(check_file(node, std::move(options)));
  if (!report_of_file) {
    checked.exit_code = report(std::unexpected(report_of_file.error()));
    return checked;
  }
  progress.finish();
  checked.report = *std::move(report_of_file);
  checked.exit_code = checked.report ? exit_code_of(*checked.report) : exit_no_check;
  return checked;
}

void print_text_of(const Checked& checked) {
  print_as_text(*checked.report);
  if (checked.report->corruptions == 0 || !checked.report->dirty) return;
  print_hint(
      "The image was not closed cleanly. Wrong refcounts and COPIED flags are expected then: they are corrected when "
      "it "
      "is opened for writing, and by -r all.");
}

int run_one(const CheckArguments& arguments, CheckFileOptions options) {
  const auto node = image_named(arguments.file, arguments.image_opts);
  if (!node) return report(std::unexpected(node.error()));
  Checked checked = check_one(arguments, *node, std::move(options));
  if (checked.exit_code == exit_no_check) {
    print_error(Error(ErrorCode::unsupported, "raw images have no check").in_file(arguments.file));
  }
  if (!checked.report) return checked.exit_code;
  if (arguments.output == OutputFormat::json) {
    print_json(report_to_json(arguments.file, *checked.report, std::move(checked.findings)));
  } else if (!arguments.quiet) {
    print_text_of(checked);
  }
  return checked.exit_code;
}

// The worst of all layers: an error goes before corruption, corruption before leaks.
int worse(int one, int other) {
  constexpr int order[] = {exit_failure, exit_corruptions, exit_leaks};
  for (const int code : order) {
    if (one == code || other == code) return code;
  }
  return exit_success;
}

Result<std::vector<ImageInfo>> layers_of(const CheckArguments& arguments) {
  InfoOptions options;
  options.format = arguments.format;
  options.force_share = arguments.force_share;
  options.backing = backing_policy(arguments.backing);
  BYRE_TRY(NodeDescription node, image_named(arguments.file, arguments.image_opts));
  return run_on_loop(chain_info(std::move(node), std::move(options)));
}

// Each layer by itself, top first. Those without a check are passed over.
int run_chain(const CheckArguments& arguments, const CheckFileOptions& options) {
  const auto layers = layers_of(arguments);
  if (!layers) return report(std::unexpected(layers.error()));
  Json all = Json::array();
  int exit_code = exit_success;
  for (const ImageInfo& layer : *layers) {
    CheckFileOptions own = options;
    own.format = layer.format;
    const bool as_text = arguments.output != OutputFormat::json && !arguments.quiet;
    if (as_text)
      print(fmt::format("{}{}:\n", &layer == &layers->front() ? "" : "\n", escape_untrusted(layer.filename)));
    Checked checked = check_one(arguments, layer.filename, std::move(own));
    if (as_text && checked.report) print_text_of(checked);
    if (as_text && checked.exit_code == exit_no_check) print("Raw images have no check.\n");
    if (checked.report) all.push_back(report_to_json(layer.filename, *checked.report, std::move(checked.findings)));
    if (checked.exit_code != exit_no_check) exit_code = worse(exit_code, checked.exit_code);
  }
  if (arguments.output == OutputFormat::json) print_json(all);
  return exit_code;
}

int run_checks(const CheckArguments& arguments) {
  auto options = file_options(arguments);
  if (!options) return report(std::unexpected(options.error()));
  if (!arguments.backing_chain) return run_one(arguments, *std::move(options));
  if (!arguments.repair) return run_chain(arguments, *options);
  print_error("--backing-chain looks only: layers are repaired one at a time");
  return exit_failure;
}

int run_check(const CheckArguments& arguments) {
  if (!arguments.apply_undo) return run_checks(arguments);
  if (arguments.repair || arguments.undo || arguments.data) {
    print_error("--apply-undo stands alone: it takes back what a repair did");
    return exit_failure;
  }
  return report(run_on_loop(undo_check(arguments.file, *arguments.apply_undo)));
}

}  // namespace

void register_check(Cli& cli) {
  auto [parser, arguments] =
      cli.add<CheckArguments>({"check", "Say whether an image is sound, and repair it",
                               "  byre check disk.qcow2\n"
                               "  byre check --data --output=json disk.qcow2\n"
                               "  byre check -r all --undo disk.undo disk.qcow2\n"
                               "  byre check --apply-undo disk.undo disk.qcow2\n\n"
                               "Exit codes: 0 sound, 1 could not be completed, 2 corruptions, 3 only "
                               "leaks, 63 the format has no check\n"},
                              run_check);
  parser.add_option("file", arguments.file, "the image").required();
  add_image_opts(parser, arguments.image_opts, add_format(parser, arguments.format));
  parser.add_option(
      "-r,--repair", arguments.repair,
      "repair: 'leaks' lowers counts that are too high; 'all' repairs what can be, and gives up entries that "
      "point nowhere");
  parser.add_option("--undo", arguments.undo, "record in this new file what the repair overwrites").type_name("FILE");
  parser.add_option("--apply-undo", arguments.apply_undo, "put back what a repair with --undo overwrote")
      .type_name("FILE");
  parser.add_flag("--data", arguments.data, "decompress every compressed cluster too");
  parser.add_flag("--backing-chain", arguments.backing_chain, "check the backing files as well, top first");
  add_backing(parser, arguments.backing);
  add_cache_mode(parser, "-T,--cache", arguments.cache, "how the image is read");
  add_force_share(parser, arguments.force_share);
  add_output(parser, arguments.output);
  add_quiet(parser, arguments.quiet);
  add_progress(parser, arguments.progress);
}

}  // namespace byre::cli
