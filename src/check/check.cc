// A check is one pass. A repair is rounds of a pass and of writing what it found, until a pass finds nothing to write:
// an entry that is given up makes leaks, a structure that moved leaves the old one behind. The last pass is reported.

#include "byre/check/check.h"

#include <algorithm>
#include <memory>

#include "base/text.h"
#include "check/repair.h"

namespace byre {
namespace {

using check::Checker;
using check::Findings;

constexpr int most_rounds = 6;

CheckReport report_of(const Checker& checker, const Findings& findings) {
  CheckReport report;
  report.check_errors = findings.errors();
  report.corruptions = findings.corruptions();
  report.leaks = findings.leaks();
  checker.fill(report);
  return report;
}

void report_lost(Findings& findings, const Checker& checker) {
  for (const check::LostRange& range : checker.lost()) {
    Finding finding;
    finding.kind = FindingClass::lost;
    finding.text = fmt::format("LOST guest range {:#x}..{:#x}", range.guest_offset_bytes,
                               range.guest_offset_bytes + range.length_bytes);
    finding.meaning = "It reads now as if it had never been written.";
    finding.guest_offset_bytes = range.guest_offset_bytes;
    finding.length_bytes = range.length_bytes;
    finding.snapshot = range.snapshot;
    findings.report(finding);
  }
  for (const check::CheckedSnapshot& snapshot : checker.image().snapshots) {
    if (!snapshot.dropped) continue;
    Finding finding;
    finding.kind = FindingClass::lost;
    finding.text = fmt::format("LOST snapshot '{}'", escape_untrusted(snapshot.entry.name));
    finding.meaning = "Its tables could not be found; it is no longer listed.";
    finding.snapshot = snapshot.entry.id;
    findings.report(finding);
  }
}

// 20.2: lowering counts is no repair where others are missing.
bool leaks_refuse(const Checker& checker, Repair repair, Findings& findings) {
  if (repair != Repair::leaks || !(checker.counts_missing() || checker.structure_wrong())) return false;
  findings.error("counts are missing: '-r leaks' changes nothing here, '-r all' repairs the image");
  return true;
}

std::uint64_t less(std::uint64_t before, std::uint64_t after) { return before > after ? before - after : 0; }

class Repairs {
 public:
  Repairs(Storage& storage, const CheckOptions& options)
      : storage_(storage), options_(options), undo_(storage, options.undo) {}

  Task<Result<CheckReport>> run() {
    Findings findings(options_.on_finding);
    Checker first(storage_, options_, options_.repair, findings);
    BYRE_CO_CHECK(co_await first.run());
    const CheckReport before = report_of(first, findings);
    const bool refused = leaks_refuse(first, options_.repair, findings);
    CheckReport report = refused ? report_of(first, findings) : before;
    if (!refused && check::needs_repair(first, options_.repair)) {
      BYRE_CO_CHECK(co_await check::repair_image(storage_, first, options_.repair, undo_));
      report_lost(findings, first);
      BYRE_CO_CHECK(co_await repair_the_rest(findings));
      BYRE_CO_TRY(report, co_await verdict());
      report.corruptions_fixed = less(before.corruptions, report.corruptions);
      report.leaks_fixed = less(before.leaks, report.leaks);
      report.lost = findings.lost();
    }
    if (report.check_errors == 0 && report.corruptions == 0 && first.bits_set()) {
      BYRE_CO_CHECK(co_await check::clear_bits(storage_, first.image(), undo_));
    }
    BYRE_CO_CHECK(co_await undo_.finish());
    co_return report;
  }

 private:
  Task<Result<void>> repair_the_rest(Findings& findings) {
    for (int round = 1; round < most_rounds; ++round) {
      Findings silent(nullptr);
      Checker checker(storage_, options_, options_.repair, silent);
      BYRE_CO_CHECK(co_await checker.run());
      if (!check::needs_repair(checker, options_.repair)) break;
      BYRE_CO_CHECK(co_await check::repair_image(storage_, checker, options_.repair, undo_));
      report_lost(findings, checker);
    }
    co_return Result<void>{};
  }

  Task<Result<CheckReport>> verdict() {
    Findings findings(options_.on_finding);
    Checker checker(storage_, options_, Repair::none, findings);
    BYRE_CO_CHECK(co_await checker.run());
    co_return report_of(checker, findings);
  }

  Storage& storage_;
  const CheckOptions& options_;
  check::UndoLog undo_;
};

}  // namespace

Task<Result<CheckReport>> check_image(Storage& storage, CheckOptions options) {
  if (options.repair != Repair::none) {
    if (!storage.writable()) co_return fail(ErrorCode::invalid_argument, "a repair needs an image opened for writing");
    Repairs repairs(storage, options);
    co_return co_await repairs.run();
  }
  Findings findings(options.on_finding);
  Checker checker(storage, options, Repair::none, findings);
  BYRE_CO_CHECK(co_await checker.run());
  co_return report_of(checker, findings);
}

}  // namespace byre
