#include "plugin/content_service.h"

#include <grpcpp/channel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <set>

#include "containerd/services/content/v1/content.grpc.pb.h"
#include "kv/kv.h"
#include "net/grpc.h"
#include "store/blocking.h"
#include "store/faulty.h"

namespace hearth::plugin {
namespace {

namespace v1 = containerd::services::content::v1;

constexpr auto kLong = std::chrono::seconds(20);
constexpr size_t kWorkers = 2;

class Recorder final : public ContentObserver {
 public:
  void OnCommitted(const std::string& ref, const Digest& digest, uint64_t size_bytes) override {
    committed.set_value(ref + " " + digest.ToString() + " " + std::to_string(size_bytes));
  }
  std::promise<std::string> committed;
};

// A real server on a real socket; the store's index in memory.
class ContentServiceTest : public testing::Test {
 protected:
  ContentServiceTest() {
    disk_.Open();
    blobs_ = *store::BlobStore::Open({.root = scratch_.path(), .kv = *kv_, .cpu_pool = pool_});
    ingests_ = *store::IngestStore::Open(
        {.root = scratch_.path(), .kv = *kv_, .blobs = *blobs_, .disk = disk_});
    service_.emplace(ContentService::Options{*blobs_, *ingests_, workers_, quick_, &recorder_});
    net::GrpcServer::Options options;
    options.socket = scratch_.path() / "h.sock";
    options.services = {service_->service()};
    auto server = net::GrpcServer::Start(std::move(options));
    CHECK(server.ok());
    server_ = std::move(*server);
    stub_ = v1::Content::NewStub(net::MakeUnixChannel(scratch_.path() / "h.sock"));
  }

  ~ContentServiceTest() override {
    disk_.Open();
    server_.reset();
    workers_.Join();  // TSan does not see that the server waits for what they do
    quick_.Join();
  }

  // Complete and unclaimed, as a preheat leaves it.
  Digest Preheat(const std::string& bytes) {
    auto grown = blobs_->Grow(Digest::Of(bytes), bytes.size());
    EXPECT_TRUE(grown.ok() && grown->blob->Write(0, bytes).ok());
    EXPECT_TRUE(grown->blob->WaitComplete({}, Deadline::After(kLong)).ok());
    EXPECT_TRUE(blobs_->Preheat(Digest::Of(bytes), std::nullopt).ok());
    return Digest::Of(bytes);
  }
  grpc::StatusCode Info(const Digest& digest, v1::InfoResponse* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kLong);
    v1::InfoRequest request;
    request.set_digest(digest.ToString());
    return stub_->Info(&context, request, response).error_code();
  }
  // Digests, and the most that came in one message.
  std::pair<std::set<std::string>, int> List(const std::vector<std::string>& filters = {}) {
    grpc::ClientContext context;
    v1::ListContentRequest request;
    request.mutable_filters()->Assign(filters.begin(), filters.end());
    auto stream = stub_->List(&context, request);
    std::set<std::string> digests;
    int most = 0;
    v1::ListContentResponse message;
    while (stream->Read(&message)) {
      most = std::max(most, message.info_size());
      for (const auto& info : message.info()) digests.insert(info.digest());
    }
    EXPECT_TRUE(stream->Finish().ok());
    return {digests, most};
  }
  std::pair<std::string, grpc::StatusCode> Read(const Digest& digest, int64_t offset,
                                                int64_t size) {
    grpc::ClientContext context;
    v1::ReadContentRequest request;
    request.set_digest(digest.ToString());
    request.set_offset(offset);
    request.set_size(size);
    auto stream = stub_->Read(&context, request);
    std::string bytes;
    v1::ReadContentResponse message;
    while (stream->Read(&message)) {
      EXPECT_LE(message.data().size(), 1u << 20);
      EXPECT_EQ(message.offset(),
                std::max<int64_t>(offset, 0) + static_cast<int64_t>(bytes.size()));
      bytes += message.data();
    }
    return {bytes, stream->Finish().error_code()};
  }
  grpc::StatusCode Delete(const Digest& digest) {
    grpc::ClientContext context;
    v1::DeleteContentRequest request;
    request.set_digest(digest.ToString());
    google::protobuf::Empty response;
    return stub_->Delete(&context, request, &response).error_code();
  }
  static v1::WriteContentRequest Message(v1::WriteAction action, int64_t offset, std::string data) {
    v1::WriteContentRequest request;
    request.set_action(action);
    request.set_offset(offset);
    request.set_data(std::move(data));
    return request;
  }
  static v1::WriteContentRequest Open(const std::string& ref) {
    v1::WriteContentRequest request;
    request.set_ref(ref);
    return request;
  }

  store::Scratch scratch_;
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  Recorder recorder_;
  ThreadPool pool_{{.name = "test-cpu", .threads = 2}};
  store::GatedDisk disk_;  // of the ingests
  ThreadPool workers_{{.name = "test-workers", .threads = kWorkers}};
  ThreadPool quick_{{.name = "test-quick", .threads = 1}};
  std::unique_ptr<store::BlobStore> blobs_;
  std::unique_ptr<store::IngestStore> ingests_;
  std::optional<ContentService> service_;
  std::unique_ptr<net::GrpcServer> server_;
  std::unique_ptr<v1::Content::Stub> stub_;
};

TEST_F(ContentServiceTest, PreheatedBlobIsHiddenUntilInfoAndAfterDelete) {
  const Digest digest = Preheat("preheated");
  EXPECT_TRUE(List().first.empty());
  v1::InfoResponse info;
  EXPECT_EQ(Info(digest, &info), grpc::StatusCode::OK);
  EXPECT_EQ(info.info().size(), 9);
  EXPECT_EQ(List().first, std::set<std::string>{digest.ToString()});
  EXPECT_EQ(Delete(digest), grpc::StatusCode::OK);
  EXPECT_TRUE(List().first.empty());
  EXPECT_EQ(Info(digest, &info), grpc::StatusCode::OK);
}

TEST_F(ContentServiceTest, InfoKnowsNothingOfAGrowingBlob) {
  auto grown = blobs_->Grow(Digest::Of("growing"), 7);
  ASSERT_TRUE(grown.ok());
  v1::InfoResponse info;
  EXPECT_EQ(Info(Digest::Of("growing"), &info), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ContentServiceTest, DeleteAndAbortOfTheUnknownAreFine) {
  EXPECT_EQ(Delete(Digest::Of("never seen")), grpc::StatusCode::OK);
  grpc::ClientContext context;
  v1::AbortRequest request;
  request.set_ref("never opened");
  google::protobuf::Empty response;
  EXPECT_TRUE(stub_->Abort(&context, request, &response).ok());
}

TEST_F(ContentServiceTest, ListComesInBlocksAndTakesFilters) {
  for (int i = 0; i < 120; ++i) {
    ASSERT_TRUE(blobs_->Claim(Preheat("blob " + std::to_string(i))).ok());
  }
  const auto [digests, most] = List();
  EXPECT_EQ(digests.size(), 120u);
  EXPECT_LE(most, 100);
  const std::string one = Digest::Of("blob 7").ToString();
  EXPECT_EQ(List({"digest==" + one}).first, std::set<std::string>{one});
}

TEST_F(ContentServiceTest, ReadGivesRangesAndSaysWhereTheEndIs) {
  std::string bytes(3'000'000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 >> 3);
  const Digest digest = Preheat(bytes);
  const auto size = static_cast<int64_t>(bytes.size());
  EXPECT_EQ(Read(digest, 0, 0).first, bytes);
  EXPECT_EQ(Read(digest, -1, 0).first, bytes);
  EXPECT_EQ(Read(digest, 12'345, 32'768).first, bytes.substr(12'345, 32'768));
  EXPECT_EQ(Read(digest, size - 5, 100).first, bytes.substr(bytes.size() - 5));
  EXPECT_EQ(Read(digest, size, 10), std::make_pair(std::string(), grpc::StatusCode::OK));
  EXPECT_EQ(Read(digest, size + 1, 10).second, grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(Read(Digest::Of("no"), 0, 0).second, grpc::StatusCode::NOT_FOUND);
}

TEST_F(ContentServiceTest, UpdateTakesALabelAndRefusesTheSize) {
  const Digest digest = Preheat("x");
  v1::UpdateRequest request;
  request.mutable_info()->set_digest(digest.ToString());
  (*request.mutable_info()->mutable_labels())["a"] = "1";
  request.mutable_update_mask()->add_paths("labels.a");
  v1::UpdateResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Update(&context, request, &response).ok());
  EXPECT_EQ(response.info().labels().at("a"), "1");
  request.mutable_update_mask()->add_paths("size");
  grpc::ClientContext again;
  EXPECT_EQ(stub_->Update(&again, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ContentServiceTest, WriteOfALargeMessageCommitsAndTheObserverHears) {
  const std::string bytes(16'700'000, 'L');
  grpc::ClientContext context;
  auto stream = stub_->Write(&context);
  v1::WriteContentResponse response;
  ASSERT_TRUE(stream->Write(Open("ref")));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.digest(), Digest::Of("").ToString());
  ASSERT_TRUE(stream->Write(Message(v1::WRITE, 0, bytes)));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.action(), v1::WRITE);
  EXPECT_EQ(response.offset(), static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(response.digest(), Digest::Of(bytes).ToString());
  ASSERT_TRUE(stream->Write(Message(v1::COMMIT, response.offset(), "")));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
  auto heard = recorder_.committed.get_future();
  ASSERT_EQ(heard.wait_for(kLong), std::future_status::ready);
  EXPECT_EQ(heard.get(), "ref " + Digest::Of(bytes).ToString() + " 16700000");
  EXPECT_EQ(List().first.size(), 1u);
}

TEST_F(ContentServiceTest, HalfCloseFreesTheRefAtOnceAndKeepsTheBytes) {
  for (const int64_t kept : {0, 3}) {
    grpc::ClientContext context;
    auto stream = stub_->Write(&context);
    v1::WriteContentResponse response;
    ASSERT_TRUE(stream->Write(Open("ref")));
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.offset(), kept);
    ASSERT_TRUE(stream->Write(Message(v1::WRITE, kept, "abc")));
    ASSERT_TRUE(stream->Read(&response));
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
}

TEST_F(ContentServiceTest, CancelFreesTheRefAndKeepsTheBytes) {
  v1::WriteContentResponse response;
  {
    grpc::ClientContext context;
    auto stream = stub_->Write(&context);
    ASSERT_TRUE(stream->Write(Open("ref")));
    ASSERT_TRUE(stream->Read(&response));
    ASSERT_TRUE(stream->Write(Message(v1::WRITE, 0, "abc")));
    ASSERT_TRUE(stream->Read(&response));
    context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  // A cancel is known to its client before the server hears of it.
  const Deadline deadline = Deadline::After(kLong);
  for (bool open = false; !open;) {
    grpc::ClientContext context;
    auto stream = stub_->Write(&context);
    ASSERT_TRUE(stream->Write(Open("ref")));
    open = stream->Read(&response);
    stream->WritesDone();
    const grpc::Status status = stream->Finish();
    ASSERT_EQ(status.error_code(), open ? grpc::StatusCode::OK : grpc::StatusCode::UNAVAILABLE);
    ASSERT_FALSE(deadline.Passed());
  }
  EXPECT_EQ(response.offset(), 3);
}

TEST_F(ContentServiceTest, IdleWriteStreamsUseUpNoWorkers) {
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<
      std::unique_ptr<grpc::ClientReaderWriter<v1::WriteContentRequest, v1::WriteContentResponse>>>
      streams;
  v1::WriteContentResponse response;
  for (int i = 0; i < 32; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(stub_->Write(contexts.back().get()));
    ASSERT_TRUE(streams.back()->Write(Open("ref " + std::to_string(i))));
    ASSERT_TRUE(streams.back()->Read(&response));
  }
  v1::InfoResponse info;
  EXPECT_EQ(Info(Preheat("x"), &info), grpc::StatusCode::OK);
  for (auto& context : contexts) context->TryCancel();
  for (auto& stream : streams) (void)stream->Finish();
}

// containerd asks both under its one database lock: a wait there stops every container start.
TEST_F(ContentServiceTest, InfoAndTheFirstStatDoNotWaitBehindSyncsOfWrites) {
  const Digest preheated = Preheat("preheated");
  disk_.Close();
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<
      std::unique_ptr<grpc::ClientReaderWriter<v1::WriteContentRequest, v1::WriteContentResponse>>>
      streams;
  v1::WriteContentResponse response;
  for (size_t i = 0; i < 2 * kWorkers; ++i) {  // some sync, others queue for a worker
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(stub_->Write(contexts.back().get()));
    v1::WriteContentRequest open = Open("ref " + std::to_string(i));
    open.set_total(3);
    ASSERT_TRUE(streams.back()->Write(open));
    ASSERT_TRUE(streams.back()->Read(&response));
    ASSERT_TRUE(streams.back()->Write(Message(v1::WRITE, 0, "abc")));
  }
  ASSERT_TRUE(disk_.AwaitWaiting(kWorkers, Deadline::After(kLong)));
  grpc::ClientContext asking;
  asking.set_deadline(std::chrono::system_clock::now() + kLong);
  auto stat = stub_->Write(&asking);
  ASSERT_TRUE(stat->Write(Open("another ref")));
  EXPECT_TRUE(stat->Read(&response));
  stat->WritesDone();
  EXPECT_TRUE(stat->Finish().ok());
  v1::InfoResponse info;
  EXPECT_EQ(Info(preheated, &info), grpc::StatusCode::OK);
  EXPECT_EQ(Delete(preheated), grpc::StatusCode::OK);
  EXPECT_EQ(disk_.waiting(), kWorkers);
  disk_.Open();
  for (auto& stream : streams) {
    EXPECT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.offset(), 3);
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
}

TEST_F(ContentServiceTest, WaitingStatsUseUpNoWorkersAndCancelEndsThem) {
  auto grown = blobs_->Grow(Digest::Of("slow"), 4);
  ASSERT_TRUE(grown.ok());
  const std::string ref = "k8s.io/1/layer-" + Digest::Of("slow").ToString();
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<
      std::unique_ptr<grpc::ClientReaderWriter<v1::WriteContentRequest, v1::WriteContentResponse>>>
      streams;
  v1::WriteContentResponse response;
  for (int i = 0; i < 4; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(stub_->Write(contexts.back().get()));
    const std::string own = std::to_string(i) + ref;
    ASSERT_TRUE(streams.back()->Write(Open(own)));
    ASSERT_TRUE(streams.back()->Read(&response));
    EXPECT_EQ(response.offset(), 0);
    ASSERT_TRUE(streams.back()->Write(v1::WriteContentRequest()));
  }
  v1::InfoResponse info;
  EXPECT_EQ(Info(Preheat("x"), &info), grpc::StatusCode::OK);
  contexts[0]->TryCancel();
  EXPECT_EQ(streams[0]->Finish().error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(grown->blob->Write(0, std::span<const char>("slow", 4)).ok());
  for (int i = 1; i < 4; ++i) {
    ASSERT_TRUE(streams[i]->Read(&response));
    EXPECT_EQ(response.offset(), 4);
    EXPECT_EQ(response.digest(), Digest::Of("slow").ToString());
    contexts[i]->TryCancel();
    (void)streams[i]->Finish();
  }
}

TEST_F(ContentServiceTest, GarbageInsteadOfAMessageIsAnInvalidArgument) {
  grpc::ClientContext context;
  auto stream = stub_->Write(&context);
  v1::WriteContentRequest request = Open("ref");
  request.set_action(static_cast<v1::WriteAction>(9));
  ASSERT_TRUE(stream->Write(request));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ContentServiceTest, StatusTellsOfOpenIngests) {
  grpc::ClientContext writing;
  auto stream = stub_->Write(&writing);
  v1::WriteContentRequest open = Open("ref");
  open.set_total(10);
  v1::WriteContentResponse written;
  ASSERT_TRUE(stream->Write(open));
  ASSERT_TRUE(stream->Read(&written));
  ASSERT_TRUE(stream->Write(Message(v1::WRITE, 0, "abc")));
  ASSERT_TRUE(stream->Read(&written));

  grpc::ClientContext context;
  v1::StatusRequest request;
  request.set_ref("ref");
  v1::StatusResponse response;
  ASSERT_TRUE(stub_->Status(&context, request, &response).ok());
  EXPECT_EQ(response.status().offset(), 3);
  EXPECT_EQ(response.status().total(), 10);
  grpc::ClientContext listing;
  v1::ListStatusesRequest list;
  list.add_filters("ref==ref");
  v1::ListStatusesResponse listed;
  ASSERT_TRUE(stub_->ListStatuses(&listing, list, &listed).ok());
  EXPECT_EQ(listed.statuses_size(), 1);
  request.set_ref("other");
  grpc::ClientContext other;
  EXPECT_EQ(stub_->Status(&other, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  writing.TryCancel();
  (void)stream->Finish();
}

}  // namespace
}  // namespace hearth::plugin
