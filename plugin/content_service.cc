#include "plugin/content_service.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "containerd/services/content/v1/content.grpc.pb.h"
#include "plugin/file_cache.h"
#include "plugin/filter.h"
#include "plugin/label_mask.h"
#include "plugin/read_service.h"
#include "plugin/worker_service.h"
#include "plugin/write_service.h"

namespace hearth::plugin {

namespace {

namespace v1 = containerd::services::content::v1;
using google::protobuf::Empty;
using Context = grpc::CallbackServerContext;
using Unary = grpc::ServerUnaryReactor;

constexpr int kInfosPerMessage = 100;

void ToInfo(const store::BlobInfo& blob, v1::Info* out) {
  out->set_digest(blob.digest.ToString());
  out->set_size(static_cast<int64_t>(blob.size_bytes));
  ToTimestamp(blob.created, out->mutable_created_at());
  ToTimestamp(blob.updated, out->mutable_updated_at());
  out->mutable_labels()->insert(blob.labels.begin(), blob.labels.end());
}

void ToIngestStatus(const store::IngestInfo& ingest, v1::Status* out) {
  ToTimestamp(ingest.started, out->mutable_started_at());
  ToTimestamp(ingest.updated, out->mutable_updated_at());
  out->set_ref(ingest.ref);
  out->set_offset(static_cast<int64_t>(ingest.offset_bytes));
  out->set_total(static_cast<int64_t>(ingest.total_bytes));
  out->set_expected(ingest.expected);
}

// Blobs that containerd has, a message full at a time.
class BlobList {
 public:
  BlobList(const store::BlobStore& blobs, std::vector<std::string> expressions)
      : blobs_(blobs), expressions_(std::move(expressions)) {}

  Status Fill(v1::ListContentResponse& message) {
    if (!filter_) filter_ = TRY(Filter::Parse(expressions_));
    const auto visit = [&](const store::BlobInfo& blob) {
      last_ = blob.digest;
      const auto fields = [&blob](const FieldPath& path) -> std::optional<std::string> {
        if (path[0] == "digest") return blob.digest.ToString();
        if (path[0] == "labels") return LabelField(path, blob.labels);
        return std::nullopt;
      };
      if (blob.claimed && filter_->Matches(fields)) ToInfo(blob, message.add_info());
      return message.info_size() < kInfosPerMessage;
    };
    return blobs_.ListAfter(last_, visit);
  }

 private:
  const store::BlobStore& blobs_;
  const std::vector<std::string> expressions_;
  std::optional<Filter> filter_;
  std::optional<Digest> last_;  // visited
};

Status ListIngests(const store::IngestStore& ingests, const std::vector<std::string>& expressions,
                   v1::ListStatusesResponse* response) {
  const Filter filter = TRY(Filter::Parse(expressions));
  return ingests.List([&](const store::IngestInfo& ingest) {
    if (IsFileIngest(ingest.ref)) return true;
    auto fields = [&ingest](const FieldPath& path) -> std::optional<std::string> {
      if (path[0] == "ref") return ingest.ref;
      return std::nullopt;
    };
    if (filter.Matches(fields)) ToIngestStatus(ingest, response->add_statuses());
    return true;
  });
}

// All calls in the callback API; Read and Write with messages that we take apart ourselves.
using Base = v1::Content::WithCallbackMethod_Info<v1::Content::WithCallbackMethod_Update<
    v1::Content::WithCallbackMethod_List<v1::Content::WithCallbackMethod_Delete<
        v1::Content::WithRawCallbackMethod_Read<v1::Content::WithCallbackMethod_Status<
            v1::Content::WithCallbackMethod_ListStatuses<v1::Content::WithRawCallbackMethod_Write<
                v1::Content::WithCallbackMethod_Abort<v1::Content::Service>>>>>>>>>;

class Service final : public Base {
 public:
  explicit Service(const ContentService::Options& options)
      : options_(options),
        blobs_(options.blobs),
        ingests_(options.ingests),
        workers_(options.workers),
        quick_(options.quick) {}

  Unary* Info(Context* context, const v1::InfoRequest* request,
              v1::InfoResponse* response) override {
    return RunUnary("Content.Info", context, quick_, [this, request, response] {
      const Digest digest = TRY(Digest::Parse(request->digest()));
      const auto claimed = blobs_.Claim(digest);
      if (claimed.status().code() == StatusCode::kNotFound) {
        // A pull asks, too, and is glad of it; who sees this wanted a blob that containerd names.
        return NotFound(claimed.status().message() + " (if the store was lost: hearth repair)");
      }
      ToInfo(TRY(claimed), response->mutable_info());
      return OkStatus();
    });
  }

  Unary* Update(Context* context, const v1::UpdateRequest* request,
                v1::UpdateResponse* response) override {
    return RunUnary("Content.Update", context, quick_, [this, request, response] {
      const Digest digest = TRY(Digest::Parse(request->info().digest()));
      const LabelChange change = TRY(ApplyLabelMask(ToVector(request->update_mask().paths()),
                                                    ToMap(request->info().labels())));
      ToInfo(TRY(blobs_.UpdateLabels(digest, change.labels, change.replace)),
             response->mutable_info());
      return OkStatus();
    });
  }

  grpc::ServerWriteReactor<v1::ListContentResponse>* List(
      Context*, const v1::ListContentRequest* request) override {
    auto list = std::make_shared<BlobList>(blobs_, ToVector(request->filters()));
    return new ListReactor<v1::ListContentResponse>(
        "Content.List", quick_,
        [list](v1::ListContentResponse& message) { return list->Fill(message); });
  }

  Unary* Delete(Context* context, const v1::DeleteContentRequest* request, Empty*) override {
    return RunUnary("Content.Delete", context, quick_, [this, request]() -> hearth::Status {
      return blobs_.Unclaim(TRY(Digest::Parse(request->digest())));
    });
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Read(Context*,
                                                   const grpc::ByteBuffer* request) override {
    return StartRead(blobs_, workers_, *request);
  }

  Unary* Status(Context* context, const v1::StatusRequest* request,
                v1::StatusResponse* response) override {
    return RunUnary("Content.Status", context, quick_, [this, request, response] {
      ToIngestStatus(TRY(ingests_.Info(request->ref())), response->mutable_status());
      return OkStatus();
    });
  }

  Unary* ListStatuses(Context* context, const v1::ListStatusesRequest* request,
                      v1::ListStatusesResponse* response) override {
    return RunUnary("Content.ListStatuses", context, quick_, [this, request, response] {
      return ListIngests(ingests_, ToVector(request->filters()), response);
    });
  }

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Write(Context*) override {
    return StartWrite(options_);
  }

  Unary* Abort(Context* context, const v1::AbortRequest* request, Empty*) override {
    return RunUnary("Content.Abort", context, quick_,
                    [this, request] { return ingests_.Abort(request->ref()); });
  }

 private:
  const ContentService::Options options_;
  store::BlobStore& blobs_;
  store::IngestStore& ingests_;
  ThreadPool& workers_;
  ThreadPool& quick_;
};

}  // namespace

ContentService::ContentService(const Options& options)
    : service_(std::make_shared<Service>(options)) {}

}  // namespace hearth::plugin
