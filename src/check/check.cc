#include "byre/check/check.h"

#include "check/checker.h"

namespace byre {

Task<Result<CheckReport>> check_image(Storage& storage, CheckOptions options) {
  check::Findings findings(options.on_finding);
  check::Checker checker(storage, options, Repair::none, findings);
  BYRE_CO_CHECK(co_await checker.run());
  CheckReport report;
  report.corruptions = findings.corruptions();
  report.leaks = findings.leaks();
  report.check_errors = findings.errors();
  checker.fill(report);
  co_return report;
}

Task<Result<void>> apply_undo(Storage&, Storage&) {
  co_return std::unexpected(Error(ErrorCode::unsupported, "undo is not there yet"));
}

}  // namespace byre
