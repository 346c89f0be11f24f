// What is never torn is a sector. Where only the first one changes, that is one write. Else the first sector is made to
// need no other for a moment: it keeps the old fields and extensions, without the table of feature names, and points at
// a copy of the backing file's name that lies behind everything old and new. Then the other sectors are written, and
// the first one at last.
//
//   copy of the old name, sync | first sector: old, on its own, sync | the rest: new, sync | first sector: new, sync

#include "data/header_rewrite.h"

#include <algorithm>
#include <cstring>

#include "base/endian.h"
#include "base/math.h"
#include "base/probe.h"
#include "base/text.h"

namespace byre {
namespace {

using format::sector_bytes;
constexpr std::uint64_t name_offset_field = 8;  // 8 bytes, and 4 bytes of length behind it

using Content = std::vector<std::byte>;

struct Plan {
  Content new_cluster;
  bool same = false;          // nothing changes
  bool one_sector = false;    // only the first sector does; else:
  std::uint64_t name_at = 0;  // where the old name is copied to
  Content alone;              // the old first sector, needing no other
};

Result<Content> encode(format::Header& header) {
  auto bytes = format::encode_header(header);
  if (bytes || bytes.error().code() != ErrorCode::no_space || !header.feature_names) return bytes;
  header.feature_names.reset();
  return format::encode_header(header);
}

Task<Result<void>> write_synced(Storage& storage, std::uint64_t offset_bytes, ConstBytes bytes) {
  BYRE_CO_CHECK(co_await write_bytes(storage, offset_bytes, bytes));
  co_return co_await storage.flush();
}

// The old header in one sector, with the name at `name_at`.
Result<Content> bridge(format::Header now, std::uint64_t name_at) {
  const std::string name = now.backing_name;
  now.feature_names.reset();
  now.backing_name.clear();
  BYRE_TRY(Content sector, format::encode_header(now));
  if (sector.size() > sector_bytes) {
    return fail(ErrorCode::no_space,
                "the header extensions need {} bytes: with more than {} they cannot be replaced safely", sector.size(),
                sector_bytes);
  }
  sector.resize(sector_bytes);
  if (name.empty()) return sector;
  store_be64(sector.data() + name_offset_field, name_at);
  store_be32(sector.data() + name_offset_field + 8, static_cast<std::uint32_t>(name.size()));
  return sector;
}

Task<Result<Plan>> make_plan(Storage& storage, const format::Header& now, format::Header next) {
  Plan plan;
  BYRE_CO_TRY(plan.new_cluster, encode(next));
  const std::uint64_t new_end = plan.new_cluster.size();
  const std::uint64_t cluster_size = now.geometry().cluster_size_bytes();
  plan.new_cluster.resize(cluster_size);
  Content old_cluster(cluster_size);
  const Bytes target(old_cluster);
  BYRE_CO_CHECK(co_await read_zero_filled(storage, 0, target));
  const auto rest = [](const Content& cluster) { return ConstBytes(cluster).subspan(sector_bytes); };
  plan.same = std::ranges::equal(old_cluster, plan.new_cluster);
  plan.one_sector = std::ranges::equal(rest(old_cluster), rest(plan.new_cluster));
  if (plan.one_sector) co_return plan;
  const std::uint64_t old_end = now.backing_name_offset + now.backing_name.size();
  plan.name_at = round_up(std::max({old_end, new_end, sector_bytes}), 8);
  if (plan.name_at + now.backing_name.size() > cluster_size) {
    co_return fail(ErrorCode::no_space,
                   "the first cluster of {} bytes has no room for the old backing file's name beside the new header",
                   cluster_size);
  }
  BYRE_CO_TRY(plan.alone, bridge(now, plan.name_at));
  co_return plan;
}

}  // namespace

Task<Result<void>> check_header_replacement(Storage& storage, const format::Header& now, format::Header next) {
  BYRE_CO_TRY([[maybe_unused]] const Plan plan, co_await make_plan(storage, now, std::move(next)));
  co_return Result<void>{};
}

Task<Result<void>> replace_header(Storage& storage, const format::Header& now, format::Header next) {
  BYRE_CO_TRY(const Plan plan, co_await make_plan(storage, now, std::move(next)));
  const ConstBytes new_bytes(plan.new_cluster);
  const ConstBytes first = new_bytes.first(sector_bytes);
  if (plan.same) co_return Result<void>{};
  if (plan.one_sector) co_return co_await write_synced(storage, 0, first);
  BYRE_PROBE("data: a header of several sectors is replaced");
  const ConstBytes name = std::as_bytes(std::span(now.backing_name));
  const ConstBytes old_alone(plan.alone);
  const ConstBytes rest = new_bytes.subspan(sector_bytes, plan.name_at - sector_bytes);
  if (!name.empty()) BYRE_CO_CHECK(co_await write_synced(storage, plan.name_at, name));
  BYRE_CO_CHECK(co_await write_synced(storage, 0, old_alone));
  BYRE_CO_CHECK(co_await write_synced(storage, sector_bytes, rest));
  BYRE_CO_CHECK(co_await write_synced(storage, 0, first));
  const ConstBytes behind = new_bytes.subspan(plan.name_at);  // zeros
  co_return co_await write_bytes(storage, plan.name_at, behind);
}

}  // namespace byre
