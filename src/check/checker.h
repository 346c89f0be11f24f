// One pass over an image: computes every reference (docs/format.md R-CNT), compares with the stored counts, and
// collects what a repair would change.
//
//   regions   what the header names; overlaps among metadata
//   mapping   L1 tables, then each L2 table once, however many L1 entries name it
//   counts    each refcount block once, against the references
//   details   only if something is wrong: which guest offsets it concerns, and which COPIED flags
//   payloads  if asked for
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "check/entries.h"
#include "check/findings.h"
#include "check/image.h"
#include "check/reference_map.h"
#include "check/table_reader.h"

namespace byre::check {

// Bytes that a repair puts into a mapping table: an entry.
struct Patch {
  HostOffset at;
  std::array<std::byte, 16> bytes;
  std::size_t length = 8;
};

// The same for the first word of an entry whose COPIED flag is wrong. An entry may have a Patch as well, which wins.
struct FlagPatch {
  HostOffset at;
  std::uint64_t word;
};

struct LostRange {
  std::uint64_t guest_offset_bytes;
  std::uint64_t length_bytes;
  std::string snapshot;
};

// A refcount block as the table names it.
struct BlockUse {
  std::uint64_t table_index;
  std::uint64_t cluster;
};

class Checker {
 public:
  // All must live until run() has ended. `repair` says what the caller will do with the result.
  Checker(Storage& storage, const CheckOptions& options, Repair repair, Findings& findings);

  Task<Result<void>> run();

  const Image& image() const { return image_; }
  ReferenceMap& references() { return references_; }
  const std::vector<Patch>& patches() const { return patches_; }
  const std::vector<FlagPatch>& flag_patches() const { return flag_patches_; }
  const std::vector<LostRange>& lost() const { return lost_; }
  const std::vector<BlockUse>& blocks() const { return blocks_; }
  // The block can stay: one table entry names it and nothing else lies there.
  bool sound(const BlockUse& block) const;
  // Something refers to clusters that were not followed: no count may be lowered, no cluster with a count reused.
  bool incomplete() const { return incomplete_ || findings_.errors() > 0; }
  bool structure_wrong() const { return structure_wrong_; }  // the table names blocks that cannot be used
  bool counts_missing() const { return counts_missing_; }    // 0 where something lies
  bool counts_wrong() const { return counts_wrong_; }        // any count differs
  bool bits_set() const { return image_.header.is_dirty() || image_.header.is_corrupt(); }
  void fill(CheckReport& report) const;

 private:
  // An L2 table with the L1 entries that name it.
  struct L2Table {
    std::uint64_t cluster = 0;
    std::uint32_t active_uses = 0;
    std::uint32_t other_uses = 0;
    std::uint32_t l1_index = 0;   // of one of them, an active one if there is
    std::uint32_t snapshot = 0;   // index + 1; 0: active
    std::uint64_t next_host = 0;  // behind its last plain cluster, for the fragmentation
  };
  struct OwnedCluster {
    std::uint64_t cluster;
    Owner owner;
    friend auto operator<=>(const OwnedCluster&, const OwnedCluster&) = default;
  };
  struct BadCount {
    std::uint64_t cluster, stored, references;
    std::optional<std::uint64_t> guest;
    std::uint32_t snapshot = 0;
  };

  // checker.cc
  void list_blocks();
  void report_block(std::uint64_t index, std::uint64_t raw, std::string_view fault);
  void add_metadata();
  void own(HostOffset at, std::uint64_t length_bytes, Owner owner);
  void report_overlaps();
  std::optional<Owner> owner_at(std::uint64_t cluster) const;
  std::string snapshot_id(std::uint32_t snapshot) const;
  void add_patch(HostOffset at, const Replacement& replacement, std::size_t length);
  void add_lost(std::uint64_t guest_offset_bytes, std::uint64_t length_bytes, std::uint32_t snapshot);
  bool changes_entries() const { return repair_ == Repair::all; }
  bool repairs_counts() const { return repair_ == Repair::all || repair_ == Repair::counts; }

  // check_mapping.cc
  Task<Result<void>> read_l1_tables();
  Task<Result<void>> read_l1_table(HostOffset at, std::uint64_t entries, std::uint32_t snapshot);
  void take_l1_entry(HostOffset table, std::uint64_t index, std::uint64_t raw, std::uint32_t snapshot);
  bool may_be_l2_table(HostOffset at) const;
  void use_l2_table(HostOffset at, std::uint64_t index, std::uint32_t snapshot);
  void claim_l2_tables();
  Task<Result<void>> read_l2_tables();
  void take_l2_table(L2Table& table, ConstBytes bytes);
  std::uint64_t take_plain_run(L2Table& table, ConstBytes bytes, std::uint64_t index, std::uint64_t word);
  void take_l2_entry(L2Table& table, std::uint64_t index, const std::byte* raw);
  bool take_host(const L2Table& table, std::uint64_t index, std::uint64_t cluster, bool copied);
  bool take_extent(const L2Table& table, std::uint64_t index, const format::CompressedExtent& extent);
  bool conflict(const L2Table& table, std::uint64_t index, std::uint64_t cluster, std::optional<Owner> owner);
  void count_plain(L2Table& table, std::uint64_t first_cluster, std::uint64_t clusters);
  void report_entry(const L2Table& table, std::uint64_t index, const std::byte* raw, const JudgedL2& judged);
  void report_uncopied(const L2Table& table, std::uint64_t index, std::uint64_t word);
  void give_up(const L2Table& table, std::uint64_t index);
  GuestOffset guest_of(const L2Table& table, std::uint64_t index) const;
  HostOffset entry_at(const L2Table& table, std::uint64_t index) const;
  Claim claim_of(const L2Table& table, bool copied) const;

  // check_counts.cc
  Task<Result<void>> read_blocks();
  void compare_block(const BlockUse& block, ConstBytes bytes);
  void compare_one(std::uint64_t cluster, std::uint64_t stored);
  ConstBytes pattern_of(std::uint64_t count);
  void compare_uncounted();
  void report_leak(std::uint64_t cluster, std::uint64_t stored, std::uint64_t references);
  void report_bad_counts();

  // check_details.cc
  Task<Result<void>> read_details();
  void detail_l1(HostOffset table, const std::vector<std::uint64_t>& words, std::uint32_t snapshot);
  void detail_l2(const L2Table& table, ConstBytes bytes);
  void note_owner(std::uint64_t cluster, GuestOffset guest, std::uint32_t snapshot);
  void report_flag(HostOffset at, std::uint64_t word, GuestOffset guest, std::string text, bool repairs);
  void check_flag(HostOffset at, std::uint64_t word, std::uint64_t cluster, GuestOffset guest, std::string_view what);

  // check_payloads.cc
  struct Payload {
    format::CompressedExtent extent;
    GuestOffset guest;
    std::uint32_t snapshot = 0;
  };
  Task<Result<void>> read_payloads();
  void collect_payloads(const L2Table& table, ConstBytes bytes, std::vector<Payload>& payloads) const;
  Task<Result<void>> check_payload(Payload payload);

  Storage& storage_;
  const CheckOptions& options_;
  const Repair repair_;
  Findings& findings_;

  Image image_;
  format::Geometry geometry_;
  ReferenceMap references_;
  ReferenceMap compressed_;          // host clusters with a compressed extent
  std::vector<OwnedCluster> owned_;  // sorted
  std::vector<BlockUse> blocks_;
  std::vector<std::uint64_t> active_l1_;
  std::vector<L2Table> tables_;  // by cluster, after the L1 tables were read
  std::unordered_map<std::uint64_t, std::size_t> table_index_;
  std::vector<Patch> patches_;
  std::vector<FlagPatch> flag_patches_;
  std::vector<LostRange> lost_;
  std::vector<BadCount> bad_counts_;
  std::unordered_map<std::uint64_t, std::uint64_t> suspects_;  // stored counts that contradict a COPIED flag
  std::vector<std::vector<std::byte>> patterns_;               // by value: 32 counts of it
  std::uint64_t flag_findings_ = 0;
  std::uint64_t end_cluster_ = 0;
  bool incomplete_ = false;
  bool structure_wrong_ = false;
  bool counts_missing_ = false;
  bool counts_wrong_ = false;
  std::uint64_t allocated_ = 0;
  std::uint64_t fragmented_ = 0;
  std::uint64_t compressed_count_ = 0;
};

}  // namespace byre::check
