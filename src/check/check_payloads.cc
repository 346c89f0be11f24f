// Decompresses every compressed cluster and throws the result away: nothing else tells whether it can be read. Tables
// are read in portions; the payloads of a portion are read and decoded side by side.

#include <algorithm>

#include "base/text.h"
#include "byre/task/sync.h"
#include "check/checker.h"
#include "format/compression.h"

namespace byre::check {
namespace {
constexpr std::size_t tables_at_once = 16;
constexpr std::size_t payloads_in_flight = 16;
}  // namespace

Task<Result<void>> Checker::read_payloads() {
  if (!compressed_.next_referenced(0)) co_return Result<void>{};
  TableReader reader(storage_, geometry_.cluster_bits);
  for (std::size_t begin = 0; begin < tables_.size(); begin += tables_at_once) {
    std::vector<std::uint64_t> clusters;
    for (std::size_t i = begin; i < std::min(begin + tables_at_once, tables_.size()); ++i) {
      clusters.push_back(tables_[i].cluster);
    }
    std::vector<Payload> payloads;
    const auto take = [this, begin, &payloads](std::size_t i, ConstBytes bytes) {
      collect_payloads(tables_[begin + i], bytes, payloads);
    };
    BYRE_CO_CHECK(co_await reader.read_each(clusters, take));
    std::ranges::sort(payloads, {}, [](const Payload& payload) { return payload.extent.offset; });
    TaskGroup group;
    for (const Payload& payload : payloads) {
      co_await group.wait_below(payloads_in_flight - 1);
      group.start(check_payload(payload));
    }
    BYRE_CO_CHECK(co_await group.join());
    if (options_.on_progress) options_.on_progress(begin, tables_.size());
  }
  co_return Result<void>{};
}

void Checker::collect_payloads(const L2Table& table, ConstBytes bytes, std::vector<Payload>& payloads) const {
  for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
    const std::byte* raw = bytes.data() + i * geometry_.l2_entry_bytes();
    if ((load_be64(raw) & format::entry_compressed_flag) == 0) continue;
    const JudgedL2 judged = judge_l2_entry(image_, raw, guest_of(table, i));
    if (judged.entry.kind != format::ClusterKind::compressed) continue;
    payloads.push_back({judged.entry.compressed, guest_of(table, i), table.snapshot});
  }
}

Task<Result<void>> Checker::check_payload(Payload payload) {
  Buffer input(payload.extent.length_bytes);
  Buffer output(geometry_.cluster_size_bytes());
  const Bytes target = input.bytes();
  BYRE_CO_CHECK(co_await read_zero_filled(storage_, payload.extent.offset.bytes, target));
  Result<void> decoded;
  const format::CompressionType type = image_.header.compression_type;
  const ConstBytes from = input.bytes();
  const Bytes to = output.bytes();
  co_await offload([&decoded, type, from, to] { decoded = format::decompress_cluster(type, from, to); });
  if (decoded) co_return Result<void>{};
  Finding finding;
  finding.text = fmt::format("ERROR compressed cluster at host offset {:#x}, {} bytes: {}", payload.extent.offset.bytes,
                             payload.extent.length_bytes, decoded.error().message());
  finding.meaning = "The data of this cluster cannot be read; only a backup can bring it back.";
  finding.host_offset_bytes = payload.extent.offset.bytes;
  finding.guest_offset_bytes = payload.guest.bytes;
  finding.length_bytes = geometry_.cluster_size_bytes();
  finding.snapshot = snapshot_id(payload.snapshot);
  findings_.report(finding);
  co_return Result<void>{};
}

}  // namespace byre::check
