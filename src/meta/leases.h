// Leases: how the engine knows that nobody still does I/O to a cluster that was unlinked (docs/architecture.md).
// A lease is an epoch number, not a pin per cluster. Each unlink begins a new epoch; a cluster unlinked in epoch N is
// quiet when the oldest running lease is younger than N.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace byre::meta {

class LeaseBook;

// Held from before the lookup until the I/O to what it answered has ended.
class Lease {
 public:
  Lease(Lease&& other) noexcept : book_(std::exchange(other.book_, nullptr)), epoch_(other.epoch_) {}
  Lease& operator=(Lease&&) = delete;
  ~Lease();

 private:
  friend class LeaseBook;
  Lease(LeaseBook* book, std::uint64_t epoch) : book_(book), epoch_(epoch) {}
  LeaseBook* book_;
  std::uint64_t epoch_;
};

class LeaseBook {
 public:
  Lease begin();
  // Stamps an unlink, and starts a new epoch.
  std::uint64_t stamp_unlink() { return epoch_++; }
  // True if every lease that could know what was unlinked at `stamp` has ended.
  bool quiet(std::uint64_t stamp) const;

 private:
  friend class Lease;
  void end(std::uint64_t epoch);
  struct Group {
    std::uint64_t epoch;
    std::uint64_t count;
  };
  std::uint64_t epoch_ = 0;
  std::vector<Group> running_;  // by epoch; the first group is never empty
};

}  // namespace byre::meta
