// The length of each cluster in the file is found out first. All places follow from these lengths alone, so that the
// tables are computed while they are written, table by table, and the data comes in the order in which it was measured.
//
// Leaves out: backing files, preallocation.

#include "ops/piped_image.h"

#include <algorithm>
#include <utility>

#include "base/endian.h"
#include "base/math.h"
#include "base/text.h"
#include "data/piped_disk.h"
#include "format/entry.h"
#include "format/limits.h"
#include "format/refcount.h"
#include "ops/image_sequence.h"
#include "ops/layout.h"
#include "ops/new_image_copy.h"

namespace byre::ops {
namespace {

class ImagePipe {
 public:
  ImagePipe(std::vector<Disk*> sources, Storage& target, format::Header header, CopyOptions copy)
      : sources_(std::move(sources)),
        target_(target),
        header_(std::move(header)),
        geometry_(header_.geometry()),
        copy_(std::move(copy)),
        sizes_(geometry_) {}
  Task<Result<void>> run(bool search);

 private:
  Task<Result<void>> measure_by_status();
  Task<Result<void>> measure_by_copy();
  Result<void> plan();
  Task<Result<void>> write_header();
  Task<Result<void>> write_refcount_table();
  Task<Result<void>> write_refcount_blocks();
  Task<Result<void>> write_l1_table();
  Task<Result<void>> write_l2_tables();
  Task<Result<void>> write_data();
  Task<Result<void>> append(ConstBytes bytes);
  Task<Result<void>> count(std::uint64_t references);
  Task<Result<void>> finish_block();
  Result<std::uint64_t> l2_word(std::uint64_t place_bytes, std::uint64_t size_bytes) const;
  CopyOptions pass(std::uint64_t number) const;

  const std::vector<Disk*> sources_;
  Storage& target_;
  format::Header header_;
  const format::Geometry geometry_;
  const CopyOptions copy_;
  std::uint64_t passes_ = 1;
  ClusterSizes sizes_;
  Layout layout_;
  Buffer block_;               // of refcounts
  std::uint64_t counted_ = 0;  // of them
};

// The progress of all passes counts together.
CopyOptions ImagePipe::pass(std::uint64_t number) const {
  CopyOptions copy = copy_;
  copy.target_content = TargetContent::zeros;
  copy.reflink = Reflink::never;
  copy.out_of_order = false;
  if (!copy_.progress) return copy;
  copy.progress = [this, number](std::uint64_t done_bytes, std::uint64_t total_bytes) {
    copy_.progress(number * total_bytes + done_bytes, passes_ * total_bytes);
  };
  return copy;
}

Task<Result<void>> ImagePipe::measure_by_status() {
  ImageSequence images(sources_);
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  for (std::uint64_t at = 0; at < header_.virtual_size_bytes;) {
    if (copy_.cancel && copy_.cancel->load()) co_return fail(ErrorCode::cancelled, "interrupted");
    BYRE_CO_TRY(const BlockStatus status, co_await images.status(at));
    const std::uint64_t end = std::min(header_.virtual_size_bytes, at + status.length_bytes);
    if (!status.zero || copy_.sparse_bytes == 0) {
      for (std::uint64_t in = round_down(at, cluster_size); in < end; in += cluster_size) {
        sizes_.set(in >> geometry_.cluster_bits, cluster_size);
      }
    }
    at = end;
  }
  co_return Result<void>{};
}

Task<Result<void>> ImagePipe::measure_by_copy() {
  passes_ = 2;
  SizingDisk disk(target_, header_, sizes_, copy_.cancel);
  co_return co_await copy_disks(sources_, disk, pass(0));
}

Result<void> ImagePipe::plan() {
  DataPlacer placer(geometry_);
  layout_ = Layout{};
  layout_.geometry = geometry_;
  layout_.l1_entries = geometry_.required_l1_entries(header_.virtual_size_bytes);
  layout_.l1_table = geometry_.clusters_for(layout_.l1_entries * 8);
  layout_.l2_tables = sizes_.tables().size();
  for (const auto& [l1_index, table] : sizes_.tables()) {
    for (const std::uint32_t size_bytes : table) {
      if (size_bytes != 0) placer.place(size_bytes);
    }
  }
  layout_.data = placer.clusters();
  add_refcounts(layout_);
  BYRE_CHECK(check_layout(layout_));
  header_.refcount_table = layout_.refcount_table_start();
  header_.refcount_table_clusters = static_cast<std::uint32_t>(layout_.refcount_table);
  header_.l1_entries = static_cast<std::uint32_t>(layout_.l1_entries);
  header_.l1_table = layout_.l1_entries == 0 ? HostOffset(0) : layout_.l1_start();
  return {};
}

// Whole clusters, the last one filled up with zeros.
Task<Result<void>> ImagePipe::append(ConstBytes bytes) {
  co_return co_await write_filled_up(target_, target_.size_bytes(), bytes, geometry_.cluster_size_bytes());
}

Task<Result<void>> ImagePipe::write_header() {
  BYRE_CO_TRY(const std::vector<std::byte> header, format::encode_header(header_));
  co_return co_await append(header);
}

Task<Result<void>> ImagePipe::write_refcount_table() {
  std::vector<std::byte> table(layout_.refcount_blocks * 8);
  for (std::uint64_t i = 0; i < layout_.refcount_blocks; ++i) {
    const HostOffset block = layout_.refcount_blocks_start() + layout_.bytes_of(i);
    store_be64(table.data() + i * 8, format::encode_refcount_table_entry(block));
  }
  co_return co_await append(table);
}

// The next cluster of the file has so many references.
Task<Result<void>> ImagePipe::count(std::uint64_t references) {
  if (block_.empty()) block_ = Buffer(geometry_.cluster_size_bytes(), Buffer::Fill::zero);
  format::store_refcount(block_.data(), geometry_.refcount_order, counted_++, references);
  if (counted_ == geometry_.refcounts_per_block()) co_return co_await finish_block();
  co_return Result<void>{};
}

Task<Result<void>> ImagePipe::finish_block() {
  if (counted_ == 0) co_return Result<void>{};
  counted_ = 0;
  const Buffer block = std::exchange(block_, Buffer());
  const ConstBytes bytes = block.bytes();
  co_return co_await append(bytes);
}

// Everything in front of the data has one reference. A cluster's references are known when the next one begins.
Task<Result<void>> ImagePipe::write_refcount_blocks() {
  for (std::uint64_t i = 0; i < layout_.metadata_clusters(); ++i) BYRE_CO_CHECK(co_await count(1));
  DataPlacer placer(geometry_);
  for (const auto& [l1_index, sizes] : sizes_.tables()) {
    for (const std::uint32_t size_bytes : sizes) {
      if (size_bytes == 0) continue;
      const std::uint64_t clusters = placer.clusters();
      const std::uint64_t references = placer.last_references();
      const bool shares = placer.place(size_bytes) < clusters << geometry_.cluster_bits;
      const bool ended = clusters > 0 && placer.clusters() > clusters;
      if (ended) BYRE_CO_CHECK(co_await count(references + (shares ? 1 : 0)));
    }
  }
  if (placer.clusters() > 0) BYRE_CO_CHECK(co_await count(placer.last_references()));
  co_return co_await finish_block();
}

Task<Result<void>> ImagePipe::write_l1_table() {
  std::vector<std::byte> table(layout_.l1_entries * 8);
  std::uint64_t number = 0;
  for (const auto& [l1_index, sizes] : sizes_.tables()) {
    const HostOffset at = layout_.l2_start() + layout_.bytes_of(number++);
    store_be64(table.data() + l1_index * 8, format::encode_l1_entry({at, true}));
  }
  co_return co_await append(table);
}

Result<std::uint64_t> ImagePipe::l2_word(std::uint64_t place_bytes, std::uint64_t size_bytes) const {
  const HostOffset at = layout_.data_start() + place_bytes;
  if (size_bytes == geometry_.cluster_size_bytes()) {
    return format::encode_l2_word(geometry_, format::L2Entry::normal(at, true));
  }
  const auto extent = format::make_compressed_extent(geometry_, at, size_bytes);
  if (!extent) return fail_in(target_.name(), ErrorCode::no_space, "{}", format::describe(extent.error()));
  return format::encode_l2_word(geometry_, format::L2Entry::from_compressed(*extent));
}

Task<Result<void>> ImagePipe::write_l2_tables() {
  DataPlacer placer(geometry_);
  Buffer words(geometry_.cluster_size_bytes());
  for (const auto& [l1_index, sizes] : sizes_.tables()) {
    std::ranges::fill(words.bytes(), std::byte{0});
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] == 0) continue;
      BYRE_CO_TRY(const std::uint64_t word, l2_word(placer.place(sizes[i]), sizes[i]));
      store_be64(words.data() + i * 8, word);
    }
    BYRE_CO_CHECK(co_await append(words.bytes()));
  }
  co_return Result<void>{};
}

// What the status called zeros must not become data for being short.
Task<Result<void>> ImagePipe::write_data() {
  PipedImageDisk disk(target_, header_, sizes_, copy_.cancel);
  CopyOptions copy = pass(passes_ - 1);
  if (passes_ == 1) copy.sparse_bytes = std::min<std::uint64_t>(copy.sparse_bytes, format::sector_bytes);
  BYRE_CO_CHECK(co_await copy_disks(sources_, disk, std::move(copy)));
  co_return co_await disk.close();
}

Task<Result<void>> ImagePipe::run(bool search) {
  Result<void> measured;
  if (copy_.compress || search) {
    measured = co_await measure_by_copy();
  } else {
    measured = co_await measure_by_status();
  }
  BYRE_CO_CHECK(measured);
  BYRE_CO_CHECK(plan());
  BYRE_CO_CHECK(co_await write_header());
  BYRE_CO_CHECK(co_await write_refcount_table());
  BYRE_CO_CHECK(co_await write_refcount_blocks());
  BYRE_CO_CHECK(co_await write_l1_table());
  BYRE_CO_CHECK(co_await write_l2_tables());
  co_return co_await write_data();
}

}  // namespace

Task<Result<void>> write_piped_image(std::vector<Disk*> sources, Storage& target, CreateOptions create,
                                     CopyOptions copy, bool search) {
  create.size_bytes = copy_size_bytes(sources);
  BYRE_CO_CHECK(check_create_options(create));
  BYRE_CO_TRY(format::Header header, co_await new_image_header(std::move(create)));
  ImagePipe pipe(std::move(sources), target, std::move(header), std::move(copy));
  co_return co_await pipe.run(search);
}

}  // namespace byre::ops
