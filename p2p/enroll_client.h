// How a node gets into a cluster: it joins with a token, and renews its certificate.
//
// Identity is three files in one folder: key.pem (0600, made once, for the life of the node),
// certificate.pem (its certificate and the authority's) and authority.pem. Blocking; one thread at
// a time per folder.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/status.h"
#include "net/certificate.h"
#include "net/grpc_tls.h"

namespace grpc {
class Channel;
}

namespace hearth::p2p {

// hjt_SECRET.SHA256_OF_THE_CA
struct JoinTokenText {
  Secret<std::string> secret;
  Digest authority;
  // kInvalidArgument; the token is not repeated in the message.
  static Result<JoinTokenText> Parse(std::string_view text);
};

struct NodeDescription {
  std::string name;
  std::map<std::string, std::string> labels;
  std::string data_address;
  std::string control_address;
  std::string program_version;
};

struct Joined {
  net::Identity identity;
  WallTime not_after{};
  std::chrono::seconds renew_after{};
};

class EnrollClient {
 public:
  static constexpr std::chrono::seconds kTimeout{15};  // for one manager

  explicit EnrollClient(std::filesystem::path folder) : folder_(std::move(folder)) {}

  net::TlsFiles files() const;
  // The certificate that is there, whether still valid or not. kNotFound: not joined yet.
  Result<net::Certificate> Current() const;

  // The node's key, made where there is none yet; its id is made of it.
  Result<net::PrivateKey> Key() const;
  // Tries the managers ("HOST:7781") in order and writes the three files. kUnauthenticated: a
  // manager with another authority answered (the secret was not sent), or the token is not valid.
  Result<Joined> Join(const std::vector<std::string>& managers, const JoinTokenText& token,
                      const std::string& cluster, const NodeDescription& node) const;
  // With the certificate that is there, over `channel` to a manager.
  Result<Joined> Renew(const std::shared_ptr<grpc::Channel>& channel,
                       const std::string& program_version) const;

 private:
  Result<Joined> JoinAt(const std::string& manager, const JoinTokenText& token,
                        const std::string& cluster, const NodeDescription& node) const;

  const std::filesystem::path folder_;
};

}  // namespace hearth::p2p
