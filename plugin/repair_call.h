// RunRepair: one call of the admin API to repair the store, told as events.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/status.h"
#include "plugin/repair.h"

namespace hearth::plugin {

// `body`: {"dry_run": false, "verify": false}, each may be left out.
// `write` gets a JSON object per event (true: may be dropped for a slow reader), and
// {"event":"done",…} at the end. Blocks.
Status RunRepair(Repair& repair, std::string_view body,
                 const std::function<void(std::string, bool)>& write, std::stop_token stop);

}  // namespace hearth::plugin
