#include "plugin/write_message_service.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <string>

#include "containerd/services/content/v1/content.pb.h"

namespace hearth::plugin {

namespace {

namespace v1 = containerd::services::content::v1;
namespace io = google::protobuf::io;
using google::protobuf::internal::WireFormatLite;
using Pieces = std::vector<std::span<const char>>;

constexpr uint32_t kDataTag =
    v1::WriteContentRequest::kDataFieldNumber << 3 | WireFormatLite::WIRETYPE_LENGTH_DELIMITED;

constexpr int kMaxTagBytes = 5;

// Where the field's bytes lie.
bool ReadPieces(io::CodedInputStream& input, Pieces& pieces) {
  uint32_t left = 0;
  if (!input.ReadVarint32(&left)) return false;
  pieces.clear();  // of a field that is sent twice the last one counts
  while (left > 0) {
    const void* bytes = nullptr;
    int size = 0;
    if (!input.GetDirectBufferPointer(&bytes, &size)) return false;
    size = static_cast<int>(std::min<uint32_t>(left, static_cast<uint32_t>(size)));
    pieces.emplace_back(static_cast<const char*>(bytes), static_cast<size_t>(size));
    if (!input.Skip(size)) return false;
    left -= static_cast<uint32_t>(size);
  }
  return true;
}

// Splits the message into data and all else.
bool Split(grpc::ByteBuffer& buffer, v1::WriteContentRequest& rest, Pieces& pieces) {
  grpc::ProtoBufferReader reader(&buffer);
  if (!reader.status().ok()) return false;
  std::string other;
  {
    io::CodedInputStream input(&reader);
    io::StringOutputStream sink(&other);
    io::CodedOutputStream output(&sink);
    while (true) {
      const int begin = input.CurrentPosition();
      const uint32_t tag = input.ReadTag();
      if (tag == 0) break;
      // Protobuf's own parser takes no longer one either; here what is beyond 32 bits would be
      // lost.
      if (input.CurrentPosition() - begin > kMaxTagBytes) return false;
      const bool read = tag == kDataTag ? ReadPieces(input, pieces)
                                        : WireFormatLite::SkipField(&input, tag, &output);
      if (!read) return false;
    }
    if (!input.ConsumedEntireMessage()) return false;
  }
  return rest.ParseFromString(other);
}

Result<WriteMessage::Action> ToAction(int action) {
  switch (action) {
    case v1::STAT:
      return WriteMessage::Action::kStat;
    case v1::WRITE:
      return WriteMessage::Action::kWrite;
    case v1::COMMIT:
      return WriteMessage::Action::kCommit;
    default:
      return InvalidArgument("no such write action: " + std::to_string(action));
  }
}

}  // namespace

Result<WriteMessage> ReadWriteMessage(grpc::ByteBuffer& buffer) {
  v1::WriteContentRequest request;
  WriteMessage message;
  if (!Split(buffer, request, message.data)) return InvalidArgument("not a WriteContentRequest");
  message.action = TRY(ToAction(request.action()));
  if (request.offset() < 0) {
    return OutOfRange("write at offset " + std::to_string(request.offset()));
  }
  message.ref = request.ref();
  message.total_bytes = request.total() < 0 ? 0 : static_cast<uint64_t>(request.total());
  message.expected = request.expected();
  message.offset_bytes = static_cast<uint64_t>(request.offset());
  message.labels.insert(request.labels().begin(), request.labels().end());
  return message;
}

}  // namespace hearth::plugin
