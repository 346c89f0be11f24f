// The kind stands first and has no key; the rest is a list of options.
#include "cli/tls_objects.h"

#include "base/text.h"
#include "ops/option_list.h"

namespace byre::cli {

namespace {

Result<nbd::TlsOptions> credentials(const std::string& kind, ops::OptionList& list) {
  nbd::TlsOptions options;
  options.mode = nbd::TlsMode::require;
  const std::string directory = list.take("dir").value_or("");
  if (directory.empty()) return fail(ErrorCode::invalid_argument, "--object {}: dir=DIRECTORY is missing", kind);
  if (kind == "tls-creds-x509") {
    options.certificate_directory = directory;
    BYRE_TRY(const std::optional<bool> verifies, list.take_bool("verify-peer"));
    options.verify_peer = verifies.value_or(true);
  } else {
    options.key_file = directory + "/keys.psk";
  }
  const std::string endpoint = list.take("endpoint").value_or("server");
  if (endpoint != "server") {
    return fail(ErrorCode::invalid_argument, "--object {}: endpoint={} is not a server's", kind,
                escape_untrusted(endpoint));
  }
  return options;
}

}  // namespace

Result<> TlsObjects::add(const std::string& text) {
  const std::size_t comma = std::min(text.find(','), text.size());
  const std::string kind = text.substr(0, comma);
  if (kind != "tls-creds-x509" && kind != "tls-creds-psk") {
    return fail(ErrorCode::unsupported, "--object {}: only tls-creds-x509 and tls-creds-psk are known",
                escape_untrusted(kind));
  }
  ops::OptionList list;
  if (comma < text.size()) BYRE_CHECK(list.add(text.substr(comma + 1)));
  const std::string id = list.take("id").value_or("");
  if (id.empty()) return fail(ErrorCode::invalid_argument, "--object {}: id=NAME is missing", kind);
  BYRE_TRY(nbd::TlsOptions options, credentials(kind, list));
  BYRE_CHECK(list.expect_empty(kind));
  if (!by_id_.emplace(id, std::move(options)).second) {
    return fail(ErrorCode::invalid_argument, "--object {}: there is another object with id={}", kind,
                escape_untrusted(id));
  }
  return {};
}

Result<nbd::TlsOptions> TlsObjects::find(const std::string& id) const {
  const auto found = by_id_.find(id);
  if (found != by_id_.end()) return found->second;
  return fail(ErrorCode::invalid_argument, "--tls-creds: there is no --object with id={}", escape_untrusted(id));
}

}  // namespace byre::cli
