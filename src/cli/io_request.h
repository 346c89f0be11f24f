// One request of `byre io`, done and reported; the same whether it is awaited at once or runs beside others.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "byre/data/disk.h"
#include "cli/io_output.h"

namespace byre::cli {

struct IoRead {
  std::string_view name;  // in messages: "read failed: ..."
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::optional<std::uint8_t> pattern;  // what the bytes should be
  std::uint64_t verify_from = 0;        // from the start of the request
  std::uint64_t verify_bytes = 0;
  bool vm_state = false;  // the offset counts from the start of the VM state
  bool dump = false;
  IoReportStyle style = IoReportStyle::human;
};

struct IoWrite {
  enum class Kind { data, zeroes, compressed };
  std::string_view name;
  Kind kind = Kind::data;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::vector<std::byte> content = {std::byte{0xcd}};  // repeated as often as it takes
  bool vm_state = false;                               // as above; data only
  bool unmap = false;
  bool whole_clusters_only = false;  // zeroes: fail rather than write zeros as data
  bool durable = false;
  IoReportStyle style = IoReportStyle::human;
};

// False if the request failed or what was read is not what it should be.
Task<bool> do_read(Disk& disk, IoRead request);
Task<bool> do_write(Disk& disk, IoWrite request);
Task<bool> do_discard(Disk& disk, std::uint64_t offset_bytes, std::uint64_t length_bytes, IoReportStyle style);

}  // namespace byre::cli
