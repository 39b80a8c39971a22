#include "plugin/unpacker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <string>

#include "plugin/tar_maker.h"
#include "plugin/unpack_for_test.h"

namespace hearth::plugin {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(UnpackTest, DiffIdIsOfTheWholeStreamWithWhatFollowsTheEndMarker) {
  const std::string tar = TarMaker().Directory("d").File("d/f", "body").End() +
                          std::string(9 * 1024, '\0') + std::string(700'000, 'x');
  for (const std::string& bytes : {tar, GzipOf(tar), ZstdOf(tar)}) {
    StringSource source(bytes, 5000);
    UnpackOptions options;
    options.root = root_;
    options.ring_buffers = 2;
    const auto unpacked = Unpack(source, options, {});
    ASSERT_TRUE(unpacked.ok()) << unpacked.status();
    EXPECT_EQ(unpacked->diff_id, Digest::Of(tar));
    EXPECT_EQ(unpacked->tar_bytes, tar.size());
    EXPECT_TRUE(source.drained());
    EXPECT_THAT(Tree(), ElementsAre("d d 755 0:0", "d/f - 644 0:0 4 'body'"));
  }
}

TEST_F(UnpackTest, EmptyStreamsAndArchivesAreEmptyLayers) {
  for (const std::string& bytes : {std::string(), TarMaker().End(), GzipOf("")}) {
    const auto unpacked = UnpackBytes(bytes);
    ASSERT_TRUE(unpacked.ok()) << unpacked.status();
    EXPECT_EQ(unpacked->inodes, 1u);
    EXPECT_THAT(Tree(), ElementsAre());
  }
}

TEST_F(UnpackTest, CorruptAndTruncatedStreamsAreDataLoss) {
  const std::string tar = TarMaker()
                              .File("a", std::string(3000, 'a'))
                              .Add({.name = "b", .pax = {{"path", "long"}}})
                              .End();
  std::string checksum = tar;
  checksum[512 + 3072 + 150] ^= 1;
  const std::string zip = GzipOf(tar);
  for (const std::string& bytes :
       {tar.substr(0, 100), tar.substr(0, 512 + 1000), tar.substr(0, 512 + 3072 + 300), checksum,
        zip.substr(0, zip.size() - 3), std::string(2000, 'x'),
        TarMaker().Add({.name = "p", .type = 'x', .body = "garbage"}).File("f").End(),
        GzipOf(tar.substr(0, 700))}) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directory(root_);
    const auto unpacked = UnpackBytes(bytes);
    EXPECT_EQ(unpacked.status().code(), StatusCode::kDataLoss) << unpacked.status();
  }
}

TEST_F(UnpackTest, AFullDiskIsResourceExhausted) {
  // A file-size limit stands in for the full disk: the write that does not fit fails half-way.
  rlimit saved{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &saved), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = saved;
  small.rlim_cur = 1 << 20;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto unpacked = UnpackBytes(TarMaker().File("big", std::string(3 << 20, 'b')).End());
  ::setrlimit(RLIMIT_FSIZE, &saved);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(unpacked.ok());
  EXPECT_THAT(unpacked.status().message(), HasSubstr("big"));
}

TEST_F(UnpackTest, StopEndsTheUnpackThoughTheSourceGoesOn) {
  // Endless zeros in one file; stops when asked, not before.
  class Endless final : public ByteSource {
   public:
    explicit Endless(std::stop_source& stop) : stop_(stop) {}
    Result<size_t> Read(std::span<char> out) override {
      if (++reads_ == 1) {
        TarMember header{.name = "x", .pax = {{"size", "9000000000000"}}};
        const std::string tar = TarMaker().Add(header).bytes();
        std::memcpy(out.data(), tar.data(), tar.size());
        return tar.size();
      }
      if (reads_ == 40) stop_.request_stop();
      std::memset(out.data(), 0, out.size());
      return out.size();
    }

   private:
    std::stop_source& stop_;
    int reads_ = 0;
  };
  std::stop_source stop;
  Endless source(stop);
  UnpackOptions options;
  options.root = root_;
  options.compression = Compression::kNone;
  EXPECT_EQ(Unpack(source, options, stop.get_token()).status().code(), StatusCode::kCancelled);
}

TEST_F(UnpackTest, TheSourcesErrorIsTheUnpacks) {
  StringSource source(TarMaker().File("f", std::string(5000, 'x')).bytes(), 1000,
                      Unavailable("peer went away"));
  UnpackOptions options;
  options.root = root_;
  const auto unpacked = Unpack(source, options, {});
  EXPECT_EQ(unpacked.status().code(), StatusCode::kUnavailable) << unpacked.status();
}

TEST(CompressionOf, KnowsLayerMediaTypes) {
  EXPECT_EQ(*CompressionOf("application/vnd.oci.image.layer.v1.tar"), Compression::kNone);
  EXPECT_EQ(*CompressionOf("application/vnd.oci.image.layer.v1.tar+gzip"), Compression::kGzip);
  EXPECT_EQ(*CompressionOf("application/vnd.oci.image.layer.v1.tar+zstd"), Compression::kZstd);
  EXPECT_EQ(*CompressionOf("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
            Compression::kGzip);
  EXPECT_EQ(*CompressionOf("application/vnd.docker.image.rootfs.diff.tar.gzip"),
            Compression::kGzip);
  EXPECT_EQ(*CompressionOf("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
            Compression::kGzip);
  EXPECT_EQ(*CompressionOf("application/vnd.docker.image.rootfs.diff.tar"), Compression::kDetect);
  for (const char* other : {"", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                            "application/vnd.oci.image.config.v1+json"}) {
    EXPECT_EQ(CompressionOf(other).status().code(), StatusCode::kUnimplemented);
  }
}

}  // namespace
}  // namespace hearth::plugin
