// RunTakeover: one call of the admin API to take over a built-in content store, told as events.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/status.h"
#include "plugin/takeover.h"

namespace hearth::plugin {

// `body`: {"content_root": "/…", "phase": "plan" | "copy" | "finish"}, and for `finish` where
// containerd had been restarted before all was copied, "tell": true.
//   plan    says what would be taken, and takes nothing
//   copy    blobs, then layers, until a turn finds nothing new
// Both fail with kResourceExhausted, before anything is written, where the disk, or the store's
// quota, has no room for it; `finish` does after it took the blobs and registered what is whole.
//   finish  the same once more, then tells containerd's namespaces, and removes the built-in
//           store's files of what is ours; kFailedPrecondition while containerd has no
//           snapshotter `hearth`
// `write` gets a JSON object of the room that it takes, one per blob (true: may be dropped for a
// slow reader) and image, and
// {"event":"done",…} at the end. Blocks.
Status RunTakeover(Takeover& takeover, std::string_view body,
                   const std::function<void(std::string, bool)>& write, std::stop_token stop);

}  // namespace hearth::plugin
