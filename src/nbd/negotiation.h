// The first phase of a connection: the client and the server agree on an export and on how they will speak.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "nbd/export.h"
#include "nbd/message.h"
#include "nbd/option_data.h"
#include "nbd/protocol.h"
#include "nbd/transmission.h"
#include "nbd/wire.h"

namespace byre::nbd {

class Negotiation {
 public:
  // What the server has to say.
  struct Policy {
    std::function<bool()> take_place;   // false if no further client may have an export
    std::function<bool()> is_stopping;  // it is about to end
  };
  // All of them must outlive it.
  Negotiation(std::span<const Export> exports, const ServerOptions& options, const Policy& policy, Wire& wire)
      : exports_(exports), options_(options), policy_(policy), wire_(wire) {}

  // An agreement without an export: the client left in good order. Errors: it broke the rules, or the connection did.
  Task<Result<Agreement>> run();

 private:
  enum class Next { option, transmission, end };
  struct Header {
    std::uint32_t option;
    std::uint32_t length_bytes;
    bool is(Option wanted) const { return option == static_cast<std::uint32_t>(wanted); }
  };

  Task<Result<void>> greet();
  Task<Result<Next>> answer_one();
  Task<Result<Next>> answer(Header header, ConstBytes data);
  Task<Result<Next>> enter_by_name(ConstBytes data);
  Task<Result<void>> start_tls(Header header, ConstBytes data);
  bool needs_tls() const;
  Task<Result<void>> list(Header header, ConstBytes data);
  Task<Result<Next>> inform(Header header, ConstBytes data);
  Task<Result<void>> contexts(Header header, ConstBytes data);
  Task<Result<void>> choose_style(Header header, ConstBytes data, Style style);
  void add_info(MessageWriter& out, Header header, const InfoRequest& request, const Export& exported) const;
  const Export* find(std::string_view name) const;
  Task<Result<void>> reply(Header header, OptionReply type, ConstBytes data = {});
  Task<Result<void>> refuse(Header header, OptionReply type, std::string_view message);
  Task<Result<void>> send(ConstBytes bytes);

  std::span<const Export> exports_;
  const ServerOptions& options_;
  const Policy& policy_;
  Wire& wire_;
  Agreement agreement_;
  bool no_zeroes_ = false;
  const Export* contexts_of_ = nullptr;  // contexts count only for the export that they were chosen for
};

}  // namespace byre::nbd
