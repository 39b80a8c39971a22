// The Snapshots and Diff services over a Snapshotter by script.
#include "plugin/snapshot_service.h"

#include <grpcpp/channel.h>
#include <gtest/gtest.h>

#include <future>

#include "containerd/services/diff/v1/diff.grpc.pb.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "net/grpc.h"
#include "plugin/diff_service.h"
#include "store/faulty.h"

namespace hearth::plugin {
namespace {

namespace v1 = containerd::services::snapshots::v1;
namespace diff = containerd::services::diff::v1;

const std::vector<Mount> kMounts = {{"overlay", "overlay", "", {"lowerdir=/b:/a", "ro"}}};

store::SnapshotInfo Snapshot(std::string name, store::SnapshotKind kind, store::Labels labels) {
  store::SnapshotInfo info;
  info.name = std::move(name);
  info.kind = kind;
  info.labels = std::move(labels);
  info.created = FromUnixNanos(1'700'000'000'123'456'789);
  info.updated = FromUnixNanos(-1);
  return info;
}

class ScriptedSnapshotter final : public Snapshotter {
 public:
  void Prepare(PrepareRequest request, std::stop_token stop,
               std::function<void(Result<std::vector<Mount>>)> done) override {
    if (request.key == "there") return done(AlreadyExists("chain is there"));
    if (request.key == "now") return done(kMounts);
    // Waits without a thread until the client goes away.
    waiting_ = std::make_unique<std::stop_callback<std::function<void()>>>(
        stop, [done] { done(Cancelled("stopped")); });
    began.set_value();
  }
  void View(PrepareRequest, std::stop_token,
            std::function<void(Result<std::vector<Mount>>)> done) override {
    done(kMounts);
  }
  void Mounts(std::string, std::stop_token,
              std::function<void(Result<std::vector<Mount>>)> done) override {
    done(kMounts);
  }
  Status Commit(const std::string& name, const std::string& key,
                const store::Labels& labels) override {
    return FailedPrecondition(name + " " + key + " " + std::to_string(labels.size()));
  }
  Status Remove(const std::string& key) override { return NotFound(key); }
  Result<store::SnapshotInfo> Stat(const std::string& key) override {
    return Snapshot(key, store::SnapshotKind::kCommitted, {{"k", "v"}});
  }
  Result<store::SnapshotInfo> UpdateLabels(const std::string& key, const store::Labels& labels,
                                           bool replace) override {
    return Snapshot(key + (replace ? " replaced" : " changed"), store::SnapshotKind::kActive,
                    labels);
  }
  Status List(const std::function<bool(const store::SnapshotInfo&)>& visit) override {
    for (int i = 0; i < 250; ++i) {
      const auto kind = i == 7 ? store::SnapshotKind::kView : store::SnapshotKind::kActive;
      if (!visit(Snapshot(std::to_string(i), kind, {}))) break;
    }
    return OkStatus();
  }
  Result<store::SnapshotUsage> Usage(const std::string&) override {
    return store::SnapshotUsage{4096, 3};
  }
  Status Cleanup(std::stop_token) override { return OkStatus(); }
  void Apply(ApplyRequest request, std::stop_token,
             std::function<void(Result<Applied>)> done) override {
    if (request.media_type == "odd") return done(Unimplemented("odd media type"));
    EXPECT_EQ(request.mounts.size(), 1u);
    EXPECT_EQ(request.mounts[0].options, kMounts[0].options);
    done(Applied{Digest::Of("tar"), 3});
  }

  std::promise<void> began;

 private:
  std::unique_ptr<std::stop_callback<std::function<void()>>> waiting_;
};

class SnapshotServiceTest : public testing::Test {
 protected:
  SnapshotServiceTest() {
    net::GrpcServer::Options options;
    options.socket = scratch_.path() / "h.sock";
    options.services = {snapshots_.service(), diff_.service()};
    auto server = net::GrpcServer::Start(std::move(options));
    CHECK(server.ok());
    server_ = std::move(*server);
    auto channel = net::MakeUnixChannel(scratch_.path() / "h.sock");
    stub_ = v1::Snapshots::NewStub(channel);
    diff_stub_ = diff::Diff::NewStub(channel);
  }

  store::Scratch scratch_;
  ScriptedSnapshotter snapshotter_;
  ThreadPool workers_{{.name = "test-workers", .threads = 1}};
  ThreadPool quick_{{.name = "test-quick", .threads = 1}};
  SnapshotService snapshots_{{snapshotter_, workers_, quick_}};
  DiffService diff_{{snapshotter_, workers_}};
  std::unique_ptr<net::GrpcServer> server_;
  std::unique_ptr<v1::Snapshots::Stub> stub_;
  std::unique_ptr<diff::Diff::Stub> diff_stub_;
};

TEST_F(SnapshotServiceTest, PrepareGivesMountsOrSaysThatTheLayerIsThere) {
  v1::PrepareSnapshotRequest request;
  v1::PrepareSnapshotResponse response;
  request.set_key("now");
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Prepare(&context, request, &response).ok());
  ASSERT_EQ(response.mounts_size(), 1);
  EXPECT_EQ(response.mounts(0).type(), "overlay");
  EXPECT_EQ(response.mounts(0).options(1), "ro");
  request.set_key("there");
  grpc::ClientContext again;
  const auto status = stub_->Prepare(&again, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(status.error_message(), "chain is there");
}

TEST_F(SnapshotServiceTest, WaitingPrepareHoldsNoWorkerAndEndsWithItsClient) {
  grpc::ClientContext context;
  auto prepared = std::async(std::launch::async, [&] {
    v1::PrepareSnapshotRequest request;
    request.set_key("slow");
    v1::PrepareSnapshotResponse response;
    return stub_->Prepare(&context, request, &response).error_code();
  });
  snapshotter_.began.get_future().wait();
  grpc::ClientContext other;
  v1::UsageResponse usage;
  ASSERT_TRUE(stub_->Usage(&other, v1::UsageRequest(), &usage).ok());
  EXPECT_EQ(usage.size(), 4096);
  EXPECT_EQ(usage.inodes(), 3);
  context.TryCancel();
  EXPECT_EQ(prepared.get(), grpc::StatusCode::CANCELLED);
}

TEST_F(SnapshotServiceTest, StatKeepsNanosecondsAlsoBefore1970) {
  grpc::ClientContext context;
  v1::StatSnapshotRequest request;
  request.set_key("s");
  v1::StatSnapshotResponse response;
  ASSERT_TRUE(stub_->Stat(&context, request, &response).ok());
  EXPECT_EQ(response.info().kind(), v1::COMMITTED);
  EXPECT_EQ(response.info().labels().at("k"), "v");
  EXPECT_EQ(response.info().created_at().seconds(), 1'700'000'000);
  EXPECT_EQ(response.info().created_at().nanos(), 123'456'789);
  EXPECT_EQ(response.info().updated_at().seconds(), -1);
  EXPECT_EQ(response.info().updated_at().nanos(), 999'999'999);
}

TEST_F(SnapshotServiceTest, UpdateTranslatesTheMask) {
  v1::UpdateSnapshotRequest request;
  request.mutable_info()->set_name("s");
  v1::UpdateSnapshotResponse response;
  grpc::ClientContext all;
  ASSERT_TRUE(stub_->Update(&all, request, &response).ok());
  EXPECT_EQ(response.info().name(), "s replaced");
  request.mutable_update_mask()->add_paths("labels.gone");
  grpc::ClientContext one;
  ASSERT_TRUE(stub_->Update(&one, request, &response).ok());
  EXPECT_EQ(response.info().name(), "s changed");
  EXPECT_EQ(response.info().labels().at("gone"), "");
  request.mutable_update_mask()->add_paths("parent");
  grpc::ClientContext wrong;
  EXPECT_EQ(stub_->Update(&wrong, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(SnapshotServiceTest, ListFiltersAndComesInBlocks) {
  v1::ListSnapshotsRequest request;
  v1::ListSnapshotsResponse message;
  grpc::ClientContext context;
  auto stream = stub_->List(&context, request);
  int infos = 0;
  while (stream->Read(&message)) {
    EXPECT_LE(message.info_size(), 100);
    infos += message.info_size();
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(infos, 250);
  request.add_filters("kind==view");
  grpc::ClientContext views;
  stream = stub_->List(&views, request);
  ASSERT_TRUE(stream->Read(&message));
  ASSERT_EQ(message.info_size(), 1);
  EXPECT_EQ(message.info(0).name(), "7");
  EXPECT_FALSE(stream->Read(&message));
  EXPECT_TRUE(stream->Finish().ok());
  request.add_filters("kind=view");
  grpc::ClientContext wrong;
  stream = stub_->List(&wrong, request);
  EXPECT_FALSE(stream->Read(&message));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(SnapshotServiceTest, ErrorsKeepCodeAndText) {
  google::protobuf::Empty empty;
  v1::CommitSnapshotRequest commit;
  commit.set_name("n");
  commit.set_key("k");
  (*commit.mutable_labels())["a"] = "b";
  grpc::ClientContext context;
  auto status = stub_->Commit(&context, commit, &empty);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "n k 1");
  v1::RemoveSnapshotRequest remove;
  remove.set_key("k");
  grpc::ClientContext removing;
  EXPECT_EQ(stub_->Remove(&removing, remove, &empty).error_code(), grpc::StatusCode::NOT_FOUND);
  grpc::ClientContext cleaning;
  EXPECT_TRUE(stub_->Cleanup(&cleaning, v1::CleanupRequest(), &empty).ok());
}

TEST_F(SnapshotServiceTest, ApplyAnswersWithTheDiffIdAndLeavesTheRestToOthers) {
  diff::ApplyRequest request;
  auto* mount = request.add_mounts();
  mount->set_type("overlay");
  for (const auto& option : kMounts[0].options) mount->add_options(option);
  diff::ApplyResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(diff_stub_->Apply(&context, request, &response).ok());
  EXPECT_EQ(response.applied().digest(), Digest::Of("tar").ToString());
  EXPECT_EQ(response.applied().size(), 3);
  EXPECT_EQ(response.applied().media_type(), "application/vnd.oci.image.layer.v1.tar");
  request.mutable_diff()->set_media_type("odd");
  grpc::ClientContext odd;
  EXPECT_EQ(diff_stub_->Apply(&odd, request, &response).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  diff::DiffResponse made;
  grpc::ClientContext diffing;
  const auto status = diff_stub_->Diff(&diffing, diff::DiffRequest(), &made);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_NE(status.error_message().find("walking"), std::string::npos);
}

}  // namespace
}  // namespace hearth::plugin
