// The work is done where the tables are (data/qcow2_snapshots.cc); here is what names a snapshot.

#include "byre/ops/snapshot.h"

#include "base/text.h"
#include "data/load.h"
#include "data/qcow2_disk.h"
#include "format/limits.h"
#include "ops/snapshot_info.h"

namespace byre {
namespace {

Result<Qcow2Disk*> as_qcow2(Disk& disk) {
  if (auto* image = dynamic_cast<Qcow2Disk*>(&disk)) return image;
  return fail_in(disk.storage().name(), ErrorCode::unsupported, "a {} disk cannot have internal snapshots nor VM state",
                 disk.format());
}

template <class T>
Result<T> named(Result<T> result, Disk& disk) {
  if (result) return result;
  return std::unexpected(std::move(result).error().in_file(disk.storage().name()));
}

}  // namespace

Task<Result<std::vector<SnapshotInfo>>> list_snapshots(Disk& disk) {
  auto* image = dynamic_cast<Qcow2Disk*>(&disk);
  if (!image) co_return std::vector<SnapshotInfo>();
  BYRE_CO_TRY(const std::vector<format::Snapshot> snapshots, named(co_await image->snapshots(), disk));
  co_return ops::describe_snapshots(snapshots);
}

Task<Result<std::string>> create_snapshot(Disk& disk, NewSnapshot snapshot) {
  BYRE_CO_TRY(Qcow2Disk* const image, as_qcow2(disk));
  if (snapshot.name.size() > format::max_new_snapshot_name_bytes) {
    co_return fail(ErrorCode::invalid_argument, "the snapshot's name has {} bytes: at most {}", snapshot.name.size(),
                   format::max_new_snapshot_name_bytes);
  }
  format::Snapshot fields;
  fields.name = std::move(snapshot.name);
  fields.date_seconds = snapshot.date_seconds;
  fields.date_nanoseconds = snapshot.date_nanoseconds;
  fields.vm_clock_nanoseconds = snapshot.vm_clock_nanoseconds;
  fields.vm_state_bytes = snapshot.vm_state_bytes;
  fields.instruction_count = snapshot.instruction_count;
  co_return named(co_await image->create_snapshot(std::move(fields)), disk);
}

Task<Result<void>> apply_snapshot(Disk& disk, std::string snapshot, SnapshotKey key) {
  BYRE_CO_TRY(Qcow2Disk* const image, as_qcow2(disk));
  BYRE_CO_TRY(const std::vector<format::Snapshot> snapshots, named(co_await image->snapshots(), disk));
  BYRE_CO_TRY(const std::size_t index, named(find_snapshot(snapshots, snapshot, key), disk));
  co_return named(co_await image->apply_snapshot(index), disk);
}

Task<Result<void>> read_vm_state(Disk& disk, std::uint64_t offset_bytes, Bytes target) {
  BYRE_CO_TRY(Qcow2Disk* const image, as_qcow2(disk));
  co_return named(co_await image->read_vm_state(offset_bytes, target), disk);
}

Task<Result<void>> write_vm_state(Disk& disk, std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_TRY(Qcow2Disk* const image, as_qcow2(disk));
  co_return named(co_await image->write_vm_state(offset_bytes, data), disk);
}

Task<Result<void>> delete_snapshot(Disk& disk, std::string snapshot, SnapshotKey key) {
  BYRE_CO_TRY(Qcow2Disk* const image, as_qcow2(disk));
  BYRE_CO_TRY(const std::vector<format::Snapshot> snapshots, named(co_await image->snapshots(), disk));
  BYRE_CO_TRY(const std::size_t index, named(find_snapshot(snapshots, snapshot, key), disk));
  co_return named(co_await image->delete_snapshot(index), disk);
}

}  // namespace byre
