// What the commands of `byre io` print, in the wording of the tool that scripts know (docs/format.md C-30).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "byre/base/buffer.h"
#include "byre/base/error.h"

namespace byre::cli {

// "64 KiB", "63.994 KiB", "30 bytes": up to three decimals, none if they are zeros.
std::string io_size(double size_bytes);

enum class IoReportStyle { human, csv, none };  // -C, -q

// How long a request took, from construction to report().
class IoTimer {
 public:
  // "read 512/512 bytes at offset 0" and the rates; or one line of numbers.
  void report(std::string_view verb, std::uint64_t offset_bytes, std::uint64_t length_bytes, IoReportStyle style) const;

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// 16 bytes a line: offset, hexadecimal, letters and digits.
void print_dump(std::uint64_t offset_bytes, ConstBytes bytes);

// "read failed: Input/output error" on standard output; what the engine has to say beyond that on standard error.
void print_io_failure(std::string_view what, const Error& error);

}  // namespace byre::cli
