// Pauses of background work, so that others get at the disk.
#pragma once

#include <chrono>
#include <functional>
#include <stop_token>

namespace hearth::store {

// Waits so long, or until the stop. Tests put in one that only notes what was asked for.
using Pause = std::function<void(std::chrono::milliseconds, const std::stop_token&)>;

// By the machine's clock. Blocks its thread.
void PauseFor(std::chrono::milliseconds time, const std::stop_token& stop);

}  // namespace hearth::store
