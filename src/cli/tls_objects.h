// The objects with credentials that qemu-nbd takes: --object tls-creds-x509,id=tls0,dir=/etc/pki,endpoint=server.
#pragma once

#include <map>
#include <string>

#include "byre/nbd/server.h"

namespace byre::cli {

class TlsObjects {
 public:
  // Errors (invalid_argument): no id, an id that comes again, an unknown key. Objects of other kinds: unsupported.
  Result<> add(const std::string& text);
  // Errors (invalid_argument): there is none of this id.
  Result<nbd::TlsOptions> find(const std::string& id) const;

 private:
  std::map<std::string, nbd::TlsOptions> by_id_;
};

}  // namespace byre::cli
