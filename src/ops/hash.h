// Hash functions from OpenSSL's shared library, which is loaded when the first checksum is asked for: every start of
// the tool would pay for it otherwise (docs/decisions/0015, 0022).
#pragma once

#include <openssl/evp.h>

#include <cstddef>
#include <initializer_list>
#include <memory>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/ops/checksum.h"

namespace byre::ops {

// A hash function. Copies are the same one; threads may share it.
class Hash {
 public:
  // Errors: unsupported (there is no OpenSSL 3 here, or it does not have this function).
  static Result<Hash> load(ChecksumAlgorithm algorithm);

  std::size_t digest_bytes() const { return digest_bytes_; }

 private:
  friend class Hasher;
  std::shared_ptr<EVP_MD> function_;
  std::size_t digest_bytes_ = 0;
};

// Computes digests, one after the other. For one thread at a time.
class Hasher {
 public:
  explicit Hasher(const Hash& hash);

  // Of the parts, one behind the other. `digest` has the function's length, and may be one of them.
  void run(std::initializer_list<ConstBytes> parts, Bytes digest);

 private:
  Hash hash_;
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

}  // namespace byre::ops
