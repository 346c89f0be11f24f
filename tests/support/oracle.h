// What a guest may read, after any crash and at any time, given what it was told (docs/testing.md).
//
// The disk is seen as units of a few bytes. Each unit keeps the changes that were issued to it, with the times of issue
// and acknowledgement. A change is superseded by one that was issued after it had been acknowledged, and that is itself
// acknowledged. A running read may return any change that is not superseded; a read after a crash any change that was
// not superseded when the last completed flush was issued.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "byre/base/buffer.h"

namespace byre::test {

// What a change to `value` leaves: units that begin with the value. It decides how many of them are noise behind that,
// so that clusters compress to payloads of every length, or not at all; 0 is all zeros. The offset is one of a unit.
void fill_units(std::uint64_t offset_bytes, Bytes target, std::byte value);

class Oracle {
 public:
  static constexpr std::uint64_t unit_bytes = 64;
  static constexpr std::uint64_t never = ~std::uint64_t{0};

  // `content` is durable. Its size is a multiple of unit_bytes; each unit may hold anything.
  explicit Oracle(std::vector<std::byte> content);

  // A change of whole units to what fill_units() makes of the value. Returns a ticket for its end.
  std::size_t issue(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::byte value);
  void acknowledge(std::size_t ticket);
  // The change was refused before anything happened.
  void withdraw(std::size_t ticket);
  // The change failed: any part of it may have happened, or may yet.
  void fail(std::size_t ticket);

  std::uint64_t now() { return ++clock_; }
  // A flush that was issued at `issued` (from now()) has succeeded.
  void flushed(std::uint64_t issued);

  // The first offset whose unit holds something that it may not hold, or nothing.
  std::optional<std::uint64_t> check_running(ConstBytes content, std::uint64_t since) const;
  std::optional<std::uint64_t> check_crashed(ConstBytes content) const;

  std::string explain(std::uint64_t offset_bytes, ConstBytes content) const;

 private:
  struct Change {
    std::byte value;
    std::uint64_t issued;
    std::uint64_t ended;
    std::uint64_t first_unit, last_unit;
    bool failed = false;  // has ended, but supersedes nothing
  };
  struct Unit {
    std::vector<std::uint32_t> changes;  // by ticket, in the order of issue
  };
  bool superseded(const Unit& unit, std::uint64_t ended, std::uint64_t by_time) const;
  bool allowed(std::uint64_t unit, ConstBytes bytes, std::uint64_t by_time) const;
  std::optional<std::uint64_t> check(ConstBytes content, std::uint64_t by_time) const;

  std::vector<std::byte> original_;
  std::vector<Unit> units_;
  std::vector<Change> changes_;
  // What each unit last held that was allowed, and until which durable time, exclusively, it is.
  mutable std::vector<std::byte> good_;
  mutable std::vector<std::uint64_t> good_until_;
  std::uint64_t clock_ = 0;
  std::uint64_t durable_time_ = 0;
};

}  // namespace byre::test
