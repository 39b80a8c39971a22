// EnrollService: hearth.v1.Enroll, where nodes get their certificates. See proto/hearth/v1.
//
// gRPC's threads call it; the work is done on `workers`. Whether a request is granted is decided in
// Enrolment, which knows no gRPC.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
#include "manager/cluster_ca.h"
#include "manager/fleet.h"
#include "manager/throttle.h"
#include "manager/tokens.h"

namespace grpc {
class Service;
}

namespace hearth::v1 {
class JoinRequest;
class Membership;
class RenewRequest;
}  // namespace hearth::v1

namespace hearth::manager {

class Enrolment {
 public:
  struct Options {
    ClusterCa& ca;
    Tokens& tokens;
    Fleet& fleet;
    Throttle& throttle;
  };
  explicit Enrolment(Options options) : options_(options) {}

  // `from` is the caller's address, for the throttle and the log.
  Result<v1::Membership> Join(const v1::JoinRequest& request, const std::string& from) const;
  Result<v1::Membership> Renew(const v1::RenewRequest& request, const net::GrpcTlsPeer& peer) const;

 private:
  Result<v1::Membership> Grant(const net::SigningRequest& request, const Node& node) const;
  const Options options_;
};

// `enrolment` and `workers` must outlive it.
std::shared_ptr<grpc::Service> MakeEnrollService(const Enrolment& enrolment, ThreadPool& workers);

}  // namespace hearth::manager
