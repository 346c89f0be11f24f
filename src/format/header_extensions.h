// The extension area behind the header fields (docs/format.md section 5).
#pragma once

#include <cstddef>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "format/header.h"

namespace byre::format {

// Fills the extension members of `header` from `area`, which ends at the backing name or at the cluster's end. Checks
// what each extension alone can tell (H-37). On error the members read so far remain.
Result<> decode_header_extensions(ConstBytes area, Header& header);

// Appends the extensions in the order of section 3.5, END included.
void append_header_extensions(const Header& header, std::vector<std::byte>& out);

}  // namespace byre::format
