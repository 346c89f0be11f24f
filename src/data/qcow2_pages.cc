// Loading metadata pages. A page is loaded by one request at a time: a second one that misses it waits, since a stale
// copy must never be put over a page that was loaded, changed and written meanwhile. Pages beside it that the request
// will want come with the same read. The caller holds a lease, so the table cannot become something else meanwhile.

#include <algorithm>

#include "base/text.h"
#include "data/qcow2_disk.h"

namespace byre {

Task<Result<void>> Qcow2Disk::resolve(meta::Stop stop) {
  switch (stop.reason()) {
    case meta::Stop::Reason::missing_pages: co_return co_await load_pages(stop.pages());
    case meta::Stop::Reason::error: {
      Error error = stop.error();
      co_return std::unexpected(std::move(error).in_file(storage_->name()));
    }
    case meta::Stop::Reason::corruption: break;
  }
  co_return co_await mark_corrupt(stop.error());
}

Task<Result<void>> Qcow2Disk::load_pages(meta::PageRequest request) {
  const std::uint64_t page_size = metadata_->page_size_bytes();
  const auto wanted = [&](std::uint64_t at) { return !loading_.contains(at) && !metadata_->present(HostOffset(at)); };
  if (loading_.contains(request.at.bytes)) {
    BYRE_PROBE("data: a page is being loaded by another request");
    co_await loaded_.wait();
    co_return Result<void>{};
  }
  std::uint64_t count = 0;
  while (count < request.count && wanted(request.at.bytes + count * page_size)) ++count;
  for (std::uint64_t i = 0; i < count; ++i) loading_.insert(request.at.bytes + i * page_size);
  auto done = co_await read_pages(request.at, request.kind, count);
  for (std::uint64_t i = 0; i < count; ++i) loading_.erase(request.at.bytes + i * page_size);
  loaded_.wake_all();
  co_return done;
}

Task<Result<void>> Qcow2Disk::read_pages(HostOffset at, meta::PageKind kind, std::uint64_t count) {
  if (count == 0) co_return Result<void>{};
  const std::uint64_t page_size = metadata_->page_size_bytes();
  Buffer buffer(count * page_size, Buffer::Fill::zero);
  storage_->announce(kind == meta::PageKind::l2 ? AccessEvent::l2_load : AccessEvent::refblock_load);
  BYRE_CO_TRY(const std::size_t got, co_await storage_->read(at.bytes, buffer.bytes()));
  // Short only where the file ends inside its last cluster; elsewhere the file has shrunk (H-59).
  if (got < buffer.size() && at.bytes + got < storage_->size_bytes()) {
    co_return fail_in(storage_->name(), ErrorCode::io, "metadata at {:#x} cannot be read whole: {} of {} bytes",
                      at.bytes, got, buffer.size());
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    metadata_->page_loaded(at + i * page_size, kind, buffer.bytes().subspan(i * page_size, page_size));
  }
  co_return Result<void>{};
}

}  // namespace byre
