#include "cli/io_output.h"

#include <array>
#include <cerrno>
#include <cstring>

#include "cli/output.h"

namespace byre::cli {

namespace {

std::string io_time(double seconds, bool fixed) {
  const auto whole = static_cast<std::uint64_t>(seconds);
  const auto hundredths = static_cast<std::uint64_t>((seconds - static_cast<double>(whole)) * 100);
  if (!fixed && whole < 60) return fmt::format("{:02}.{:02} sec", whole, hundredths);
  return fmt::format("{}:{:02}:{:02}.{:02}", whole / 3600, whole / 60 % 60, whole % 60, hundredths);
}

// The errno that the failure amounts to: programs that drive the tool know these texts.
int errno_of(const Error& error) {
  if (error.errno_value() != 0) return error.errno_value();
  switch (error.code()) {
    case ErrorCode::invalid_argument: return EINVAL;
    case ErrorCode::unsupported: return ENOTSUP;
    case ErrorCode::no_space: return ENOSPC;
    case ErrorCode::refused: return EPERM;
    default: return EIO;
  }
}

}  // namespace

std::string io_size(double size_bytes) {
  constexpr std::array<const char*, 7> units{" bytes", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
  std::size_t unit = 0;
  for (; size_bytes >= 1024 && unit + 1 < units.size(); ++unit) size_bytes /= 1024;
  std::string number = unit == 0 ? fmt::format("{:f}", size_bytes) : fmt::format("{:.3f}", size_bytes);
  const std::size_t point = number.find('.');
  if (number.find_first_not_of('0', point + 1) == std::string::npos) number.resize(point);
  return number + units[unit];
}

void IoTimer::report(std::string_view verb, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                     IoReportStyle style) const {
  if (style == IoReportStyle::none) return;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
  const double seconds = std::max(took.count(), 1e-9);
  const double bytes_per_second = static_cast<double>(length_bytes) / seconds;
  if (style == IoReportStyle::csv) {
    print(fmt::format("{},1,{},{:.3f},{:.3f}\n", length_bytes, io_time(seconds, true), bytes_per_second, 1 / seconds));
    return;
  }
  print(fmt::format("{} {}/{} bytes at offset {}\n", verb, length_bytes, length_bytes, offset_bytes));
  print(fmt::format("{}, 1 ops; {} ({}/sec and {:.4f} ops/sec)\n", io_size(static_cast<double>(length_bytes)),
                    io_time(seconds, false), io_size(bytes_per_second), 1 / seconds));
}

void print_dump(std::uint64_t offset_bytes, ConstBytes bytes) {
  constexpr std::size_t line_bytes = 16;
  for (std::size_t at = 0; at < bytes.size(); at += line_bytes) {
    const ConstBytes line = bytes.subspan(at, std::min(line_bytes, bytes.size() - at));
    std::string text;
    std::string hex;
    for (std::byte byte : line) {
      const auto value = std::to_integer<unsigned>(byte);
      hex += fmt::format("{:02x} ", value);
      text += value >= 0x20 && value < 0x7f ? static_cast<char>(value) : '.';
    }
    print(fmt::format("{:08x}:  {} {}\n", offset_bytes + at, hex, text));
  }
}

void print_io_failure(std::string_view what, const Error& error) {
  print(fmt::format("{} failed: {}\n", what, std::strerror(errno_of(error))));
  if (error.code() != ErrorCode::invalid_argument) print_error(error);
}

}  // namespace byre::cli
