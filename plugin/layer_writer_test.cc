#include "plugin/layer_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "plugin/tar_maker.h"
#include "plugin/unpack_for_test.h"

namespace hearth::plugin {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using LayerWriterTest = UnpackTest;

timespec MtimeOf(const std::filesystem::path& path) {
  struct stat info {};
  EXPECT_EQ(::lstat(path.c_str(), &info), 0);
  return info.st_mtim;
}

TEST_F(LayerWriterTest, SetsEveryAttribute) {
  const std::string capability(
      "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);
  TarMember suid{.name = "suid", .body = "x", .mode = 06755, .uid = 1000, .gid = 1001};
  TarMember cap{.name = "cap",
                .mode = 0755,
                .uid = 5,
                .pax = {{"SCHILY.xattr.security.capability", capability},
                        {"SCHILY.xattr.user.note", "hi"},
                        {"SCHILY.xattr.trusted.overlay.opaque", "y"},
                        {"mtime", "1600000001.123456789"}}};
  TarMember group{.name = "group", .type = '5', .mode = 02775, .gid = 7};
  TarMember sticky{.name = "tmp", .type = '5', .mode = 01777};
  TarMember device{.name = "null", .type = '3', .mode = 0666, .device_major = 1, .device_minor = 3};
  TarMember block{.name = "sda", .type = '4', .mode = 0660, .gid = 6, .device_major = 8};
  TarMember fifo{.name = "fifo", .type = '6', .mode = 0600, .uid = 9};
  TarMember link{.name = "link",
                 .type = '2',
                 .link = "../../nowhere",
                 .uid = 3,
                 .gid = 4,
                 .pax = {{"SCHILY.xattr.user.no", "links take none"}}};
  const auto unpacked = UnpackBytes(TarMaker()
                                        .Add(group)
                                        .Add(sticky)
                                        .File("group/inside")
                                        .Directory("group/below")
                                        .Add(suid)
                                        .Add(cap)
                                        .Add(device)
                                        .Add(block)
                                        .Add(fifo)
                                        .Add(link)
                                        .End());
  ASSERT_TRUE(unpacked.ok()) << unpacked.status();
  EXPECT_THAT(
      Tree(),
      ElementsAre(
          "cap - 755 5:0 0 '' security.capability=" +
              ToHex({reinterpret_cast<const uint8_t*>(capability.data()), 20}) + " user.note=6869",
          "fifo p 600 9:0", "group d 2775 0:7", "group/below d 755 0:0",
          "group/inside - 644 0:0 0 ''", "link l 3:4 -> ../../nowhere", "null c 666 0:0 1:3",
          "sda b 660 0:6 8:0", "suid - 6755 1000:1001 1 'x'", "tmp d 1777 0:0"));
  EXPECT_EQ(MtimeOf(root_ / "cap").tv_nsec, 123456789);
  EXPECT_EQ(MtimeOf(root_ / "cap").tv_sec, 1600000001);
  for (const char* name : {"group", "group/below", "link", "fifo", "null", "suid"}) {
    EXPECT_EQ(MtimeOf(root_ / name).tv_sec, 1'600'000'000) << name;
  }
}

TEST_F(LayerWriterTest, NamesAreBytes) {
  const std::string decomposed = "cafe\xcc\x81";  // would be another file once normalized
  const std::string latin = "caf\xe9";
  const std::string deep = std::string(120, 'd') + "/" + std::string(200, 'f');
  const auto unpacked =
      UnpackBytes(TarMaker()
                      .Add({.name = "x", .pax = {{"path", decomposed}}})
                      .Add({.name = "x", .pax = {{"path", latin}}})
                      .Add({.name = "x", .pax = {{"path", deep}}})
                      .Add({.name = "././@LongLink", .type = 'L', .body = "gnu/" + latin})
                      .File("gnu")
                      .Add({.name = "l", .type = '2', .pax = {{"linkpath", decomposed}}})
                      .Add({.name = "h", .type = '1', .pax = {{"linkpath", latin}}})
                      .End());
  ASSERT_TRUE(unpacked.ok()) << unpacked.status();
  for (const std::string& name : {decomposed, latin, deep, "gnu/" + latin}) {
    EXPECT_TRUE(std::filesystem::exists(root_ / name)) << name;
  }
  EXPECT_EQ(std::filesystem::read_symlink(root_ / "l").string(), decomposed);
  EXPECT_EQ(Describe(root_ / "h"), "- 644 0:0 0 '' linked");
}

TEST_F(LayerWriterTest, LinksBeyondAsciiThatGoWritesWithAnEmptyUstarField) {
  // So many that some of their headers lie across two buffers.
  TarMaker tar;
  for (int i = 0; i < 1000; ++i) {
    tar.Add({.name = "l" + std::to_string(i),
             .type = '2',
             .pax = {{"linkpath", "\xe6\x97\xa5" + std::to_string(i)}}});
  }
  ASSERT_TRUE(UnpackBytes(tar.End()).ok());
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(std::filesystem::read_symlink(root_ / ("l" + std::to_string(i))).string(),
              "\xe6\x97\xa5" + std::to_string(i));
  }
}

struct TreeCase {
  const char* what;
  std::string tar;
  std::vector<std::string> want;
};

TEST_F(LayerWriterTest, NoNameLeavesTheRoot) {
  const std::string outside = (scratch_.path() / "above").string();
  const TreeCase cases[] = {
      {"dots",
       TarMaker().File("../../canary", "a").File("x/../../canary2").End(),
       {"canary - 644 0:0 1 'a'", "canary2 - 644 0:0 0 ''"}},
      {"absolute", TarMaker().File("/etc/f").End(), {"etc d 755 0:0", "etc/f - 644 0:0 0 ''"}},
      {"the root itself",
       TarMaker().Directory("./", 0700).Directory("..", 0700).Symlink("/", "x").End(),
       {}},
      {"absolute link", TarMaker().Symlink("out", outside).File("out/canary", "dead").End(), {}},
      {"relative link",
       TarMaker().Symlink("out", "../..").File("out/canary", "dead").End(),
       {"canary - 644 0:0 4 'dead'", "out l 0:0 -> ../.."}},
      {"chain of links",
       TarMaker()
           .Directory("a")
           .Symlink("a/one", "../two")
           .Symlink("two", "../../..")
           .File("a/one/canary")
           .End(),
       {"a d 755 0:0", "a/one l 0:0 -> ../two", "canary - 644 0:0 0 ''", "two l 0:0 -> ../../.."}},
      {"link replaced by a file",
       TarMaker().Symlink("canary", "../canary").File("canary", "b").End(),
       {"canary - 644 0:0 1 'b'"}},
      {"link replaced by a directory",
       TarMaker().Symlink("d", "..").Directory("d", 0700).File("d/canary").End(),
       {"d d 700 0:0", "d/canary - 644 0:0 0 ''"}},
      {"device behind a link",
       TarMaker().Symlink("out", "../..").Add({.name = "out/canary", .type = '3'}).End(),
       {"canary c 644 0:0 0:0", "out l 0:0 -> ../.."}},
      {"hard link to a link",
       TarMaker().Symlink("l", "../canary").HardLink("h", "l").End(),
       {"h l 0:0 -> ../canary", "l l 0:0 -> ../canary"}},
      {"hard link by dots",
       TarMaker().File("canary", "in").HardLink("h", "../../../canary").End(),
       {"canary - 644 0:0 2 'in' linked", "h - 644 0:0 2 'in' linked"}},
      {"whiteout behind a link",
       TarMaker().Symlink("out", "../..").File("out/.wh.canary").End(),
       {"canary c 0 0:0 0:0", "out l 0:0 -> ../.."}},
  };
  for (const TreeCase& one : cases) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directory(root_);
    const auto unpacked = UnpackBytes(one.tar);
    EXPECT_TRUE(unpacked.ok()) << one.what << ": " << unpacked.status();
    if (std::string(one.what) == "absolute link") {
      EXPECT_TRUE(std::filesystem::exists(root_.string() + outside + "/canary"));
    } else {
      EXPECT_EQ(Tree(), one.want) << one.what;
    }
    EXPECT_EQ(Canaries(), canaries_) << one.what;
  }
}

TEST_F(LayerWriterTest, LaterEntriesReplaceOrMerge) {
  const TreeCase cases[] = {
      {"file over file",
       TarMaker().File("f", "long body").File("f", "b", 0600).End(),
       {"f - 600 0:0 1 'b'"}},
      {"file over directory", TarMaker().File("d/x").File("d", "b").End(), {"d - 644 0:0 1 'b'"}},
      {"directory over file",
       TarMaker().File("d").Directory("d").File("d/x").End(),
       {"d d 755 0:0", "d/x - 644 0:0 0 ''"}},
      {"directory again",
       TarMaker()
           .Directory("d", 02775)
           .File("d/x")
           .Add({.name = "d", .type = '5', .mode = 0711, .uid = 4})
           .End(),
       {"d d 711 4:0", "d/x - 644 0:0 0 ''"}},
      {"directory after what is in it",
       TarMaker().File("d/x").Directory("d", 0700).End(),
       {"d d 700 0:0", "d/x - 644 0:0 0 ''"}},
      {"file over one name of two",
       TarMaker().File("a", "1").HardLink("b", "a").File("a", "2").End(),
       {"a - 644 0:0 1 '2'", "b - 644 0:0 1 '1'"}},
      {"through a link",
       TarMaker()
           .Directory("usr/lib")
           .Symlink("lib", "usr/lib")
           .File("lib/x")
           .Directory("lib/y")
           .End(),
       {"lib l 0:0 -> usr/lib", "usr d 755 0:0", "usr/lib d 755 0:0", "usr/lib/x - 644 0:0 0 ''",
        "usr/lib/y d 755 0:0"}},
      {"through a link to nothing yet",
       TarMaker().Symlink("lib", "/usr/lib").File("lib/x").End(),
       {"lib l 0:0 -> /usr/lib", "usr d 755 0:0", "usr/lib d 755 0:0", "usr/lib/x - 644 0:0 0 ''"}},
      {"link that changes",
       TarMaker()
           .Directory("a")
           .Directory("b")
           .Symlink("l", "a")
           .File("l/x")
           .Symlink("l", "b")
           .File("l/y")
           .End(),
       {"a d 755 0:0", "a/x - 644 0:0 0 ''", "b d 755 0:0", "b/y - 644 0:0 0 ''", "l l 0:0 -> b"}},
      {"hard link takes its header's attributes",
       TarMaker()
           .File("a", "1")
           .Add({.name = "b", .type = '1', .link = "a", .mode = 0751, .uid = 8})
           .End(),
       {"a - 751 8:0 1 '1' linked", "b - 751 8:0 1 '1' linked"}},
      {"a global header over a file",
       TarMaker().File("f").File("g").Add({.name = "f", .type = 'g'}).End(),
       {"g - 644 0:0 0 ''"}},
      {"a global header in a directory",
       TarMaker().Add({.name = "d/g", .type = 'g'}).End(),
       {"d d 755 0:0"}},
      {"file after its whiteout",
       TarMaker().File(".wh.f").File("f", "b").End(),
       {"f - 644 0:0 1 'b'"}},
  };
  for (const TreeCase& one : cases) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directory(root_);
    const auto unpacked = UnpackBytes(one.tar);
    EXPECT_TRUE(unpacked.ok()) << one.what << ": " << unpacked.status();
    EXPECT_EQ(Tree(), one.want) << one.what;
    struct stat info {};
    uint64_t inodes = 1;
    uint64_t bytes = 0;
    std::vector<ino_t> seen;
    ::lstat(root_.c_str(), &info);
    bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root_)) {
      ::lstat(entry.path().c_str(), &info);
      if (std::find(seen.begin(), seen.end(), info.st_ino) != seen.end()) continue;
      seen.push_back(info.st_ino);
      ++inodes;
      bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    }
    EXPECT_EQ(unpacked->inodes, inodes) << one.what;
    EXPECT_EQ(unpacked->disk_bytes, bytes) << one.what;
  }
}

TEST_F(LayerWriterTest, WhiteoutsBecomeWhatOverlayfsWants) {
  const auto unpacked = UnpackBytes(TarMaker()
                                        .Add({.name = "a/.wh.gone", .uid = 3})
                                        .Directory("o", 0700)
                                        .File("o/kept")
                                        .File("o/.wh..wh..opq")
                                        .File(".wh..wh.plnk")
                                        .End());
  ASSERT_TRUE(unpacked.ok()) << unpacked.status();
  EXPECT_THAT(Tree(),
              ElementsAre(".wh.plnk c 0 0:0 0:0", "a d 755 0:0", "a/gone c 0 3:0 0:0",
                          "o d 700 0:0 trusted.overlay.opaque=79", "o/kept - 644 0:0 0 ''"));
}

TEST_F(LayerWriterTest, WhiteoutsInTheBottomLayerRemove) {
  const auto unpacked = UnpackBytes(TarMaker()
                                        .File("gone/x")
                                        .File("f", "1")
                                        .File("implied/deep/x")
                                        .File("implied/listed")
                                        .File(".wh.gone")
                                        .File(".wh.never")
                                        .File("implied/.wh..wh..opq")
                                        .End(),
                                    /*bottom=*/true);
  ASSERT_TRUE(unpacked.ok()) << unpacked.status();
  EXPECT_THAT(Tree(), ElementsAre("f - 644 0:0 1 '1'", "implied d 755 0:0",
                                  "implied/listed - 644 0:0 0 ''"));
}

TEST_F(LayerWriterTest, RefusesWhatContainerdRefuses) {
  std::string deep = std::string(250, 'd');
  for (int i = 0; i < 8; ++i) deep += "/" + std::string(250, 'd');
  const struct {
    const char* what;
    std::string tar;
    const char* says;
  } cases[] = {
      {"below a file", TarMaker().File("f").File("f/x").End(), "f"},
      {"whiteout of this layer's own", TarMaker().File("f").File(".wh.f").End(), "same layer"},
      {"two whiteouts", TarMaker().File(".wh.f").File(".wh.f").End(), "same layer"},
      {"whiteout of nothing", TarMaker().File("d/.wh.").End(), "whiteout"},
      {"whiteout of dot", TarMaker().File("d/.wh..").End(), "whiteout"},
      {"whiteout of the parent", TarMaker().File("d/.wh...").End(), "whiteout"},
      {"hard link to nothing", TarMaker().HardLink("h", "nothing").End(), "nothing"},
      {"hard link into nothing", TarMaker().HardLink("h", "no/thing").End(), "no/thing"},
      {"hard link to a directory", TarMaker().Directory("d").HardLink("h", "d").End(), "directory"},
      {"hard link to the parent", TarMaker().HardLink("h", "..").End(), "directory"},
      {"hard link to itself", TarMaker().File("h").HardLink("h", "h").End(), "h"},
      {"hard link outside", TarMaker().HardLink("h", "../canary").End(), "canary"},
      {"links in a circle", TarMaker().Symlink("a", "b").Symlink("b", "a").File("a/x").End(),
       "links"},
      {"a name too long",
       TarMaker().Add({.name = "x", .pax = {{"path", std::string(300, 'n')}}}).End(), "name"},
      {"a path above 4 KiB",
       TarMaker().Add({.name = "x", .pax = {{"path", deep + "/" + deep}}}).End(), "too long"},
      {"a path above 4 KiB by a link",
       TarMaker()
           .Add({.name = "l", .type = '2', .pax = {{"linkpath", deep}}})
           .Add({.name = "x", .pax = {{"path", "l/" + deep}}})
           .End(),
       "too long"},
      {"an xattr without a name",
       TarMaker().Add({.name = "f", .pax = {{"SCHILY.xattr.", "1"}}}).End(), "xattr"},
      {"directory that goes again", TarMaker().Directory("d").Symlink("d", "nowhere").End(), "d"},
  };
  for (const auto& one : cases) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directory(root_);
    const auto unpacked = UnpackBytes(one.tar);
    EXPECT_EQ(unpacked.status().code(), StatusCode::kInvalidArgument)
        << one.what << ": " << unpacked.status();
    EXPECT_THAT(unpacked.status().message(), HasSubstr(one.says)) << one.what;
  }
}

TEST_F(LayerWriterTest, SparseFilesKeepTheirHoles) {
  const std::string map = "1\n1048576\n3\n";
  std::string body = map + std::string(512 - map.size(), '\0') + "end";
  const auto unpacked = UnpackBytes(TarMaker()
                                        .Add({.name = "s",
                                              .body = body,
                                              .pax = {{"GNU.sparse.major", "1"},
                                                      {"GNU.sparse.minor", "0"},
                                                      {"GNU.sparse.name", "sparse"},
                                                      {"GNU.sparse.realsize", "2097152"}}})
                                        .End());
  ASSERT_TRUE(unpacked.ok()) << unpacked.status();
  EXPECT_EQ(std::filesystem::file_size(root_ / "sparse"), 2097152u);
  EXPECT_LT(unpacked->disk_bytes, 100'000u);
  std::ifstream file(root_ / "sparse");
  file.seekg(1048576);
  std::string text(3, '\0');
  file.read(text.data(), 3);
  EXPECT_EQ(text, "end");
}

TEST_F(LayerWriterTest, ImpliedDirectoriesLookLikeTheLowerLayers) {
  const auto top = scratch_.Make("top");
  const auto low = scratch_.Make("low");
  std::filesystem::create_directories(top / "etc/opt");
  std::filesystem::create_directories(low / "etc");
  std::filesystem::create_directories(low / "var/lib");
  ::chmod((top / "etc").c_str(), 0711);
  ASSERT_EQ(::chown((top / "etc").c_str(), 11, 12), 0);
  ::setxattr((top / "etc").c_str(), "user.a", "1", 1, 0);
  ::setxattr((top / "etc").c_str(), "trusted.overlay.opaque", "y", 1, 0);
  ::chmod((low / "var/lib").c_str(), 02770);
  ::setxattr((low / "var").c_str(), "user.b", "2", 1, 0);
  const timespec times[2] = {{1'500'000'000, 7}, {1'500'000'000, 8}};
  ::utimensat(AT_FDCWD, (low / "var/lib").c_str(), times, 0);
  std::filesystem::create_directory(low / "opaque");
  ::utimensat(AT_FDCWD, (low / "opaque").c_str(), times, 0);
  ASSERT_EQ(::mknod((top / "gone").c_str(), S_IFCHR, 0), 0);
  std::filesystem::create_directory(low / "gone");
  ::chmod((low / "gone").c_str(), 0700);
  canaries_ = Canaries();

  const std::string tar = TarMaker()
                              .File("etc/opt/f")
                              .File("var/lib/f")
                              .File("gone/f")
                              .File("new/f")
                              .File("opaque/.wh..wh..opq")
                              .Directory("var", 0750)
                              .End();
  const auto unpacked = UnpackBytes(tar, /*bottom=*/false, {top, low});
  ASSERT_TRUE(unpacked.ok()) << unpacked.status();
  EXPECT_THAT(unpacked->implied_directories,
              ElementsAre("etc", "etc/opt", "gone", "new", "opaque", "var/", "var/lib"));
  EXPECT_EQ(Describe(root_ / "etc"), "d 711 11:12 user.a=31");
  EXPECT_EQ(Describe(root_ / "var"), "d 750 0:0 user.b=32");
  EXPECT_EQ(Describe(root_ / "var/lib"), "d 2770 0:0");
  EXPECT_EQ(Describe(root_ / "gone"), "d 755 0:0");
  EXPECT_EQ(Describe(root_ / "new"), "d 755 0:0");
  EXPECT_GT(MtimeOf(root_ / "var/lib").tv_sec, 1'600'000'000);  // a file was made in it
  EXPECT_EQ(MtimeOf(root_ / "opaque").tv_sec, 1'500'000'000);
  EXPECT_EQ(MtimeOf(root_ / "opaque").tv_nsec, 8);
  EXPECT_EQ(MtimeOf(root_ / "var").tv_sec, 1'600'000'000);

  // Again is the same: the caller may have to repeat it after a crash.
  const auto before = Tree();
  EXPECT_TRUE(ResolveImpliedDirectories(root_, {top, low}, unpacked->implied_directories).ok());
  EXPECT_EQ(Tree(), before);
}

TEST_F(LayerWriterTest, TimesOutsideTheRangeBecomeTheEpoch) {
  TarMember past{.name = "past", .pax = {{"mtime", "-5.5"}}};
  TarMember future{.name = "future", .pax = {{"mtime", "9223372037.0"}}};
  TarMember last{.name = "last", .pax = {{"mtime", "9223372036.5"}, {"atime", "1"}}};
  ASSERT_TRUE(UnpackBytes(TarMaker().Add(past).Add(future).Add(last).End()).ok());
  EXPECT_EQ(MtimeOf(root_ / "past").tv_sec, 0);
  EXPECT_EQ(MtimeOf(root_ / "future").tv_sec, 0);
  EXPECT_GT(MtimeOf(root_ / "last").tv_sec, 9'000'000'000);
}

}  // namespace
}  // namespace hearth::plugin
