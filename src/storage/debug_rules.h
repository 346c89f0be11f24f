// When a storage made for tests fails, and how: rules that wait for events, and a state that they share.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "byre/storage/access_event.h"

namespace byre {

enum class AccessKind : std::uint8_t { read, write, write_zeroes, discard, flush, block_status };

struct FaultRule {
  AccessEvent event = AccessEvent::none;
  unsigned state = 0;                   // 0: in every state
  std::optional<AccessKind> kind;       // none: every kind but block_status
  std::optional<std::uint64_t> sector;  // only an access that touches these 512 bytes
  int errno_value = 5;                  // EIO
  bool once = false;                    // the rule ends with the first fault
  bool immediately = false;             // without letting anything else run before
};

struct StateRule {
  AccessEvent event = AccessEvent::none;
  unsigned state = 0;  // 0: in every state
  unsigned new_state = 0;
};

// An event makes the fault rules that wait for it, and for the state of that moment, active: from then on every access
// that fits one fails. Then the state changes. The state is 1 at first. Pure: no I/O, no clock.
class DebugRules {
 public:
  DebugRules(std::vector<FaultRule> faults, std::vector<StateRule> states);

  void pass(AccessEvent event);

  // The rule that makes this access fail, if any; a rule that fails once is gone afterwards.
  std::optional<FaultRule> take_fault(AccessKind kind, std::uint64_t offset_bytes, std::uint64_t length_bytes);

  unsigned state() const { return state_; }

 private:
  struct Fault {
    FaultRule rule;
    bool active = false;
  };
  std::vector<Fault> faults_;
  std::vector<StateRule> states_;
  unsigned state_ = 1;
};

}  // namespace byre
