#include "plugin/read_service.h"

#include <google/protobuf/io/coded_stream.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <span>

#include "base/file.h"
#include "base/hand_over.h"
#include "containerd/services/content/v1/content.pb.h"
#include "plugin/worker_service.h"

namespace hearth::plugin {

namespace {

namespace v1 = containerd::services::content::v1;

constexpr uint64_t kMessageBytes = 1 << 20;
constexpr char kCall[] = "Content.Read";

// What stands before the bytes in a serialized ReadContentResponse: `offset`, and tag and length of
// `data`.
grpc::Slice MessageHead(uint64_t offset_bytes, uint64_t length_bytes) {
  using Out = google::protobuf::io::CodedOutputStream;
  constexpr uint32_t kOffsetTag = v1::ReadContentResponse::kOffsetFieldNumber << 3 | 0;
  constexpr uint32_t kDataTag = v1::ReadContentResponse::kDataFieldNumber << 3 | 2;
  uint8_t head[32];
  uint8_t* end = head;
  if (offset_bytes != 0) {
    end = Out::WriteVarint32ToArray(kOffsetTag, end);
    end = Out::WriteVarint64ToArray(offset_bytes, end);
  }
  end = Out::WriteVarint32ToArray(kDataTag, end);
  end = Out::WriteVarint64ToArray(length_bytes, end);
  return {head, static_cast<size_t>(end - head)};
}

class ReadReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  ReadReactor(store::BlobStore& blobs, ThreadPool& workers, const grpc::ByteBuffer& request)
      : blobs_(blobs), workers_(workers), raw_request_(request) {
    GoOn();
  }
  void OnWriteDone(bool ok) override {
    turns_.Take();
    ok ? GoOn() : End(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away"));
  }
  void OnDone() override {
    turns_.Take();
    delete this;
  }

 private:
  void GoOn() {
    Status queued = workers_.Submit([this] { Step(); });
    if (!queued.ok()) End(Answer(kCall, queued));
  }

  void End(const grpc::Status& status) {
    turns_.Give();
    Finish(status);
  }

  void Step() {
    if (blob_ == nullptr) {
      if (Status status = Open(); !status.ok()) return End(Answer(kCall, status));
    }
    if (next_ == end_) return End(grpc::Status::OK);
    Status status = FillMessage();
    if (!status.ok()) return End(Answer(kCall, status));
    turns_.Give();
    if (next_ == end_) {
      StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
    } else {
      StartWrite(&message_);
    }
  }

  Status Open() {
    v1::ReadContentRequest request;
    using Traits = grpc::SerializationTraits<v1::ReadContentRequest>;
    if (!Traits::Deserialize(&raw_request_, &request).ok()) {
      return InvalidArgument("not a ReadContentRequest");
    }
    blob_ = TRY(blobs_.Open(TRY(Digest::Parse(request.digest()))));
    const uint64_t size = blob_->size_bytes();
    next_ = request.offset() < 0 ? 0 : static_cast<uint64_t>(request.offset());
    if (next_ > size) {
      return OutOfRange("blob " + request.digest() + " has " + std::to_string(size) +
                        " bytes, asked from " + std::to_string(next_));
    }
    end_ = size;
    if (request.size() > 0) end_ = next_ + std::min<uint64_t>(request.size(), size - next_);
    return OkStatus();
  }

  Status FillMessage() {
    const uint64_t length = std::min(kMessageBytes, end_ - next_);
    grpc::Slice slices[2] = {MessageHead(next_, length), grpc::Slice(length)};
    // The slice is ours alone until it is written.
    auto* bytes = reinterpret_cast<char*>(const_cast<uint8_t*>(slices[1].begin()));
    const size_t got = TRY(ReadAt(blob_->file()->get(), std::span<char>(bytes, length), next_));
    if (got != length) {
      return DataLoss("blob " + blob_->digest().ToString() + " ends at byte " +
                      std::to_string(next_ + got) + " of " + std::to_string(blob_->size_bytes()) +
                      " (run hearth store verify)");
    }
    message_ = grpc::ByteBuffer(slices, 2);
    next_ += length;
    return OkStatus();
  }

  store::BlobStore& blobs_;
  ThreadPool& workers_;
  HandOver turns_;
  grpc::ByteBuffer raw_request_;
  std::shared_ptr<store::Blob> blob_;
  uint64_t next_ = 0;
  uint64_t end_ = 0;
  grpc::ByteBuffer message_;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartRead(store::BlobStore& blobs, ThreadPool& workers,
                                                      const grpc::ByteBuffer& request) {
  return new ReadReactor(blobs, workers, request);
}

}  // namespace hearth::plugin
