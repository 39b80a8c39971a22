// ContainerdCall: one call to containerd's own API: its context, and what its end means.
//
// A call that finds no containerd waits for it until its limit: one that restarts is back within
// seconds. It ends early when the token asks for it. One thread; outlives the call.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <stop_token>
#include <string>

#include "base/status.h"

namespace hearth::plugin {

inline constexpr char kNamespaceHeader[] = "containerd-namespace";
inline constexpr char kLeaseHeader[] = "containerd-lease";

// How a call to `address` ended. kUnavailable: no answer within `limit`.
Status EndedCall(const grpc::Status& ended, const std::string& address, const std::string& what,
                 std::chrono::milliseconds limit);

class ContainerdCall {
 public:
  struct Options {
    const std::string& address;
    std::string containerd_namespace = {};  // "" = none
    std::string lease = {};                 // "" = none
    std::chrono::milliseconds limit;
  };
  ContainerdCall(Options options, const std::stop_token& stop);

  grpc::ClientContext* context() { return &context_; }
  Status Ended(const grpc::Status& ended, const std::string& what) const {
    return EndedCall(ended, options_.address, what, options_.limit);
  }

 private:
  struct Cancel {
    grpc::ClientContext* context;
    void operator()() const { context->TryCancel(); }
  };
  const Options options_;
  grpc::ClientContext context_;
  const std::stop_callback<Cancel> on_stop_;
};

}  // namespace hearth::plugin
