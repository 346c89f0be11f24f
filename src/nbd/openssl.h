// The functions of OpenSSL that TLS needs, from its shared library, which is loaded when the first server asks for TLS:
// every start of the tool would pay for it otherwise (docs/decisions/0015).
#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "byre/base/result.h"

namespace byre::nbd {

// clang-format off
#define BYRE_OPENSSL_FUNCTIONS(X) \
  X(BIO_ctrl) X(BIO_new) X(BIO_read) X(BIO_s_mem) X(BIO_write) X(ERR_clear_error)                \
  X(ERR_reason_error_string) X(ERR_get_error) X(SSL_CTX_check_private_key) X(SSL_CTX_ctrl)       \
  X(SSL_CTX_free) X(SSL_CTX_load_verify_locations) X(SSL_CTX_new) X(SSL_CTX_set_cipher_list)     \
  X(SSL_CTX_set_ciphersuites) X(SSL_CTX_set_num_tickets) X(SSL_CTX_set_options)                  \
  X(SSL_CTX_set_session_id_context) X(SSL_CTX_set_psk_server_callback) X(SSL_CTX_set_verify)     \
  X(SSL_CTX_use_PrivateKey_file) X(SSL_CTX_use_certificate_chain_file) X(SSL_accept) X(SSL_free) \
  X(SSL_get_error) X(SSL_get_SSL_CTX) X(SSL_CTX_get_ex_data) X(SSL_CTX_set_ex_data) X(SSL_new)   \
  X(SSL_read) X(SSL_set_bio) X(SSL_shutdown) X(SSL_write) X(TLS_server_method)
// clang-format on

// Each member is the function of its name.
struct OpenSsl {
// NOLINTBEGIN(readability-identifier-naming)
#define BYRE_OPENSSL_MEMBER(name) decltype(&::name) name = nullptr;
  BYRE_OPENSSL_FUNCTIONS(BYRE_OPENSSL_MEMBER)
#undef BYRE_OPENSSL_MEMBER
  // NOLINTEND(readability-identifier-naming)

  // Loads it once. Errors: unsupported (this system has none).
  static Result<const OpenSsl*> load();

  // "<what>: <OpenSSL's own words>", and forgets them.
  Error error(ErrorCode code, std::string_view what) const;
};

}  // namespace byre::nbd
