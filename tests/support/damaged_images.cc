#include "support/damaged_images.h"

#include <fmt/core.h>

#include "base/endian.h"
#include "byre/base/assert.h"
#include "format/refcount.h"
#include "support/image_builder.h"
#include "support/snapshot_image.h"

namespace byre::test {
namespace {

struct Base {
  const char* name;
  unsigned version, cluster_bits, refcount_order;
  bool extended_l2;
};
constexpr Base bases[] = {{"4k", 3, 12, 4, false},       {"512", 3, 9, 4, false},        {"64k", 3, 16, 4, false},
                          {"8bit", 3, 12, 3, false},     {"64bit", 3, 12, 6, false},     {"2bit", 3, 12, 1, false},
                          {"version2", 2, 12, 4, false}, {"subclusters", 3, 14, 4, true}};

ImageBuilder base_image(const Base& base) {
  FreshImageOptions options;
  options.geometry.version = base.version;
  options.geometry.cluster_bits = base.cluster_bits;
  options.geometry.refcount_order = base.refcount_order;
  options.geometry.extended_l2 = base.extended_l2;
  options.size_bytes = 2 * options.geometry.guest_bytes_per_l2();
  ImageBuilder image(options);
  image.add_data(0, std::byte{0x11});
  image.add_data(1, std::byte{0x22});
  image.add_compressed(2, deflated_cluster(image.cluster_size(), std::byte{0x33}));
  const std::uint64_t reserved = image.add_clusters(1, std::byte{0x44}) | format::entry_copied_flag;
  if (base.extended_l2) {
    image.set_l2(3, reserved, 0xffff'ffff'0000'0000);
    image.set_l2(4, 0, 0xffff'ffff'0000'0000);
  } else if (base.version >= 3) {
    image.set_l2(3, reserved | format::entry_zero_flag);
    image.set_l2(4, format::entry_zero_flag);
  } else {
    image.set_l2(3, reserved);
  }
  for (std::uint64_t guest = 5; guest < 9; ++guest) image.add_data(guest, static_cast<std::byte>(0x50 + guest));
  image.add_compressed(9, deflated_cluster(image.cluster_size(), std::byte{0x99}));
  image.add_clusters(3, std::byte{0xee});  // free space
  for (std::uint64_t i = 1; i <= 3; ++i) image.set_count(image.bytes().size() / image.cluster_size() - i, 0);
  return image;
}

void add_images(std::vector<DamagedImage>& images, const std::string& base, const std::vector<std::byte>& whole,
                const format::Geometry& geometry, bool snapshot) {
  for (const auto& kinds : {damage_to_counts(), damage_to_entries(), damage_to_tables()}) {
    for (const DamageKind& kind : kinds) {
      DamageTarget target(base, whole, geometry, snapshot);
      if (!kind.inflict(target)) continue;
      DamagedImage image;
      image.name = base + "-" + kind.name;
      image.damage = kind.damage;
      image.repairable = kind.repairable;
      image.bytes = target.bytes();
      image.whole = whole;
      image.may_differ = kind.may_differ;
      image.snapshot = snapshot;
      image.snapshot_may_go = kind.snapshot_may_go;
      image.cluster_size_bytes = geometry.cluster_size_bytes();
      images.push_back(std::move(image));
    }
  }
}

}  // namespace

DamageTarget::DamageTarget(std::string base, std::vector<std::byte> image, format::Geometry geometry, bool snapshot)
    : base_(std::move(base)), image_(std::move(image)), geometry_(geometry), snapshot_(snapshot) {}

std::uint64_t DamageTarget::load64(std::uint64_t at) const { return load_be64(image_.data() + at); }
void DamageTarget::put64(std::uint64_t at, std::uint64_t value) { store_be64(image_.data() + at, value); }
void DamageTarget::put32(std::uint64_t at, std::uint32_t value) { store_be32(image_.data() + at, value); }

std::uint64_t DamageTarget::l2_table() const { return load64(l1_at(0)) & format::entry_offset_mask; }

std::uint64_t DamageTarget::l2_at(std::uint64_t guest_cluster) const {
  return l2_table() + guest_cluster * geometry_.l2_entry_bytes();
}

std::uint64_t DamageTarget::host_of(std::uint64_t guest_cluster) const {
  return load64(l2_at(guest_cluster)) & format::entry_offset_mask;
}

std::uint64_t DamageTarget::count(std::uint64_t host_offset) const {
  return format::load_refcount(image_.data() + block(), geometry_.refcount_order,
                               host_offset >> geometry_.cluster_bits);
}

void DamageTarget::set_count(std::uint64_t host_offset, std::uint64_t count) {
  format::store_refcount(image_.data() + block(), geometry_.refcount_order, host_offset >> geometry_.cluster_bits,
                         count);
}

std::vector<DamagedImage> damaged_images() {
  std::vector<DamagedImage> images;
  for (const Base& base : bases) {
    ImageBuilder image = base_image(base);
    const std::vector<std::byte> plain = image.bytes();
    add_images(images, base.name, plain, image.geometry(), false);
    std::vector<std::byte> shared = plain;
    const bool made = add_snapshot(shared, "1");
    BYRE_ASSERT(made);
    add_images(images, std::string(base.name) + "-snapshot", shared, image.geometry(), true);
  }
  return images;
}

}  // namespace byre::test
