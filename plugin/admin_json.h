// The admin API's answers as JSON text: field names that scripts rely on.
#pragma once

#include <string>

#include "base/status.h"
#include "plugin/explain.h"
#include "plugin/explain_file.h"
#include "plugin/preheat.h"
#include "plugin/unpreheat.h"
#include "store/collector.h"
#include "store/store.h"

namespace hearth::plugin {

// {"code":"not_found","message":"…"}
std::string ErrorJson(const Status& status);
std::string ExplanationJson(const Explanation& explanation);
std::string FileExplanationJson(const FileExplanation& explanation);
// Blobs, partial blobs, layers, snapshots and ingests of the store.
Result<std::string> StoreJson(store::Store& store);

// How taking a preheat back ended.
std::string UnpreheatedJson(const Unpreheated& done);

// One event of a preheat each, without newline.
std::string ResolvedEvent(const std::string& reference, const std::string& platform,
                          const PreheatProgress& progress);
// `began_bytes` were here `seconds` ago.
std::string ProgressEvent(const std::string& reference, const PreheatProgress& progress,
                          uint64_t began_bytes, double seconds);
std::string LayerDoneEvent(const std::string& reference, const Digest& digest);
std::string DoneEvent(const std::string& reference, const PreheatResult& result, double seconds);
// What goes, or would go, for lack of space; and how that ended.
std::string VictimEvent(const store::Victim& victim);
std::string CollectedEvent(const store::Collected& done, bool dry_run);
std::string FailedEvent(const std::string& reference, const Status& status);

}  // namespace hearth::plugin
