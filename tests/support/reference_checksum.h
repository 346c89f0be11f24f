// Checksums computed from their definition (docs/checksum.md) in the plainest way, with the hash functions of OpenSSL
// and without code of the library. Only for programs that link OpenSSL.
#pragma once

#include <openssl/evp.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "byre/base/buffer.h"

namespace byre::test {

using Digest = std::vector<std::byte>;

inline Digest tagged_digest(const EVP_MD* function, unsigned char tag, ConstBytes first, ConstBytes second = {}) {
  std::vector<std::byte> input = {std::byte{tag}};
  input.insert(input.end(), first.begin(), first.end());
  input.insert(input.end(), second.begin(), second.end());
  Digest digest(EVP_MAX_MD_SIZE);
  unsigned length = 0;
  EVP_Digest(input.data(), input.size(), reinterpret_cast<unsigned char*>(digest.data()), &length, function, nullptr);
  digest.resize(length);
  return digest;
}

// The parents of 256 digests each; the last one is filled up with `zero`.
inline std::vector<Digest> parents(const EVP_MD* function, const std::vector<Digest>& level, const Digest& zero) {
  std::vector<Digest> above;
  for (std::size_t i = 0; i < level.size(); i += 256) {
    std::vector<std::byte> children;
    for (std::size_t child = i; child < i + 256; ++child) {
      const Digest& digest = child < level.size() ? level[child] : zero;
      children.insert(children.end(), digest.begin(), digest.end());
    }
    above.push_back(tagged_digest(function, 1, children));
  }
  return above;
}

// "byre1-sha256:..." or "byre1-blake2b:...".
inline std::string reference_checksum(std::vector<std::byte> content, const std::string& name = "sha256") {
  const EVP_MD* const function = name == "sha256" ? EVP_sha256() : EVP_blake2b512();
  while (content.size() % 512 != 0) content.push_back(std::byte{0});
  std::vector<std::byte> size;
  for (int shift = 56; shift >= 0; shift -= 8) size.push_back(static_cast<std::byte>(content.size() >> shift));
  while (content.empty() || content.size() % 65536 != 0) content.push_back(std::byte{0});

  std::vector<Digest> level;
  for (std::size_t at = 0; at < content.size(); at += 65536) {
    level.push_back(tagged_digest(function, 0, ConstBytes(content).subspan(at, 65536)));
  }
  Digest zero = tagged_digest(function, 0, std::vector<std::byte>(65536));
  while (level.size() > 1) {
    level = parents(function, level, zero);
    zero = parents(function, {zero}, zero).front();
  }
  std::string text = "byre1-" + name + ":";
  for (const std::byte byte : tagged_digest(function, 2, size, level.front())) {
    for (const unsigned digit : {static_cast<unsigned>(byte) >> 4, static_cast<unsigned>(byte) & 15}) {
      text += "0123456789abcdef"[digit];
    }
  }
  return text;
}

}  // namespace byre::test
