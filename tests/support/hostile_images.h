// Images made to harm (docs/format.md section 24), each with the reaction that the rule demands.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/image_builder.h"

namespace byre::test {

enum class OnRead { refused_at_open, fails, works };
enum class OnWrite {
  refused_at_open,
  fails,               // the request fails, not a byte changes
  marks_corrupt,       // the request fails; in version 3 the corrupt bit is set, nothing else changes
  marks_when_flushed,  // the request works; flush() or close() finds the damage and sets the corrupt bit
  works,
};

struct Reaction {
  OnRead read;
  OnWrite write;
};
inline constexpr Reaction refused = {OnRead::refused_at_open, OnWrite::refused_at_open};
inline constexpr Reaction never_written = {OnRead::works, OnWrite::refused_at_open};
inline constexpr Reaction accepted = {OnRead::works, OnWrite::works};
inline constexpr Reaction fails = {OnRead::fails, OnWrite::fails};
inline constexpr Reaction damaged = {OnRead::fails, OnWrite::marks_corrupt};
inline constexpr Reaction write_damaged = {OnRead::works, OnWrite::marks_corrupt};

struct HostileImage {
  unsigned rule;  // n of H-n
  std::string name;
  Reaction reaction;
  std::vector<std::byte> bytes;
  std::uint64_t guest_offset = 0;     // where a request meets the damage
  std::uint64_t write_bytes = 512;    // length of the write that meets it
  std::uint64_t file_size_bytes = 0;  // longer than `bytes`: the rest is a hole; 0: as long as `bytes`
  bool info_refused = false;          // looking at the image says what is wrong
  bool snapshot_refused = false;      // snapshot "1" cannot be read

  std::string file_name() const;  // "h08-cluster_bits_22"
  std::uint64_t size_bytes() const { return file_size_bytes == 0 ? bytes.size() : file_size_bytes; }
};

// The parts of the collection, each in a file of its own.
std::vector<HostileImage> hostile_headers();     // H-8 to H-19, H-32, H-39, H-48, H-55, H-58: fixed fields
std::vector<HostileImage> hostile_names();       // H-10, H-19, H-36 to H-38, H-49 to H-54: extensions and names
std::vector<HostileImage> hostile_tables();      // H-20 to H-31, H-44, H-56, H-57, H-60
std::vector<HostileImage> hostile_compressed();  // H-33 to H-36
std::vector<HostileImage> hostile_snapshots();   // H-39 to H-43
std::vector<HostileImage> hostile_bitmaps();     // H-45 to H-47, and H-23, H-25, H-26 of bitmaps
std::vector<HostileImage> hostile_images();      // all of them

// Every numeric field of every structure with each of a list of nasty values (H-1 to H-7). No reaction is expected
// beyond the general duties: `reaction` means nothing.
std::vector<HostileImage> hostile_fields();

}  // namespace byre::test
