// A GPT is told by its signature in the second sector, whatever the protective MBR in front of it says. Checksums are
// not looked at: who wants to see a partition of a damaged table sees what the entry says.

#include "byre/ops/partition.h"

#include <array>
#include <cstring>
#include <string_view>

#include "base/text.h"

namespace byre {
namespace {

constexpr std::uint64_t mbr_sector_bytes = 512;
constexpr unsigned most_logical = 128;
constexpr std::uint32_t most_gpt_entries = 4096;
constexpr std::uint32_t longest_gpt_entry_bytes = 4096;

template <class Integer>
Integer load_little_endian(const std::byte* from) {
  Integer value = 0;
  for (std::size_t i = sizeof value; i > 0; --i) {
    value = static_cast<Integer>((value << 8) | std::to_integer<Integer>(from[i - 1]));
  }
  return value;
}

std::unexpected<Error> no_such(unsigned number) {
  return fail(ErrorCode::not_found, "the disk has no partition {}", number);
}

Result<Partition> checked(const Disk& disk, std::uint64_t first_sector, std::uint64_t sectors,
                          std::uint64_t sector_size_bytes, unsigned number) {
  const std::uint64_t disk_sectors = disk.size_bytes() / sector_size_bytes;
  if (first_sector > disk_sectors || sectors > disk_sectors - first_sector) {
    return fail(ErrorCode::corrupt, "partition {}, {} sectors at {}, lies outside of the disk, which has {}", number,
                sectors, first_sector, disk_sectors);
  }
  return Partition{first_sector * sector_size_bytes, sectors * sector_size_bytes};
}

Task<Result<bool>> has_gpt(Disk& disk, std::uint64_t sector_size_bytes) {
  if (disk.size_bytes() < 2 * sector_size_bytes) co_return false;
  std::array<std::byte, 8> signature{};
  BYRE_CO_CHECK(co_await disk.read(sector_size_bytes, signature));
  co_return std::memcmp(signature.data(), "EFI PART", 8) == 0;
}

Task<Result<Partition>> find_in_gpt(Disk& disk, std::uint64_t sector_size_bytes, unsigned number) {
  std::array<std::byte, 92> header{};
  BYRE_CO_CHECK(co_await disk.read(sector_size_bytes, header));
  const auto table_sector = load_little_endian<std::uint64_t>(header.data() + 72);
  const auto entries = load_little_endian<std::uint32_t>(header.data() + 80);
  const auto entry_bytes = load_little_endian<std::uint32_t>(header.data() + 84);
  if (entry_bytes < 128 || entry_bytes > longest_gpt_entry_bytes || entries > most_gpt_entries) {
    co_return fail(ErrorCode::corrupt, "the GPT has {} entries of {} bytes; {} of 128 to {} are allowed", entries,
                   entry_bytes, most_gpt_entries, longest_gpt_entry_bytes);
  }
  if (number > entries) co_return no_such(number);
  const std::uint64_t disk_sectors = disk.size_bytes() / sector_size_bytes;
  const std::uint64_t place_bytes = std::uint64_t{number - 1} * entry_bytes;
  if (table_sector >= disk_sectors || place_bytes + entry_bytes > (disk_sectors - table_sector) * sector_size_bytes) {
    co_return fail(ErrorCode::corrupt, "the GPT's entries, at sector {}, lie outside of the disk", table_sector);
  }
  std::array<std::byte, 128> entry{};
  BYRE_CO_CHECK(co_await disk.read(table_sector * sector_size_bytes + place_bytes, entry));
  const bool unused =
      load_little_endian<std::uint64_t>(entry.data()) == 0 && load_little_endian<std::uint64_t>(entry.data() + 8) == 0;
  if (unused) co_return no_such(number);
  const auto first = load_little_endian<std::uint64_t>(entry.data() + 32);
  const auto last = load_little_endian<std::uint64_t>(entry.data() + 40);
  if (last < first || last >= disk_sectors) {
    co_return fail(ErrorCode::corrupt, "partition {}, sectors {} to {}, lies outside of the disk, which has {}", number,
                   first, last, disk_sectors);
  }
  co_return checked(disk, first, last - first + 1, sector_size_bytes, number);
}

struct MbrEntry {
  std::uint8_t type;
  std::uint32_t first_sector;
  std::uint32_t sectors;
  bool is_extended() const { return type == 0x05 || type == 0x0f || type == 0x85; }
};

struct Mbr {
  std::array<MbrEntry, 4> entries;
};

Task<Result<Mbr>> read_mbr(Disk& disk, std::uint64_t sector) {
  std::array<std::byte, mbr_sector_bytes> bytes{};
  if (sector >= disk.size_bytes() / mbr_sector_bytes) {
    co_return fail(ErrorCode::corrupt, "a partition table, at sector {}, lies outside of the disk", sector);
  }
  BYRE_CO_CHECK(co_await disk.read(sector * mbr_sector_bytes, bytes));
  if (load_little_endian<std::uint16_t>(bytes.data() + 510) != 0xaa55) {
    co_return fail(ErrorCode::not_found, "there is no partition table at sector {}", sector);
  }
  Mbr found{};
  for (std::size_t i = 0; i < found.entries.size(); ++i) {
    const std::byte* raw = bytes.data() + 446 + 16 * i;
    found.entries[i] = {std::to_integer<std::uint8_t>(raw[4]), load_little_endian<std::uint32_t>(raw + 8),
                        load_little_endian<std::uint32_t>(raw + 12)};
  }
  co_return found;
}

// Each logical partition has a table of its own: its first entry is the partition, its second one leads to the next.
Task<Result<Partition>> find_logical(Disk& disk, std::uint64_t extended_sector, unsigned number) {
  std::uint64_t table_sector = extended_sector;
  for (unsigned at = 5; at < 5 + most_logical; ++at) {
    BYRE_CO_TRY(const Mbr table, co_await read_mbr(disk, table_sector));
    const MbrEntry& own = table.entries[0];
    if (at == number && own.type != 0) {
      co_return checked(disk, table_sector + own.first_sector, own.sectors, mbr_sector_bytes, number);
    }
    if (at == number || !table.entries[1].is_extended()) co_return no_such(number);
    table_sector = extended_sector + table.entries[1].first_sector;
  }
  co_return fail(ErrorCode::corrupt, "more than {} logical partitions: the chain may have no end", most_logical);
}

Task<Result<Partition>> find_in_mbr(Disk& disk, unsigned number) {
  BYRE_CO_TRY(const Mbr table, co_await read_mbr(disk, 0));
  if (number <= table.entries.size()) {
    const MbrEntry& entry = table.entries[number - 1];
    if (entry.type == 0 || entry.is_extended()) co_return no_such(number);
    co_return checked(disk, entry.first_sector, entry.sectors, mbr_sector_bytes, number);
  }
  for (const MbrEntry& entry : table.entries) {
    if (entry.is_extended()) co_return co_await find_logical(disk, entry.first_sector, number);
  }
  co_return no_such(number);
}

}  // namespace

Task<Result<Partition>> find_partition(Disk& disk, unsigned number) {
  if (number == 0) co_return fail(ErrorCode::not_found, "partitions are counted from 1");
  for (const std::uint64_t sector_size_bytes : {std::uint64_t{512}, std::uint64_t{4096}}) {
    BYRE_CO_TRY(const bool found, co_await has_gpt(disk, sector_size_bytes));
    if (found) co_return co_await find_in_gpt(disk, sector_size_bytes, number);
  }
  co_return co_await find_in_mbr(disk, number);
}

}  // namespace byre
