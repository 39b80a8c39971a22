// content_probe: what containerd asks of a content store, timed; prints JSON.
//
//   content_probe SOCKET BLOBS INFOS
//
// The store is one of fill_store. INFOS times Info of one of its blobs, then one List of them all.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "base/digest.h"
#include "containerd/services/content/v1/content.grpc.pb.h"
#include "net/grpc.h"

namespace hearth::load {
namespace {

namespace v1 = containerd::services::content::v1;
using Clock = std::chrono::steady_clock;

double MillisecondsSince(Clock::time_point began) {
  return std::chrono::duration<double, std::milli>(Clock::now() - began).count();
}

// Milliseconds of each, ascending; empty: one failed.
std::vector<double> TimeInfos(v1::Content::Stub& stub, size_t blobs, size_t infos) {
  std::mt19937_64 random(1);
  std::vector<double> times;
  for (size_t i = 0; i < infos; ++i) {
    v1::InfoRequest request;
    request.set_digest(Digest::Of(std::to_string(random() % blobs)).ToString());
    v1::InfoResponse response;
    grpc::ClientContext context;
    const auto began = Clock::now();
    const grpc::Status status = stub.Info(&context, request, &response);
    times.push_back(MillisecondsSince(began));
    if (!status.ok()) {
      std::fprintf(stderr, "content_probe: Info: %s\n", status.error_message().c_str());
      return {};
    }
  }
  std::ranges::sort(times);
  return times;
}

size_t List(v1::Content::Stub& stub) {
  grpc::ClientContext context;
  const auto stream = stub.List(&context, {});
  v1::ListContentResponse message;
  size_t listed = 0;
  while (stream->Read(&message)) listed += static_cast<size_t>(message.info_size());
  return stream->Finish().ok() ? listed : 0;
}

int Run(const char* socket, size_t blobs, size_t infos) {
  const auto stub = v1::Content::NewStub(net::MakeUnixChannel(socket));
  const std::vector<double> times = TimeInfos(*stub, blobs, infos);
  if (times.empty()) return 1;
  const auto began = Clock::now();
  const size_t listed = List(*stub);
  std::printf(
      "{\"info_ms\": {\"median\": %.4f, \"p99\": %.4f, \"slowest\": %.4f}, \"listed\": %zu, "
      "\"list_seconds\": %.3f}\n",
      times[times.size() / 2], times[times.size() * 99 / 100], times.back(), listed,
      MillisecondsSince(began) / 1000);
  return 0;
}

}  // namespace
}  // namespace hearth::load

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: content_probe SOCKET BLOBS INFOS\n", stderr);
    return 2;
  }
  return hearth::load::Run(argv[1], std::strtoull(argv[2], nullptr, 10),
                           std::strtoull(argv[3], nullptr, 10));
}
