// RunHandback: one call of the admin API to hand content and images back to containerd's built-in
// store and snapshotter, told as events.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/status.h"
#include "plugin/handback.h"

namespace hearth::plugin {

// `body`: {"content_root": "/…", "phase": "plan" | "copy" | "finish"}, and where it is not to be
// true, "content" (containerd's content store is ours) and "unpack".
//   plan    says what would be given, and gives nothing; fails where there is no room for it
//   copy    images are unpacked and blobs given, until a turn finds nothing new
//   finish  gives what came since; kFailedPrecondition while containerd runs with our snapshotter
// `write` gets a JSON object per blob (true: may be dropped for a slow reader) and image, and
// {"event":"done",…} at the end. Blocks.
Status RunHandback(Handback& handback, std::string_view body,
                   const std::function<void(std::string, bool)>& write, std::stop_token stop);

}  // namespace hearth::plugin
