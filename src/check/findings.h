// Counts what a check finds and passes it on.
#pragma once

#include <fmt/core.h>

#include <string>
#include <utility>
#include <vector>

#include "byre/base/units.h"
#include "byre/check/check.h"

namespace byre::check {

class Findings {
 public:
  explicit Findings(std::function<void(const Finding&)> sink) : sink_(std::move(sink)) {}

  void report(const Finding& finding) {
    (finding.kind == FindingClass::leak ? leaks_ : finding.kind == FindingClass::lost ? lost_ : corruptions_) += 1;
    if (sink_) sink_(finding);
  }
  // Something that could not be read or followed: the result is incomplete.
  void error(std::string text) {
    ++errors_;
    if (!sink_) return;
    Finding finding;
    finding.kind = FindingClass::unchecked;
    finding.text = "ERROR " + std::move(text);
    finding.meaning = "The check is incomplete: what lies there was not looked at.";
    sink_(finding);
  }

  std::uint64_t leaks() const { return leaks_; }
  std::uint64_t corruptions() const { return corruptions_; }
  std::uint64_t errors() const { return errors_; }
  std::uint64_t lost() const { return lost_; }

 private:
  std::function<void(const Finding&)> sink_;
  std::uint64_t leaks_ = 0;
  std::uint64_t corruptions_ = 0;
  std::uint64_t errors_ = 0;
  std::uint64_t lost_ = 0;
};

}  // namespace byre::check
