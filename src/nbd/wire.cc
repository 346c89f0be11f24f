// The inbox, which reads ahead, must have nothing left when the stream changes: it would be taken for encrypted.

#include "nbd/wire.h"

namespace byre::nbd {

Task<Result<void>> Wire::encrypt() {
  auto stream = std::make_unique<TlsStream>(*tls_, socket_);
  BYRE_CO_CHECK(inbox_.change_stream(*stream));
  encrypted_ = std::move(stream);
  co_return co_await encrypted_->handshake();
}

Task<void> Wire::finish() {
  if (encrypted_) co_await encrypted_->finish();
}

}  // namespace byre::nbd
