// Marks rare paths, so that a test can prove that it reached them: a simulator that never gets somewhere proves nothing
// there. A probe costs one increment each time it is passed, and exists from the first time on.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace byre {

class Probe {
 public:
  explicit Probe(const char* name);
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  void pass() { passed_.fetch_add(1, std::memory_order_relaxed); }

  // How often this process came by; 0 for a name that it has not met.
  static std::uint64_t passed(std::string_view name);

 private:
  const char* name_;
  std::atomic<std::uint64_t> passed_{0};
  Probe* next_ = nullptr;
};

}  // namespace byre

#define BYRE_PROBE(name)              \
  do {                                \
    static ::byre::Probe probe(name); \
    probe.pass();                     \
  } while (false)
