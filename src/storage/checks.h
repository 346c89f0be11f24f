// What every storage checks before it touches anything.
#pragma once

#include <cstdint>
#include <span>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/storage/storage.h"

namespace byre {

std::uint64_t total_size(std::span<const ConstBytes> parts);

// The storage may be written, and the range ends below 2^63, where the system's offsets end.
Result<void> check_storage_change(const Storage& storage, std::uint64_t offset_bytes, std::uint64_t length_bytes);

// The offset lies below the size.
Result<void> check_extent_offset(const Storage& storage, std::uint64_t offset_bytes);

}  // namespace byre
