// Outcome<T>: what a metadata decision answers. It never waits: where it lacks a page it says which, the data path
// loads it and asks again.
#pragma once

#include <cstdint>
#include <expected>
#include <utility>

#include "byre/base/result.h"
#include "byre/base/units.h"

namespace byre::meta {

enum class PageKind : std::uint8_t { l2, refcount };

// `count` consecutive pages of one L2 table or refcount block, the first at `at`.
struct PageRequest {
  HostOffset at;
  PageKind kind = PageKind::l2;
  std::uint32_t count = 1;
};

class Stop {
 public:
  enum class Reason {
    missing_pages,  // load `pages()` and ask again
    error,          // the request fails with `error()`
    corruption,     // the same, and a writable image must be marked corrupt (docs/format.md section 16)
  };

  static Stop missing(PageRequest pages) { return Stop(Reason::missing_pages, pages, Error(ErrorCode::io, "")); }
  static Stop failed(Error error) { return Stop(Reason::error, {}, std::move(error)); }
  static Stop corrupted(Error error) { return Stop(Reason::corruption, {}, std::move(error)); }

  Reason reason() const { return reason_; }
  const PageRequest& pages() const { return pages_; }
  const Error& error() const { return error_; }

 private:
  Stop(Reason reason, PageRequest pages, Error error) : reason_(reason), pages_(pages), error_(std::move(error)) {}
  Reason reason_;
  PageRequest pages_;
  Error error_;
};

template <class T = void>
using Outcome = std::expected<T, Stop>;

inline std::unexpected<Stop> damaged(std::string message) {
  return std::unexpected(Stop::corrupted(Error(ErrorCode::corrupt, std::move(message))));
}

}  // namespace byre::meta
