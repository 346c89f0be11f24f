#include "base/probe.h"

namespace byre {
namespace {
std::atomic<Probe*> newest{nullptr};
}

Probe::Probe(const char* name) : name_(name) {
  next_ = newest.load(std::memory_order_acquire);
  while (!newest.compare_exchange_weak(next_, this, std::memory_order_acq_rel)) {
  }
}

std::uint64_t Probe::passed(std::string_view name) {
  std::uint64_t total = 0;
  for (const Probe* probe = newest.load(std::memory_order_acquire); probe; probe = probe->next_) {
    if (name == probe->name_) total += probe->passed_.load(std::memory_order_relaxed);
  }
  return total;
}

}  // namespace byre
