// What a call has moved is cut off in front, so that the next one takes the rest.

#include "task/transfer_vectors.h"

#include <limits.h>

#include <algorithm>

#include "byre/base/assert.h"

namespace byre {

TransferVectors::TransferVectors(Bytes target) : end_(1), left_bytes_(target.size()) {
  few_[0] = {target.data(), target.size()};
}

TransferVectors::TransferVectors(std::span<const ConstBytes> parts) {
  if (parts.size() > inline_count) many_.resize(parts.size());
  for (ConstBytes part : parts) {
    if (part.empty()) continue;
    // iovec serves both directions, so that it has no const; a write does not change the bytes.
    vectors()[end_++] = {const_cast<std::byte*>(part.data()), part.size()};
    left_bytes_ += part.size();
  }
}

unsigned TransferVectors::count() const { return static_cast<unsigned>(std::min<std::size_t>(end_ - first_, IOV_MAX)); }

void TransferVectors::advance(std::uint64_t done_bytes) {
  BYRE_ASSERT(done_bytes <= left_bytes_);
  left_bytes_ -= done_bytes;
  for (; first_ < end_ && vectors()[first_].iov_len <= done_bytes; ++first_) done_bytes -= vectors()[first_].iov_len;
  if (done_bytes == 0) return;
  iovec& part = vectors()[first_];
  part = {static_cast<std::byte*>(part.iov_base) + done_bytes, part.iov_len - done_bytes};
}

}  // namespace byre
