#include "plugin/image_repair.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "net/http_client.h"
#include "plugin/image_for_test.h"

namespace hearth::plugin {
namespace {

using testing::HasSubstr;

// containerd's own content store; the sizes are those of its records.
class FakeInventory final : public InventoryClient {
 public:
  std::map<Digest, std::string> blobs;
  std::vector<uint64_t> offsets;  // from which blobs were read
  std::function<void()> meanwhile = [] {};

  Status ReadContent(const std::string& /*ns*/, const ContentRecord& content, uint64_t offset_bytes,
                     const std::function<Status(std::span<const char>)>& take,
                     std::stop_token stop) override {
    offsets.push_back(offset_bytes);
    const auto found = blobs.find(content.digest);
    if (found == blobs.end()) return NotFound("no such content");
    meanwhile();
    if (stop.stop_requested()) return Cancelled("stopped");
    const std::span<const char> bytes(found->second);
    TRY_STATUS(take(bytes.subspan(std::min<uint64_t>(offset_bytes, bytes.size()))));
    return bytes.size() < content.size_bytes ? DataLoss("it ends early") : OkStatus();
  }
  Result<std::vector<ContentRecord>> Content(const std::string&, std::stop_token) override {
    return Unimplemented("not asked");
  }
  Result<std::vector<SnapshotRecord>> Snapshots(const std::string&, const std::string&,
                                                std::stop_token) override {
    return Unimplemented("not asked");
  }
  Result<std::vector<ContainerRecord>> Containers(const std::string&, std::stop_token) override {
    return Unimplemented("not asked");
  }
};

// An imported image whose layers were lost: no registry has it.
class ImageRepairTest : public ::testing::Test {
 protected:
  ImageRepairTest() {
    char name[] = "/tmp/hearth-image-repair-XXXXXX";
    root_ = ::mkdtemp(name);
    store_ = store::Store::Open({.root = root_, .cpu_pool = cpu_}).value();
    swarm_.emplace(p2p::Swarm::Options{.blobs = store_->blobs(), .registry = registry_});
    builder_.emplace(LayerBuilder::Options{.store = *store_, .swarm = *swarm_});
    chains_.emplace(ChainIndex::Options{.blobs = store_->blobs(), .kv = store_->kv()});
    resolver_.emplace(registry_, store_->blobs());
    ns_.name = "k8s.io";
    Record(image_.manifest);
    Record(image_.config);
    for (size_t i = 0; i < image_.layers.size(); ++i) {
      Record(image_.layers[i]);
      survey_.lost_chains.insert(image_.chain(i));
    }
  }
  ~ImageRepairTest() override {
    swarm_->Stop();
    builder_->Stop();
    builder_.reset();
    swarm_.reset();
    chains_.reset();
    store_.reset();
    EXPECT_TRUE(RemoveTree(root_).ok());
  }

  void Record(const std::string& bytes) {
    const Digest digest = Digest::Of(bytes);
    ns_.content[digest] = {.digest = digest, .size_bytes = bytes.size(), .labels = {}};
    inventory_.blobs[digest] = bytes;
  }
  Status Run(const std::stop_token& stop = {}) {
    return Run(image_.manifest, oci::kOciManifest, stop);
  }
  Status Run(const std::string& root, std::string_view media_type,
             const std::stop_token& stop = {}) {
    const RepairParts parts = {*store_, *resolver_, *swarm_, *builder_, *chains_, inventory_};
    ImageRepair repair(parts, survey_, ns_, {}, [](uint64_t) {});
    ImageRecord record;
    record.name = "imported:v1";
    record.media_type = std::string(media_type);
    record.digest = Digest::Of(root);
    record.size_bytes = root.size();
    return repair.Run(record, stop);
  }
  bool Has(size_t layer) { return store_->snapshots().FindLayer(image_.chain(layer)).ok(); }

  const ImageForTest image_{{"one", "two"}};
  std::filesystem::path root_;
  ThreadPool cpu_{{.name = "cpu", .threads = 2}};
  std::unique_ptr<net::HttpClient> http_ = net::HttpClient::Create({}).value();
  oci::Registry registry_{*http_, RealClock(), {}};
  FakeInventory inventory_;
  RepairSurvey survey_;
  SurveyedNamespace ns_;
  std::unique_ptr<store::Store> store_;
  std::optional<p2p::Swarm> swarm_;
  std::optional<LayerBuilder> builder_;
  std::optional<ChainIndex> chains_;
  std::optional<ImageResolver> resolver_;
};

TEST_F(ImageRepairTest, WhatContainerdKeepsItselfComesFromThere) {
  const Status repaired = Run();
  EXPECT_TRUE(repaired.ok()) << repaired;
  EXPECT_TRUE(Has(0) && Has(1));
  EXPECT_EQ(inventory_.offsets.size(), 4u) << "each once";
}

TEST_F(ImageRepairTest, OurOwnContentStoreIsNotAskedThroughContainerd) {
  survey_.content_is_ours = true;
  EXPECT_EQ(Run().code(), StatusCode::kNotFound);
  EXPECT_TRUE(inventory_.offsets.empty());
}

TEST_F(ImageRepairTest, ACopyThatEndsEarlyOrIsWrongIsNamed) {
  std::string& copy = inventory_.blobs[image_.layer_digest(1)];
  copy.resize(copy.size() / 2);
  Status repaired = Run();
  EXPECT_THAT(repaired.message(), HasSubstr("it ends early"));
  EXPECT_THAT(repaired.message(), HasSubstr(image_.layer_digest(1).ToString()));
  EXPECT_FALSE(Has(1));
  copy = image_.layers[1];
  copy[600] ^= 1;
  repaired = Run();
  EXPECT_EQ(repaired.code(), StatusCode::kDataLoss) << repaired;
  EXPECT_FALSE(Has(1));
  copy = image_.layers[1];
  repaired = Run();
  EXPECT_TRUE(repaired.ok()) << repaired;
  EXPECT_TRUE(Has(1));
}

TEST_F(ImageRepairTest, AManifestThatIsGoneIsNamedAndStopsNoOther) {
  const std::string gone = "{}";
  const nlohmann::json index = {{"schemaVersion", 2},
                                {"mediaType", oci::kOciIndex},
                                {"manifests",
                                 {{{"mediaType", oci::kOciManifest},
                                   {"digest", image_.manifest_digest().ToString()},
                                   {"size", image_.manifest.size()}},
                                  {{"mediaType", oci::kOciManifest},
                                   {"digest", Digest::Of(gone).ToString()},
                                   {"size", gone.size()}}}}};
  const std::string bytes = index.dump();
  Record(bytes);
  Record(gone);
  inventory_.blobs.erase(Digest::Of(gone));
  const Status repaired = Run(bytes, oci::kOciIndex);
  EXPECT_THAT(repaired.message(), HasSubstr(Digest::Of(gone).ToString()));
  EXPECT_TRUE(Has(0) && Has(1));
}

TEST_F(ImageRepairTest, AnInterruptIsNoLackOfOrigins) {
  std::stop_source stop;
  inventory_.meanwhile = [&] { stop.request_stop(); };
  EXPECT_EQ(Run(stop.get_token()).code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace hearth::plugin
