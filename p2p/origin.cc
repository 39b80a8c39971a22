#include "p2p/origin.h"

#include <functional>
#include <optional>
#include <string_view>
#include <utility>

namespace hearth::p2p {
namespace {

// Runs on the HTTP client's loop thread; a write into the page cache is all that it waits for.
class WriterSink final : public oci::BlobSink {
 public:
  explicit WriterSink(BlobWriter& into) : into_(into) {}

  Status OnStart(std::optional<uint64_t> total_size_bytes) override {
    if (!total_size_bytes || *total_size_bytes == into_.size_bytes()) return OkStatus();
    return DataLoss("blob " + into_.digest().ToString() + " has " +
                    std::to_string(*total_size_bytes) + " bytes there, but its manifest says " +
                    std::to_string(into_.size_bytes()));
  }
  bool Ready(std::function<void()> resume) override { return into_.Ready(std::move(resume)); }
  Status OnData(std::string_view data) override { return into_.Append(data); }

 private:
  BlobWriter& into_;
};

}  // namespace

Status Origin::Fetch(BlobWriter& into, std::stop_token stop) {
  if (into.offset() == into.size_bytes()) return OkStatus();
  const oci::BlobRequest request{
      .digest = into.digest(), .offset_bytes = into.offset(), .size_bytes = into.size_bytes()};
  WriterSink sink(into);
  return registry_.FetchBlob(access_, request, sink, stop);
}

}  // namespace hearth::p2p
