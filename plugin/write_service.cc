#include "plugin/write_service.h"

#include <string>

#include "containerd/services/content/v1/content.pb.h"
#include "plugin/worker_service.h"
#include "plugin/write_stream.h"

namespace hearth::plugin {

namespace {

namespace v1 = containerd::services::content::v1;
using Request = v1::WriteContentRequest;
using Response = v1::WriteContentResponse;

constexpr char kCall[] = "Content.Write";

Result<WriteMessage> ToMessage(const Request& request) {
  WriteMessage message;
  switch (request.action()) {
    case v1::STAT:
      message.action = WriteMessage::Action::kStat;
      break;
    case v1::WRITE:
      message.action = WriteMessage::Action::kWrite;
      break;
    case v1::COMMIT:
      message.action = WriteMessage::Action::kCommit;
      break;
    default:
      return InvalidArgument("no such write action: " + std::to_string(request.action()));
  }
  if (request.offset() < 0) {
    return OutOfRange("write at offset " + std::to_string(request.offset()));
  }
  message.ref = request.ref();
  message.total_bytes = request.total() < 0 ? 0 : static_cast<uint64_t>(request.total());
  message.expected = request.expected();
  message.offset_bytes = static_cast<uint64_t>(request.offset());
  message.data = request.data();
  message.labels = ToMap(request.labels());
  return message;
}

void ToResponse(const WriteReply& reply, v1::WriteAction action, Response& response) {
  response.set_action(action);
  ToTimestamp(reply.ingest.started, response.mutable_started_at());
  ToTimestamp(reply.ingest.updated, response.mutable_updated_at());
  response.set_offset(static_cast<int64_t>(reply.ingest.offset_bytes));
  response.set_total(static_cast<int64_t>(reply.ingest.total_bytes));
  response.set_digest(reply.digest);
}

// Strictly in turns: read, handle on a worker, reply, read the next. So all but OnCancel is
// sequential.
class WriteReactor final : public grpc::ServerBidiReactor<Request, Response> {
 public:
  explicit WriteReactor(const ContentService::Options& options)
      : workers_(options.workers),
        observer_(options.observer),
        stream_({options.ingests, options.blobs, options.workers}) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    // The client closed its side, or is gone: what it wrote stays, the ref is free at once.
    ok ? OnWorker([this] { Handle(); }) : End(OkStatus());
  }
  void OnWriteDone(bool ok) override {
    ok ? StartRead(&request_) : End(Cancelled("the client went away"));
  }
  void OnCancel() override { stream_.Cancel(); }
  void OnDone() override {
    if (const auto& committed = stream_.committed();
        committed.has_value() && observer_ != nullptr) {
      Status queued = workers_.Submit([observer = observer_, committed = *committed] {
        observer->OnCommitted(committed.ref, committed.digest, committed.size_bytes);
      });
      if (!queued.ok()) LogTrouble("Content.Write's observer", queued);
    }
    delete this;
  }

 private:
  void Handle() {
    Result<WriteMessage> message = ToMessage(request_);
    if (!message.ok()) return End(message.status());
    stream_.Handle(*message, [this](Result<WriteReply> reply) { Reply(std::move(reply)); });
  }

  void Reply(Result<WriteReply> reply) {
    if (!reply.ok()) return End(reply.status());
    ToResponse(*reply, request_.action(), response_);
    // Up to 16 MiB that an idle stream must not keep.
    request_ = Request();
    if (reply->last) {
      StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
    } else {
      StartWrite(&response_);
    }
  }

  // Lets go of the ref before the client hears of the end, so that it can open it again.
  void End(Status status) {
    OnWorker([this, status] {
      stream_.Release();
      Finish(Answer(kCall, status));
    });
  }

  template <typename Work>
  void OnWorker(Work work) {
    if (Status queued = workers_.Submit(work); !queued.ok()) {
      stream_.Release();
      Finish(Answer(kCall, queued));
    }
  }

  ThreadPool& workers_;
  ContentObserver* const observer_;
  WriteStream stream_;
  Request request_;
  Response response_;
};

}  // namespace

grpc::ServerBidiReactor<Request, Response>* StartWrite(const ContentService::Options& options) {
  return new WriteReactor(options);
}

}  // namespace hearth::plugin
