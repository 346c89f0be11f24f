#include "support/oracle.h"

#include <fmt/core.h>

#include <algorithm>

#include "byre/base/assert.h"
#include "support/bytes.h"

namespace byre::test {

namespace {

void fill_unit(std::uint64_t unit_index, Bytes unit, std::byte value) {
  const auto number = static_cast<std::uint64_t>(value);
  std::ranges::fill(unit, value);
  if (number < 240 && unit_index % 4 >= number % 4) return;
  std::uint64_t noise = (unit_index + 1) * 0x9e3779b97f4a7c15 ^ number * 0xbf58476d1ce4e5b9;
  for (std::byte& byte : unit.subspan(1)) {
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    byte = static_cast<std::byte>(noise >> 32);
  }
}

}  // namespace

void fill_units(std::uint64_t offset_bytes, Bytes target, std::byte value) {
  constexpr std::uint64_t unit = Oracle::unit_bytes;
  BYRE_ASSERT(offset_bytes % unit == 0);
  for (std::uint64_t at = 0; at < target.size(); at += unit) {
    fill_unit((offset_bytes + at) / unit, target.subspan(at, std::min<std::uint64_t>(unit, target.size() - at)), value);
  }
}

Oracle::Oracle(std::vector<std::byte> content)
    : original_(std::move(content)),
      units_(original_.size() / unit_bytes),
      good_(original_),
      good_until_(units_.size(), 0) {}

std::size_t Oracle::issue(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::byte value) {
  const std::size_t ticket = changes_.size();
  const std::uint64_t first = (offset_bytes + unit_bytes - 1) / unit_bytes;
  const std::uint64_t end = (offset_bytes + length_bytes) / unit_bytes;
  changes_.push_back({value, now(), never, first, end});
  for (std::uint64_t unit = first; unit < end; ++unit) {
    units_[unit].changes.push_back(static_cast<std::uint32_t>(ticket));
  }
  return ticket;
}

void Oracle::acknowledge(std::size_t ticket) { changes_[ticket].ended = now(); }

void Oracle::fail(std::size_t ticket) {
  changes_[ticket].ended = now();
  changes_[ticket].failed = true;
}

void Oracle::withdraw(std::size_t ticket) {
  const Change& change = changes_[ticket];
  for (std::uint64_t unit = change.first_unit; unit < change.last_unit; ++unit) {
    std::erase(units_[unit].changes, static_cast<std::uint32_t>(ticket));
    good_until_[unit] = 0;
  }
}

// True if a change that ended at `ended` was followed by another one that had ended by `by_time`.
bool Oracle::superseded(const Unit& unit, std::uint64_t ended, std::uint64_t by_time) const {
  return std::ranges::any_of(unit.changes, [&](std::uint32_t ticket) {
    const Change& later = changes_[ticket];
    return !later.failed && later.issued > ended && later.ended <= by_time;
  });
}

void Oracle::flushed(std::uint64_t issued) { durable_time_ = std::max(durable_time_, issued); }

bool Oracle::allowed(std::uint64_t unit_index, ConstBytes bytes, std::uint64_t by_time) const {
  const Unit& unit = units_[unit_index];
  if (!superseded(unit, 0, by_time) &&
      same_bytes(bytes, ConstBytes(original_).subspan(unit_index * unit_bytes, unit_bytes))) {
    return true;
  }
  std::byte expected[unit_bytes];
  fill_unit(unit_index, expected, bytes[0]);
  if (!same_bytes(bytes, expected)) return false;
  return std::ranges::any_of(unit.changes, [&](std::uint32_t ticket) {
    return changes_[ticket].value == bytes[0] && !superseded(unit, changes_[ticket].ended, by_time);
  });
}

std::optional<std::uint64_t> Oracle::check(ConstBytes content, std::uint64_t by_time) const {
  BYRE_ASSERT(content.size() == original_.size());
  for (std::uint64_t unit = 0; unit < units_.size(); ++unit) {
    if (!allowed(unit, content.subspan(unit * unit_bytes, unit_bytes), by_time)) return unit * unit_bytes;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> Oracle::check_running(ConstBytes content, std::uint64_t since) const {
  return check(content, since);
}

// Successive crash states differ in few units. At one durable time a unit that was allowed stays so: what has ended
// since then rules nothing out.
std::optional<std::uint64_t> Oracle::check_crashed(ConstBytes content) const {
  BYRE_ASSERT(content.size() == original_.size());
  for (std::uint64_t unit = 0; unit < units_.size(); ++unit) {
    const ConstBytes bytes = content.subspan(unit * unit_bytes, unit_bytes);
    const Bytes good = Bytes(good_).subspan(unit * unit_bytes, unit_bytes);
    if (good_until_[unit] > durable_time_ && same_bytes(bytes, good)) continue;
    if (!allowed(unit, bytes, durable_time_)) return unit * unit_bytes;
    std::ranges::copy(bytes, good.begin());
    good_until_[unit] = durable_time_ + 1;
  }
  return std::nullopt;
}

std::string Oracle::explain(std::uint64_t offset_bytes, ConstBytes content) const {
  const std::uint64_t index = offset_bytes / unit_bytes;
  std::string text = fmt::format("offset {}: found {:#04x}, last flush at {}; original {:#04x};", offset_bytes,
                                 static_cast<unsigned>(content[index * unit_bytes]), durable_time_,
                                 static_cast<unsigned>(original_[index * unit_bytes]));
  for (const std::uint32_t ticket : units_[index].changes) {
    const Change& change = changes_[ticket];
    text += fmt::format(" {:#04x} [{}, {}]", static_cast<unsigned>(change.value), change.issued,
                        change.ended == never ? -1 : static_cast<long long>(change.ended));
  }
  return text;
}

}  // namespace byre::test
