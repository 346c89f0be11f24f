// check/ does the work. Here is what an opening adds: what is said about it, and that an image with other damage than
// wrong counts is not written.

#include "data/repair.h"

#include <fmt/core.h>

#include <chrono>

#include "base/probe.h"
#include "base/text.h"
#include "byre/check/check.h"

namespace byre {

Task<Result<void>> repair_dirty_image(Storage& storage, LogSink log) {
  BYRE_PROBE("data: a dirty image is repaired when it is opened");
  const auto begin = std::chrono::steady_clock::now();
  CheckOptions options;
  options.repair = Repair::counts;
  auto report = co_await check_image(storage, options);
  if (!report) {
    co_return std::unexpected(
        std::move(report).error().with_context("the image was not closed cleanly and could not be repaired"));
  }
  if (report->corruptions > 0 || report->check_errors > 0) {
    co_return fail(
        ErrorCode::refused,
        "the image was not closed cleanly, and more than its refcounts is wrong ({} corruptions, {} errors): "
        "run `byre check -r all` before writing to it",
        report->corruptions, report->check_errors);
  }
  if (log) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const std::string line = fmt::format(
        "{}: not closed cleanly, repaired: {} wrong refcounts or flags corrected, {} leaked clusters freed, in {:.1f} "
        "s",
        escape_untrusted(storage.name()), report->corruptions_fixed, report->leaks_fixed, took.count());
    log(LogLevel::warning, line);
  }
  co_return Result<void>{};
}

}  // namespace byre
