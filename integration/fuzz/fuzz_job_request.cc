// Any bytes as the body of POST /oapi/v1/jobs: refused with a short reason, or read; what is read
// can be written down and shown, and no secret of it is in what is shown.
#include <cstdint>
#include <string_view>

#include "base/digest.h"
#include "manager/job_json.h"
#include "manager/job_request.h"
#include "manager/job_store.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hearth;           // NOLINT: one file
  using namespace hearth::manager;  // NOLINT
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  JobRequest::Context context;
  context.cluster_name = [](uint64_t) -> Result<std::string> { return std::string("default"); };
  context.origin_authorization = size % 2 == 0 ? "" : "token x";
  const auto request = JobRequest::Parse(text, context);
  if (!request.ok()) {
    CHECK(request.status().message().size() < 4096);
    return 0;
  }
  CHECK(!request->spec.items.empty());
  Job job;
  job.id = 1;
  job.spec = request->spec;
  job.bio = request->bio;
  const auto kv = kv::MakeMemoryKv();
  JobStore store(*kv);
  CHECK(store.Create({&job, 1}).ok());
  const Job again = store.Load(1).value();
  CHECK(again.spec.items.size() == job.spec.items.size());
  const std::string shown = JobJson(again, {});
  CHECK(shown == JobJson(job, {}));
  return 0;
}
