#include "storage/debug_rules.h"

#include <algorithm>

namespace byre {
namespace {

constexpr std::uint64_t sector_bytes = 512;

bool fits(const FaultRule& rule, AccessKind kind, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  if (rule.kind ? *rule.kind != kind : kind == AccessKind::block_status) return false;
  if (!rule.sector) return true;
  if (length_bytes == 0) return false;
  return *rule.sector >= offset_bytes / sector_bytes &&
         *rule.sector <= (offset_bytes + length_bytes - 1) / sector_bytes;
}

}  // namespace

DebugRules::DebugRules(std::vector<FaultRule> faults, std::vector<StateRule> states) : states_(std::move(states)) {
  for (FaultRule& rule : faults) faults_.push_back({rule});
}

void DebugRules::pass(AccessEvent event) {
  for (Fault& fault : faults_) {
    const bool now = fault.rule.event == event && (fault.rule.state == 0 || fault.rule.state == state_);
    fault.active = fault.active || now;
  }
  unsigned next = state_;
  for (const StateRule& rule : states_) {
    if (rule.event == event && (rule.state == 0 || rule.state == state_)) next = rule.new_state;
  }
  state_ = next;
}

std::optional<FaultRule> DebugRules::take_fault(AccessKind kind, std::uint64_t offset_bytes,
                                                std::uint64_t length_bytes) {
  const auto found = std::ranges::find_if(
      faults_, [&](const Fault& fault) { return fault.active && fits(fault.rule, kind, offset_bytes, length_bytes); });
  if (found == faults_.end()) return std::nullopt;
  const FaultRule rule = found->rule;
  if (rule.once) faults_.erase(found);
  return rule;
}

}  // namespace byre
