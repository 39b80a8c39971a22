// StreamLink: one node's stream, seen from the hub that it is connected to.
#pragma once

#include "base/status.h"

namespace hearth::manager {

// Called with the hub's mutex held: neither may block or call back.
template <typename To>
class StreamLink {
 public:
  virtual ~StreamLink() = default;
  virtual void Send(const To& message) = 0;
  // Nothing is sent after it.
  virtual void Close(const Status& why) = 0;
};

}  // namespace hearth::manager
