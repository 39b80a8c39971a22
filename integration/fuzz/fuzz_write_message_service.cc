// Any bytes as one message of containerd's Write, in one slice or in several (the first byte says
// how long each is): protobuf itself reads the same from it, or neither can.
#include <google/protobuf/stubs/logging.h>
#include <grpcpp/support/byte_buffer.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "containerd/services/content/v1/content.pb.h"
#include "plugin/write_message_service.h"

// It says of each text that is no UTF-8 that it is none.
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hearth;
  namespace v1 = containerd::services::content::v1;
  if (size == 0) return 0;
  const size_t step = data[0] == 0 ? size : data[0];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += step) {
    slices.emplace_back(std::string(bytes.substr(at, step)));
  }
  grpc::ByteBuffer buffer(slices.data(), slices.size());
  v1::WriteContentRequest whole;
  const bool readable = whole.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  const auto message = plugin::ReadWriteMessage(buffer);
  if (!message.ok()) return 0;
  CHECK(readable);
  std::string read;
  for (const auto& piece : message->data) read.append(piece.data(), piece.size());
  CHECK(read == whole.data() && message->ref == whole.ref());
  CHECK(message->expected == whole.expected());
  CHECK(whole.offset() >= 0 && message->offset_bytes == static_cast<uint64_t>(whole.offset()));
  return 0;
}
