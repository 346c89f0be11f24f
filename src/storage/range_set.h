// A set of byte ranges; neighbours become one.
#pragma once

#include <cstdint>
#include <map>

namespace byre {

class RangeSet {
 public:
  struct Stretch {
    std::uint64_t end_bytes;  // 2^64 - 1 if nothing changes behind it
    bool inside;
  };

  // `end_bytes` is exclusive. Nothing happens if the range is empty.
  void add(std::uint64_t begin_bytes, std::uint64_t end_bytes);
  // Takes out what lies at `begin_bytes` and behind.
  void cut(std::uint64_t begin_bytes);
  // How far it goes on as at `offset_bytes`.
  Stretch at(std::uint64_t offset_bytes) const;
  std::size_t count() const { return ends_.size(); }
  // Where the middle one of the ranges begins. There must be one.
  std::uint64_t middle_bytes() const;

 private:
  std::map<std::uint64_t, std::uint64_t> ends_;  // by begin
};

}  // namespace byre
