// The session works on memory alone: what it cannot read yet is received into one buffer, what it has written is sent
// from another. Reading may write, too (key updates, alerts), so that everything leaves through one gate.

#include "nbd/tls.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>

#include "base/text.h"
#include "byre/base/assert.h"

namespace byre::nbd {
namespace {

constexpr std::size_t receive_bytes = 64 << 10;
constexpr std::size_t record_bytes = 16 << 10;
constexpr std::size_t gathered_bytes = 256 << 10;  // so much is encrypted before it is sent

std::optional<std::vector<unsigned char>> from_hexadecimal(std::string_view text) {
  if (text.empty() || text.size() % 2 != 0) return std::nullopt;
  std::vector<unsigned char> bytes(text.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char* begin = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(begin, begin + 2, bytes[i], 16);
    if (error != std::errc() || end != begin + 2) return std::nullopt;
  }
  return bytes;
}

}  // namespace

Result<std::unique_ptr<TlsContext>> TlsContext::make(const TlsOptions& options) {
  if (options.certificate_directory.empty() && options.key_file.empty()) {
    return fail(ErrorCode::invalid_argument, "TLS needs certificates or a file of keys");
  }
  BYRE_TRY(const OpenSsl* ssl, OpenSsl::load());
  std::unique_ptr<TlsContext> made(new TlsContext(*ssl));
  SSL_CTX* context = ssl->SSL_CTX_new(ssl->TLS_server_method());
  if (!context) return std::unexpected(ssl->error(ErrorCode::io, "cannot start TLS"));
  made->context_ = std::unique_ptr<SSL_CTX, Free>(context, Free{ssl});
  ssl->SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, nullptr);
  ssl->SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
  ssl->SSL_CTX_set_num_tickets(context, 0);
  ssl->SSL_CTX_set_ex_data(context, 0, made.get());
  if (!options.certificate_directory.empty()) {
    BYRE_CHECK(made->use_certificates(options.certificate_directory, options.verify_peer));
  }
  if (!options.key_file.empty()) BYRE_CHECK(made->use_keys(options.key_file));
  return made;
}

Result<void> TlsContext::use_certificates(const std::string& directory, bool verifies_peer) {
  const std::string certificate = directory + "/server-cert.pem";
  const std::string key = directory + "/server-key.pem";
  const std::string authority = directory + "/ca-cert.pem";
  SSL_CTX* context = context_.get();
  const auto failed = [this](const std::string& path) {
    return std::unexpected(
        ssl_.error(ErrorCode::invalid_argument, fmt::format("cannot use '{}'", escape_untrusted(path))));
  };
  if (ssl_.SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) return failed(certificate);
  if (ssl_.SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) return failed(key);
  if (ssl_.SSL_CTX_check_private_key(context) != 1) return failed(key);
  if (!verifies_peer) return {};
  if (ssl_.SSL_CTX_load_verify_locations(context, authority.c_str(), nullptr) != 1) return failed(authority);
  ssl_.SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return {};
}

// Lines of "NAME:KEY", the key in hexadecimal, as psktool(1) writes them.
Result<void> TlsContext::use_keys(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::unexpected(Error::from_errno(errno, fmt::format("cannot read '{}'", escape_untrusted(path))));
  std::string line;
  for (unsigned number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line.front() == '#') continue;
    const std::size_t colon = line.rfind(':');
    auto key = colon == std::string::npos ? std::nullopt : from_hexadecimal(std::string_view(line).substr(colon + 1));
    if (!key || colon == 0) {
      return fail(ErrorCode::invalid_argument, "'{}', line {}: not NAME:KEY with a key in hexadecimal",
                  escape_untrusted(path), number);
    }
    keys_[line.substr(0, colon)] = *std::move(key);
  }
  if (keys_.empty()) return fail(ErrorCode::invalid_argument, "'{}' has no keys", escape_untrusted(path));
  ssl_.SSL_CTX_set_cipher_list(context_.get(), "DEFAULT:PSK:!aNULL:!eNULL");
  // Shared keys belong to SHA-256: where a certificate would do, too, another hash must not be chosen before they are
  // looked at.
  ssl_.SSL_CTX_set_ciphersuites(context_.get(),
                                "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384");
  ssl_.SSL_CTX_set_options(context_.get(), SSL_OP_CIPHER_SERVER_PREFERENCE);
  const unsigned char ours = 'b';  // it takes a shared key for a session of ours, and wants to know whose those are
  ssl_.SSL_CTX_set_session_id_context(context_.get(), &ours, 1);
  ssl_.SSL_CTX_set_psk_server_callback(context_.get(), &TlsContext::find_key);
  return {};
}

// OpenSSL's contract: the key's length, 0 for an unknown name.
unsigned TlsContext::find_key(SSL* session, const char* identity, unsigned char* key, unsigned room_bytes) {
  const auto ssl = OpenSsl::load();
  const auto* self = static_cast<TlsContext*>((*ssl)->SSL_CTX_get_ex_data((*ssl)->SSL_get_SSL_CTX(session), 0));
  const auto found = self->keys_.find(std::string_view(identity));
  if (found == self->keys_.end() || found->second.size() > room_bytes) return 0;
  std::ranges::copy(found->second, key);
  return static_cast<unsigned>(found->second.size());
}

TlsStream::TlsStream(TlsContext& context, Socket& socket)
    : ssl_(context.ssl_),
      socket_(socket),
      session_(ssl_.SSL_new(context.context_.get()), Free{&ssl_}),
      arrived_(ssl_.BIO_new(ssl_.BIO_s_mem())),
      leaving_(ssl_.BIO_new(ssl_.BIO_s_mem())),
      buffer_(receive_bytes) {
  BYRE_ASSERT(session_ && arrived_ && leaving_);  // it allocates, and ends the process where it cannot
  ssl_.SSL_set_bio(session_.get(), arrived_, leaving_);
}

Task<Result<void>> TlsStream::handshake() {
  for (;;) {
    ssl_.ERR_clear_error();
    const int status = ssl_.SSL_accept(session_.get());
    const int reason = status == 1 ? SSL_ERROR_NONE : ssl_.SSL_get_error(session_.get(), status);
    Error failed = ssl_.error(ErrorCode::refused, "the TLS handshake failed");
    BYRE_CO_CHECK(co_await drain());
    if (status == 1) co_return Result<void>{};
    if (reason != SSL_ERROR_WANT_READ) co_return std::unexpected(std::move(failed));
    BYRE_CO_TRY(const bool more, co_await feed());
    if (!more) co_return fail(ErrorCode::io, "the client left during the TLS handshake");
  }
}

Task<Result<std::size_t>> TlsStream::receive(Bytes target, Socket::Until) {
  const int room = static_cast<int>(std::min<std::size_t>(target.size(), 1 << 30));
  for (;;) {
    ssl_.ERR_clear_error();
    const int got = ssl_.SSL_read(session_.get(), target.data(), room);
    if (got > 0) co_return static_cast<std::size_t>(got);
    const int reason = ssl_.SSL_get_error(session_.get(), got);
    Error failed = ssl_.error(ErrorCode::io, "TLS");
    BYRE_CO_CHECK(co_await drain());
    if (reason == SSL_ERROR_ZERO_RETURN) co_return std::size_t{0};
    if (reason != SSL_ERROR_WANT_READ) co_return std::unexpected(std::move(failed));
    BYRE_CO_TRY(const bool more, co_await feed());
    if (!more) co_return std::size_t{0};  // without a farewell: the protocol above knows whether it was complete
  }
}

Task<Result<void>> TlsStream::send(std::span<const ConstBytes> parts) {
  std::size_t gathered = 0;
  for (ConstBytes part : parts) {
    while (!part.empty()) {
      const std::size_t length = std::min(part.size(), record_bytes);
      ssl_.ERR_clear_error();
      const int written = ssl_.SSL_write(session_.get(), part.data(), static_cast<int>(length));
      if (written <= 0) co_return std::unexpected(ssl_.error(ErrorCode::io, "TLS"));
      part = part.subspan(static_cast<std::size_t>(written));
      gathered += static_cast<std::size_t>(written);
      if (gathered < gathered_bytes) continue;
      BYRE_CO_CHECK(co_await drain());
      gathered = 0;
    }
  }
  co_return co_await drain();
}

Task<void> TlsStream::finish() {
  ssl_.ERR_clear_error();
  ssl_.SSL_shutdown(session_.get());
  ssl_.ERR_clear_error();
  [[maybe_unused]] const Result<void> sent = co_await drain();  // the other end may be gone
}

// False at the end of the stream.
Task<Result<bool>> TlsStream::feed() {
  BYRE_CO_TRY(const std::size_t got, co_await socket_.receive(buffer_.bytes()));
  if (got == 0) co_return false;
  ssl_.BIO_write(arrived_, buffer_.data(), static_cast<int>(got));
  co_return true;
}

Task<Result<void>> TlsStream::drain() {
  co_await sending_.acquire();
  Result<void> sent;
  while (sent) {
    const auto waiting = static_cast<std::size_t>(ssl_.BIO_ctrl(leaving_, BIO_CTRL_PENDING, 0, nullptr));
    if (waiting == 0) break;
    Buffer encrypted(waiting);
    ssl_.BIO_read(leaving_, encrypted.data(), static_cast<int>(waiting));
    const ConstBytes part = encrypted.bytes();
    sent = co_await socket_.send(std::span(&part, 1));
  }
  sending_.release();
  co_return sent;
}

}  // namespace byre::nbd
