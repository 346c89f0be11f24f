#include "cli/snapshot_diff.h"

#include "byre/ops/difference.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/loop.h"
#include "cli/output.h"

namespace byre::cli {

namespace {

Task<Result<std::unique_ptr<Disk>>> open_state(const SnapshotDiff& wanted, std::string snapshot) {
  OpenOptions options = open_options(wanted.open, wanted.quiet);
  if (!snapshot.empty()) BYRE_CO_CHECK(choose_snapshot(snapshot, options));
  co_return co_await open_image(wanted.file, wanted.open, std::move(options));
}

void print_text_range(DifferentRange range) {
  print(fmt::format("{:<16}{:#x}\n", fmt::format("{:#x}", range.offset_bytes), range.length_bytes));
}

void print_text_totals(const DifferenceTotals& totals, std::uint64_t first_size, std::uint64_t second_size) {
  print(fmt::format("{} bytes differ in {} ranges\n", totals.different_bytes, totals.ranges));
  if (first_size != second_size) print(fmt::format("The sizes differ: {} and {} bytes\n", first_size, second_size));
}

Task<Result<void>> diff_as_text(Disk& first, Disk& second, DifferenceOptions options, bool quiet) {
  bool any = false;
  options.found = [&any, quiet](DifferentRange range) {
    if (quiet) return;
    if (!any) print(fmt::format("{:<16}{}\n", "Offset", "Length"));
    any = true;
    print_text_range(range);
  };
  BYRE_CO_TRY(const DifferenceTotals totals, co_await find_differences(first, second, std::move(options)));
  if (!quiet) print_text_totals(totals, first.size_bytes(), second.size_bytes());
  co_return Result<void>{};
}

Task<Result<void>> diff_as_json(Disk& first, Disk& second, DifferenceOptions options) {
  print(fmt::format("{{\n    \"first-size\": {},\n    \"second-size\": {},\n    \"ranges\": [", first.size_bytes(),
                    second.size_bytes()));
  bool any = false;
  options.found = [&any](DifferentRange range) {
    print(fmt::format("{}\n        {{ \"start\": {}, \"length\": {} }}", any ? "," : "", range.offset_bytes,
                      range.length_bytes));
    any = true;
  };
  BYRE_CO_TRY(const DifferenceTotals totals, co_await find_differences(first, second, std::move(options)));
  print(fmt::format("{}],\n    \"different\": {},\n    \"compared\": {}\n}}\n", any ? "\n    " : "",
                    totals.different_bytes, totals.compared_bytes));
  co_return Result<void>{};
}

Task<Result<void>> diff_disks(const SnapshotDiff& wanted, Disk& first, Disk& second) {
  DifferenceOptions options;
  options.cancel = &interrupted();
  if (wanted.output == OutputFormat::json) co_return co_await diff_as_json(first, second, std::move(options));
  co_return co_await diff_as_text(first, second, std::move(options), wanted.quiet);
}

Task<Result<void>> diff_file(const SnapshotDiff& wanted) {
  BYRE_CO_TRY(const std::unique_ptr<Disk> first, co_await open_state(wanted, wanted.first));
  auto second = co_await open_state(wanted, wanted.second);
  Result<void> done;
  if (second) {
    done = co_await diff_disks(wanted, *first, **second);
    (void)co_await (*second)->close();  // nothing was written: there is nothing to lose
  } else {
    done = std::unexpected(second.error());
  }
  (void)co_await first->close();
  co_return done;
}

}  // namespace

int print_snapshot_diff(const SnapshotDiff& wanted) {
  catch_interrupts();
  return report(run_on_loop(diff_file(wanted)));
}

}  // namespace byre::cli
