// The copy is made, into a file that only has a length: whatever decides where things go is the very code that convert
// runs (ops/new_image_copy.h), and it reads nothing back. Where all clusters have their places before the copy, the
// length is that of the empty image.
//
// Leaves out: copies on a backing file, which are compared with it.

#include <algorithm>
#include <memory>
#include <optional>

#include "base/text.h"
#include "byre/ops/measure.h"
#include "byre/storage/memory.h"
#include "data/load.h"
#include "ops/new_image_copy.h"

namespace byre {
namespace {

class LengthOnly final : public Storage {
 public:
  // Takes clones in blocks of that size; 0: none.
  explicit LengthOnly(std::uint64_t clone_block_bytes) : clone_block_bytes_(clone_block_bytes) {}

  Task<Result<std::size_t>> read(std::uint64_t, Bytes) override { co_return std::unexpected(no_content()); }
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override {
    for (const ConstBytes part : parts) {
      offset_bytes += part.size();
      if (!part.empty()) size_bytes_ = std::max(size_bytes_, offset_bytes);
    }
    co_return Result<void>{};
  }
  Task<Result<void>> flush() override { co_return Result<void>{}; }
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool) override {
    size_bytes_ = std::max(size_bytes_, offset_bytes + length_bytes);
    co_return Result<void>{};
  }
  Task<Result<void>> punch(std::uint64_t, std::uint64_t) override { co_return Result<void>{}; }
  Task<Result<void>> allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) override {
    return zero(offset_bytes, length_bytes, false);
  }
  Task<Result<void>> resize(std::uint64_t size_bytes) override {
    size_bytes_ = size_bytes;
    co_return Result<void>{};
  }
  std::uint64_t clone_block_bytes() const override { return clone_block_bytes_; }
  Task<Result<void>> clone(std::uint64_t offset_bytes, Storage& source, std::uint64_t source_offset_bytes,
                           std::uint64_t length_bytes) override {
    if (clone_block_bytes_ > 0) return zero(offset_bytes, length_bytes, false);
    return Storage::clone(offset_bytes, source, source_offset_bytes, length_bytes);
  }
  std::uint64_t size_bytes() const override { return size_bytes_; }
  Task<Result<StorageExtent>> extent_at(std::uint64_t) override { co_return std::unexpected(no_content()); }
  std::optional<std::uint64_t> allocated_bytes() const override { return std::nullopt; }
  bool writable() const override { return true; }
  StorageIdentity identity() const override { return {0, reinterpret_cast<std::uintptr_t>(this)}; }
  const std::string& name() const override { return name_; }

 private:
  Error no_content() const { return Error(ErrorCode::unsupported, name_ + " has no content"); }

  const std::uint64_t clone_block_bytes_;
  std::uint64_t size_bytes_ = 0;
  std::string name_ = "the measured image";
};

Task<Result<std::uint64_t>> empty_size(CreateOptions target) {
  if (target.preallocation == Preallocation::full) target.preallocation = Preallocation::falloc;  // as long
  MemoryStorage memory;
  BYRE_CO_CHECK(co_await create_qcow2(memory, std::move(target)));
  co_return memory.size_bytes();
}

}  // namespace

Task<Result<std::uint64_t>> measure_exactly(Disk& source, ConvertOptions options) {
  const std::vector<Disk*> sources = {&source};
  BYRE_CO_CHECK(check_convert_options({source.storage().name()}, options));
  options.target.size_bytes = copy_size_bytes(sources);
  BYRE_CO_CHECK(check_create_options(options.target));
  if (options.target.format == "raw") co_return *options.target.size_bytes;
  if (options.target.backing_file) {
    co_return fail(ErrorCode::unsupported, "the exact size of a copy on a backing file is not known before it is made");
  }
  if (!ops::is_written_in_one_go(options)) co_return co_await empty_size(std::move(options.target));
  BYRE_CO_CHECK(co_await ops::check_states(sources, options));
  BYRE_CO_CHECK(ops::check_new_image(*options.target.size_bytes, options));
  BYRE_CO_TRY(format::Header header, co_await ops::new_image_header(options.target));
  LengthOnly file(options.copy.reflink == Reflink::never ? 0 : source.storage().clone_block_bytes());
  BYRE_CO_CHECK(co_await ops::write_new_image(sources, file, std::move(header), options));
  co_return file.size_bytes();
}

}  // namespace byre
