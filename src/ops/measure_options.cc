#include "ops/measure_options.h"

#include "base/math.h"
#include "base/text.h"
#include "format/luks_header.h"
#include "ops/create_options.h"

namespace byre::ops {

namespace {

struct Cipher {
  std::string_view name;
  std::uint64_t key_bytes;
};
constexpr Cipher ciphers[] = {{"aes-128", 16}, {"aes-192", 24}, {"aes-256", 32}};

// Section 13: a header of 4096 bytes, then eight key slots.
Result<std::uint64_t> luks_area_bytes(OptionList& list) {
  const std::string name = list.take("encrypt.cipher-alg").value_or("aes-256");
  const bool is_xts = list.take("encrypt.cipher-mode").value_or("xts") == "xts";
  for (const Cipher& cipher : ciphers) {
    if (cipher.name != name) continue;
    const std::uint64_t key_bytes = cipher.key_bytes * (is_xts ? 2 : 1);
    return 4096 + 8 * round_up(key_bytes * format::luks_stripes, 4096);
  }
  return fail(ErrorCode::unsupported, "encrypt.cipher-alg={}: must be aes-128, aes-192 or aes-256",
              escape_untrusted(name));
}

Result<> take_encryption(OptionList& list, MeasureTarget& target) {
  const auto format = list.take("encrypt.format");
  if (!format) return {};
  if (*format == "luks") {
    BYRE_TRY(target.encryption_area_bytes, luks_area_bytes(list));
  } else if (*format != "aes") {
    return fail(ErrorCode::invalid_argument, "encrypt.format={}: must be luks or aes", escape_untrusted(*format));
  }
  // These do not change the size.
  for (const std::string_view key :
       {"encrypt.key-secret", "encrypt.ivgen-alg", "encrypt.ivgen-hash-alg", "encrypt.hash-alg", "encrypt.iter-time"}) {
    list.take(key);
  }
  return {};
}

}  // namespace

Result<MeasureTarget> parse_measure_options(std::string_view format, OptionList list) {
  MeasureTarget target;
  if (list.contains("size")) {
    return fail(ErrorCode::invalid_argument, "option size: the size to measure is given with --size");
  }
  if (format == "qcow2") {
    BYRE_TRY(const auto extended_l2, list.take_bool("extended_l2"));
    target.extended_l2 = extended_l2.value_or(false);
    BYRE_CHECK(take_encryption(list, target));
  }
  BYRE_TRY(target.options, parse_create_options(format, std::move(list)));
  return target;
}

}  // namespace byre::ops
