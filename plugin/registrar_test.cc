#include "plugin/registrar.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "plugin/image_for_test.h"
#include "plugin/scratch_store_for_test.h"

namespace hearth::plugin {
namespace {

// A containerd that has nothing and takes everything, after `refusals` calls that come too early.
class Containerd final : public ContainerdClient {
 public:
  explicit Containerd(int refusals) : refusals_(refusals) {}
  int adopted = 0;
  Status refusal = Unavailable("dial unix hearth.sock: connection refused");
  std::string image;

  void Stop() override {}
  Result<ContainerdVersion> Version() override { return ContainerdVersion{}; }
  Result<ContainerdServer> Server() override { return ContainerdServer{}; }
  Result<std::string> CreateLease(const std::string&, std::chrono::seconds) override {
    return std::string("lease");
  }
  Status DeleteLease(const std::string&, const std::string&) override { return OkStatus(); }
  Status AdoptContent(const std::string&, const std::string&, const ContentToAdopt&) override {
    if (refusals_-- > 0) return refusal;
    ++adopted;
    return OkStatus();
  }
  Result<bool> HasContent(const std::string&, const Digest&) override { return false; }
  Status AdoptSnapshot(const std::string&, const std::string&, const std::string&, const Digest&,
                       const std::optional<Digest>&) override {
    return OkStatus();
  }
  Result<bool> HasSnapshot(const std::string&, const std::string&, const std::string&) override {
    return false;
  }
  Result<uint64_t> SnapshotBytes(const std::string&, const std::string&,
                                 const std::string&) override {
    return NotFound("snapshot");
  }
  Result<std::vector<std::string>> ListNamespaces() override { return std::vector<std::string>(); }
  Result<std::vector<ImageRecord>> ListImages(const std::string&) override {
    return std::vector<ImageRecord>();
  }
  Status LabelBlob(const std::string&, const Digest&,
                   const std::map<std::string, std::string>&) override {
    return OkStatus();
  }
  Result<ImageRecord> GetImage(const std::string&, const std::string&) override {
    return NotFound("image");
  }
  Status PutImage(const std::string&, const ImageRecord& record) override {
    image = record.name;
    return OkStatus();
  }
  Status TouchImage(const std::string&, const std::string&) override { return OkStatus(); }
  Result<bool> HasPlugin(const std::string&, const std::string&) override { return true; }
  Result<std::string> NamespaceLabel(const std::string&, const std::string&) override {
    return std::string();
  }
  Status LabelNamespace(const std::string&, const std::map<std::string, std::string>&) override {
    return OkStatus();
  }

 private:
  int refusals_;
};

// Takes the bytes that a containerd with a content store of its own asks for.
class Bytes final : public HandbackClient {
 public:
  std::map<Digest, std::string> written;

  Result<std::string> ReadContent(const std::string&, const Digest&, uint64_t,
                                  const std::stop_token&) override {
    return NotFound("not asked for");
  }
  Status WriteContent(const std::string&, const std::string&, const ContentToAdopt& content,
                      store::Blob& blob, const std::stop_token& stop) override {
    std::string bytes(content.size_bytes, '\0');
    bytes.resize(TRY(blob.Read(0, bytes, stop)));
    written[content.digest] = bytes;
    return OkStatus();
  }
  Status UnpackLayer(const LayerToUnpack&, const std::stop_token&) override { return OkStatus(); }
};

class RegistrarTest : public ::testing::Test {
 protected:
  RegistrarTest() {
    resolved_.reference = oci::Reference::Parse("reg.test/lab/app:v1").value();
    resolved_.target.digest = image_.manifest_digest();
    resolved_.target.media_type = oci::kOciManifest;
    resolved_.manifests.push_back(
        {oci::Platform::Host(), resolved_.target, image_.parsed(), image_.manifest});
    layers_ = {JoinLayers(image_.manifest_digest(), image_.parsed(), image_.config).value()};
  }

  const ImageForTest image_{{"one"}};
  ScratchStore scratch_;
  Bytes bytes_;
  ResolvedImage resolved_;
  std::vector<ImageLayers> layers_;
};

TEST_F(RegistrarTest, ContainerdThatHasNotFoundARestartedNodeIsAskedAgain) {
  Containerd containerd(2);
  Registrar registrar(
      {.containerd = containerd, .bytes = bytes_, .blobs = scratch_.store().blobs()});
  const Status registered = registrar.Register(resolved_, layers_, {});
  EXPECT_TRUE(registered.ok()) << registered;
  EXPECT_EQ(containerd.adopted, 3);
  EXPECT_EQ(containerd.image, "reg.test/lab/app:v1");
}

TEST_F(RegistrarTest, ContainerdWithAStoreOfItsOwnIsGivenTheBytes) {
  Containerd containerd(1'000'000);
  containerd.refusal = FailedPrecondition("containerd asks for its bytes");
  Registrar registrar(
      {.containerd = containerd, .bytes = bytes_, .blobs = scratch_.store().blobs()});
  EXPECT_EQ(registrar.Register(resolved_, layers_, {}).code(), StatusCode::kNotFound);
  EXPECT_EQ(containerd.image, "");
  for (const std::string& blob : {image_.layers[0], image_.config, image_.manifest}) {
    scratch_.Keep(blob);
  }
  const Status registered = registrar.Register(resolved_, layers_, {});
  EXPECT_TRUE(registered.ok()) << registered;
  EXPECT_EQ(containerd.image, "reg.test/lab/app:v1");
  EXPECT_EQ(bytes_.written,
            (std::map<Digest, std::string>{{image_.layer_digest(0), image_.layers[0]},
                                           {Digest::Of(image_.config), image_.config},
                                           {image_.manifest_digest(), image_.manifest}}));
}

TEST_F(RegistrarTest, OneRefusedBlobDoesNotEndAdoptionForEver) {
  Containerd containerd(1);
  containerd.refusal = FailedPrecondition("containerd asks for its bytes");
  Registrar registrar({.containerd = containerd,
                       .bytes = bytes_,
                       .blobs = scratch_.store().blobs(),
                       .elsewhere_pause = std::chrono::milliseconds(20)});
  scratch_.Keep(image_.layers[0]);
  store::LayerInfo layer;
  layer.blob = image_.layer_digest(0);
  const auto adopt = [&] {
    std::promise<void> adopted;
    registrar.AdoptBlob("k8s.io", layer, [&] { adopted.set_value(); });
    adopted.get_future().wait();
    return containerd.adopted;
  };
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  EXPECT_EQ(adopt(), 0);
  while (adopt() == 0 && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(containerd.adopted, 1);
}

TEST_F(RegistrarTest, CancelledRegistrationDoesNotWaitForContainerd) {
  Containerd containerd(1'000'000);
  Registrar registrar(
      {.containerd = containerd, .bytes = bytes_, .blobs = scratch_.store().blobs()});
  std::stop_source stop;
  stop.request_stop();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(registrar.Register(resolved_, layers_, stop.get_token()).code(),
            StatusCode::kUnavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(15));
}

}  // namespace
}  // namespace hearth::plugin
