#include "plugin/write_service.h"

#include <grpcpp/support/slice.h>

#include <string>

#include "base/hand_over.h"
#include "containerd/services/content/v1/content.pb.h"
#include "plugin/worker_service.h"
#include "plugin/write_message_service.h"
#include "plugin/write_stream.h"

namespace hearth::plugin {

namespace {

namespace v1 = containerd::services::content::v1;
constexpr char kCall[] = "Content.Write";

v1::WriteAction ToWire(WriteMessage::Action action) {
  switch (action) {
    case WriteMessage::Action::kStat:
      return v1::STAT;
    case WriteMessage::Action::kWrite:
      return v1::WRITE;
    case WriteMessage::Action::kCommit:
      return v1::COMMIT;
  }
  return v1::STAT;
}

grpc::ByteBuffer Serialize(const WriteReply& reply, WriteMessage::Action action) {
  v1::WriteContentResponse response;
  response.set_action(ToWire(action));
  ToTimestamp(reply.ingest.started, response.mutable_started_at());
  ToTimestamp(reply.ingest.updated, response.mutable_updated_at());
  response.set_offset(static_cast<int64_t>(reply.ingest.offset_bytes));
  response.set_total(static_cast<int64_t>(reply.ingest.total_bytes));
  response.set_digest(reply.digest);
  const std::string bytes = response.SerializeAsString();
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

// Strictly in turns: read, handle on a thread of ours, reply, read the next. So all but OnCancel is
// sequential.
class WriteReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit WriteReactor(const ContentService::Options& options)
      : workers_(options.workers),
        quick_(options.quick),
        observer_(options.observer),
        stream_({options.ingests, options.blobs, options.quick}) {
    ReadNext();
  }

  void OnReadDone(bool ok) override {
    turns_.Take();
    // The client closed its side, or is gone: what it wrote stays, the ref is free at once.
    if (!ok) return End(OkStatus());
    message_ =
        ReadWriteMessage(request_);  // takes nothing but a look: the bytes stay where they are
    if (!message_.ok()) return End(message_.status());
    On(stream_.WaitsForDisk(*message_) ? workers_ : quick_, [this] { Handle(); });
  }
  void OnWriteDone(bool ok) override {
    turns_.Take();
    ok ? ReadNext() : End(Cancelled("the client went away"));
  }
  void OnCancel() override { stream_.Cancel(); }
  void OnDone() override {
    turns_.Take();
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
  void ReadNext() {
    turns_.Give();
    StartRead(&request_);
  }

  void Handle() {
    stream_.Handle(*message_, [this, action = message_->action](Result<WriteReply> reply) {
      Reply(action, std::move(reply));
    });
  }

  void Reply(WriteMessage::Action action, Result<WriteReply> reply) {
    if (!reply.ok()) return End(reply.status());
    response_ = Serialize(*reply, action);
    // Up to 16 MiB that an idle stream must not keep.
    request_.Clear();
    turns_.Give();
    if (reply->last) {
      StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
    } else {
      StartWrite(&response_);
    }
  }

  // Lets go of the ref before the client hears of the end, so that it can open it again.
  void End(Status status) {
    On(quick_, [this, status] {
      stream_.Release();
      turns_.Give();
      Finish(Answer(kCall, status));
    });
  }

  template <typename Work>
  void On(ThreadPool& pool, Work work) {
    if (Status queued = pool.Submit(work); !queued.ok()) {
      stream_.Release();
      turns_.Give();
      Finish(Answer(kCall, queued));
    }
  }

  ThreadPool& workers_;
  ThreadPool& quick_;
  ContentObserver* const observer_;
  HandOver turns_;
  WriteStream stream_;
  grpc::ByteBuffer request_;
  Result<WriteMessage> message_ = WriteMessage();  // in `request_`
  grpc::ByteBuffer response_;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartWrite(
    const ContentService::Options& options) {
  return new WriteReactor(options);
}

}  // namespace hearth::plugin
