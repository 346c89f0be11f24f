#include <nlohmann/json.hpp>

#include "cli/info_text.h"

namespace byre::cli {

namespace {

constexpr std::uint64_t nanoseconds_per_second = 1'000'000'000;

Json snapshot_to_json(const SnapshotInfo& snapshot) {
  Json json;
  json["id"] = snapshot.id;
  json["name"] = snapshot.name;
  json["vm-state-size"] = snapshot.vm_state_bytes;
  json["date-sec"] = snapshot.date_seconds;
  json["date-nsec"] = snapshot.date_nanoseconds;
  json["vm-clock-sec"] = snapshot.vm_clock_nanoseconds / nanoseconds_per_second;
  json["vm-clock-nsec"] = snapshot.vm_clock_nanoseconds % nanoseconds_per_second;
  if (snapshot.instruction_count) json["icount"] = *snapshot.instruction_count;
  return json;
}

Json bitmap_to_json(const BitmapInfo& bitmap) {
  Json flags = Json::array();
  if (bitmap.in_use) flags.push_back("in-use");
  if (bitmap.auto_record) flags.push_back("auto");
  return {{"flags", flags}, {"name", bitmap.name}, {"granularity", bitmap.granularity_bytes}};
}

Json luks_to_json(const LuksInfo& luks) {
  Json json;
  json["ivgen-alg"] = luks.iv_generator;
  if (luks.iv_generator_hash) json["ivgen-hash-alg"] = *luks.iv_generator_hash;
  json["hash-alg"] = luks.hash;
  json["cipher-alg"] = luks.cipher;
  json["uuid"] = luks.uuid;
  json["format"] = "luks";
  json["cipher-mode"] = luks.cipher_mode;
  json["slots"] = Json::array();
  for (const LuksSlotInfo& slot : luks.slots) {
    Json entry = {{"active", slot.active}};
    if (slot.active) entry["iters"] = slot.iterations;
    entry["key-offset"] = slot.key_offset_bytes;
    if (slot.active) entry["stripes"] = slot.stripes;
    json["slots"].push_back(entry);
  }
  json["payload-offset"] = luks.payload_offset_bytes;
  json["master-key-iters"] = luks.master_key_iterations;
  return json;
}

Json data_to_json(const Qcow2Info& qcow2) {
  const bool is_version_3 = qcow2.version >= 3;
  Json json;
  json["compat"] = is_version_3 ? "1.1" : "0.10";
  json["compression-type"] = qcow2.compression == Compression::zstd ? "zstd" : "zlib";
  if (is_version_3) json["lazy-refcounts"] = qcow2.lazy_refcounts;
  if (is_version_3 && !qcow2.bitmaps.empty()) {
    json["bitmaps"] = Json::array();
    for (const BitmapInfo& bitmap : qcow2.bitmaps) json["bitmaps"].push_back(bitmap_to_json(bitmap));
  }
  json["refcount-bits"] = qcow2.refcount_bits;
  if (qcow2.luks) {
    json["encrypt"] = luks_to_json(*qcow2.luks);
  } else if (qcow2.encryption != Encryption::none) {
    json["encrypt"] = {{"format", qcow2.encryption == Encryption::aes ? "aes" : "luks"}};
  }
  if (qcow2.data_file) json["data-file"] = *qcow2.data_file;
  if (qcow2.has_data_file) json["data-file-raw"] = qcow2.data_file_raw;
  if (is_version_3) json["corrupt"] = qcow2.corrupt;
  if (is_version_3) json["extended-l2"] = qcow2.extended_l2;
  return json;
}

}  // namespace

Json snapshots_to_json(const std::vector<SnapshotInfo>& snapshots) {
  Json list = Json::array();
  for (const SnapshotInfo& snapshot : snapshots) list.push_back(snapshot_to_json(snapshot));
  return list;
}

Json info_to_json(const ImageInfo& info) {
  Json json;
  json["filename"] = info.filename;
  json["format"] = info.format;
  json["virtual-size"] = info.virtual_size_bytes;
  if (info.allocated_bytes) json["actual-size"] = *info.allocated_bytes;
  if (info.qcow2) json["cluster-size"] = info.qcow2->cluster_size_bytes;
  json["dirty-flag"] = info.qcow2 && info.qcow2->dirty;
  if (info.qcow2 && info.qcow2->encryption != Encryption::none) json["encrypted"] = true;
  if (info.backing_name) json["backing-filename"] = *info.backing_name;
  // A name that is never followed leads nowhere else.
  if (info.backing_name) json["full-backing-filename"] = info.backing_path.value_or(*info.backing_name);
  if (info.backing_name && info.backing_format) json["backing-filename-format"] = *info.backing_format;
  if (!info.qcow2) return json;
  if (!info.qcow2->snapshots.empty()) json["snapshots"] = snapshots_to_json(info.qcow2->snapshots);
  json["format-specific"] = {{"type", info.format}, {"data", data_to_json(*info.qcow2)}};
  return json;
}

}  // namespace byre::cli
