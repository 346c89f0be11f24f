// Once a function is there, computing with it fails only where memory is exhausted, which ends the process elsewhere,
// too.

#include "ops/hash.h"

#include "base/shared_library.h"
#include "base/text.h"
#include "byre/base/assert.h"

namespace byre::ops {
namespace {

// clang-format off
#define BYRE_CRYPTO_FUNCTIONS(X) \
  X(EVP_DigestFinal_ex) X(EVP_DigestInit_ex) X(EVP_DigestUpdate) X(EVP_MD_CTX_free) X(EVP_MD_CTX_new) X(EVP_MD_fetch) \
  X(EVP_MD_free) X(EVP_MD_get_size)
// clang-format on

// Each member is the function of its name.
struct Crypto {
// NOLINTBEGIN(readability-identifier-naming)
#define BYRE_CRYPTO_MEMBER(name) decltype(&::name) name = nullptr;
  BYRE_CRYPTO_FUNCTIONS(BYRE_CRYPTO_MEMBER)
#undef BYRE_CRYPTO_MEMBER
  // NOLINTEND(readability-identifier-naming)
};

Result<Crypto> load_functions() {
  BYRE_TRY(SharedLibrary library, SharedLibrary::load("libcrypto.so.3", "checksums need OpenSSL 3"));
  Crypto functions;
#define BYRE_CRYPTO_LOAD(name) library.find(functions.name, #name);
  BYRE_CRYPTO_FUNCTIONS(BYRE_CRYPTO_LOAD)
#undef BYRE_CRYPTO_LOAD
  BYRE_CHECK(library.result());
  return functions;
}

const Result<Crypto>& crypto() {
  static const Result<Crypto> loaded = load_functions();
  return loaded;
}

const char* function_name(ChecksumAlgorithm algorithm) {
  return algorithm == ChecksumAlgorithm::sha256 ? "SHA2-256" : "BLAKE2B-512";
}

}  // namespace

Result<Hash> Hash::load(ChecksumAlgorithm algorithm) {
  if (!crypto()) return std::unexpected(crypto().error());
  Hash hash;
  hash.function_.reset(crypto()->EVP_MD_fetch(nullptr, function_name(algorithm), nullptr), crypto()->EVP_MD_free);
  if (!hash.function_) {
    return fail(ErrorCode::unsupported, "OpenSSL is set up without {} here", function_name(algorithm));
  }
  hash.digest_bytes_ = static_cast<std::size_t>(crypto()->EVP_MD_get_size(hash.function_.get()));
  return hash;
}

Hasher::Hasher(const Hash& hash) : hash_(hash), context_(crypto()->EVP_MD_CTX_new(), crypto()->EVP_MD_CTX_free) {
  BYRE_ASSERT(context_ != nullptr);
}

void Hasher::run(std::initializer_list<ConstBytes> parts, Bytes digest) {
  BYRE_ASSERT(digest.size() == hash_.digest_bytes());
  bool done = crypto()->EVP_DigestInit_ex(context_.get(), hash_.function_.get(), nullptr) == 1;
  for (const ConstBytes part : parts) {
    done = done && crypto()->EVP_DigestUpdate(context_.get(), part.data(), part.size()) == 1;
  }
  auto* const to = reinterpret_cast<unsigned char*>(digest.data());
  done = done && crypto()->EVP_DigestFinal_ex(context_.get(), to, nullptr) == 1;
  BYRE_ASSERT(done);
}

}  // namespace byre::ops
