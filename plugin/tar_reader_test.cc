#include "plugin/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "plugin/tar_maker.h"

namespace hearth::plugin {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// "type name mode uid:gid size mtime -> target {xattrs} body" of each entry; the last line is the
// error, where there is one.
std::vector<std::string> Read(const std::string& tar, size_t step_bytes = 1000) {
  size_t at = 0;
  TarReader reader([&]() -> Result<std::span<const char>> {
    const size_t size = std::min(step_bytes, tar.size() - at);
    at += size;
    return std::span(tar).subspan(at - size, size);
  });
  std::vector<std::string> lines;
  TarEntry entry;
  while (true) {
    const auto next = reader.Next(entry);
    if (!next.ok()) {
      lines.push_back(next.status().ToString());
      return lines;
    }
    if (!*next) return lines;
    std::string line(
        1, "fdlhpcbg"[std::string("\0\1\2\3\4\5\6\7", 8).find(static_cast<char>(entry.type))]);
    line += " " + entry.name + " " + std::to_string(entry.uid) + ":" + std::to_string(entry.gid) +
            " " + std::to_string(entry.size_bytes);
    if (!entry.target.empty()) line += " -> " + entry.target;
    for (const auto& [name, value] : entry.xattrs) line += " " + name + "=" + value;
    TarBlock block;
    while (true) {
      const auto more = reader.NextBlock(block);
      if (!more.ok()) {
        lines.push_back(more.status().ToString());
        return lines;
      }
      if (!*more) break;
      line += " '" + std::string(block.data.data(), block.data.size()) + "'@" +
              std::to_string(block.offset_bytes);
    }
    lines.push_back(line);
  }
}

TarMember File(const std::string& name, std::vector<std::pair<std::string, std::string>> pax) {
  return {.name = name, .body = "x", .pax = std::move(pax)};
}

// A block with `text` at `offset`, its checksum made right.
std::string Patched(std::string header, size_t offset, std::string_view text) {
  header.replace(offset, text.size(), text);
  header.replace(148, 8, "        ");
  unsigned sum = 0;
  for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(header[i]);
  char octal[8];
  std::snprintf(octal, sizeof(octal), "%06o", sum);
  return header.replace(148, 7, octal, 7);
}

struct ReadCase {
  const char* what;
  std::string tar;
  std::vector<std::string> want;
};

void Check(const std::vector<ReadCase>& cases) {
  for (const ReadCase& one : cases) {
    for (const size_t step : {size_t{1}, size_t{511}, size_t{1} << 20}) {
      EXPECT_EQ(Read(one.tar, step).size(), one.want.size()) << one.what;
    }
    const auto lines = Read(one.tar, 1 << 20);
    ASSERT_EQ(lines.size(), one.want.size()) << one.what << ": " << ::testing::PrintToString(lines);
    for (size_t i = 0; i < lines.size(); ++i) {
      EXPECT_THAT(lines[i], HasSubstr(one.want[i])) << one.what;
    }
  }
}

constexpr char kGnuMagic[] = "ustar  ";

TEST(TarReaderTest, NamesComeFromWhereGoTakesThem) {
  const std::string gnu = Patched(TarMaker().File("f").bytes(), 257, {kGnuMagic, 8});
  const TarMember longer{.name = "././@LongLink", .type = 'L', .body = "long"};
  Check({
      {"a prefix and no name", Patched(TarMaker().File("").bytes(), 345, "p"), {"f p/ 0:0 0"}},
      {"a GNU header with a prefix that is no time", Patched(gnu, 345, "p"), {"f p/f 0:0 0"}},
      {"a GNU header with a time there", Patched(gnu, 345, "00000000007"), {"f f 0:0 0"}},
      {"pax, then a long name",
       TarMaker()
           .Raw(TarMaker().Add(File("f", {{"path", "pax"}})).bytes().substr(0, 1024))
           .Add(longer)
           .File("f")
           .End(),
       {"f long 0:0 0"}},
      {"a long name of nothing",
       TarMaker().Add({.name = "././@LongLink", .type = 'L'}).File("f").End(),
       {"f f 0:0 0"}},
      {"a link that only the pax header has",
       TarMaker().Add({.name = "l", .type = '2', .pax = {{"linkpath", "\xe6\x97\xa5"}}}).End(),
       {"l l 0:0 0 -> \xe6\x97\xa5"}},
      {"a file whose name ends in a slash", TarMaker().File("f/", "x").End(), {"f f/ 0:0 1 'x'"}},
      {"the old way to write a directory",
       TarMaker().Add({.name = "d/", .type = '\0'}).Add({.name = "f", .type = '\0'}).End(),
       {"d d/", "f f 0:0 0"}},
  });
}

TEST(TarReaderTest, PaxRecordsCountAsInGo) {
  const auto extended = [](const std::string& body) {
    return TarMaker().Add({.name = "p", .type = 'x', .body = body}).File("f", "x").End();
  };
  const auto first = [](const TarMember& member) {  // the extended header alone
    return TarMaker().Add(member).bytes().substr(0, 1024);
  };
  Check({
      {"the later of two headers",
       TarMaker()
           .Raw(first(File("f", {{"uid", "7"}, {"gid", "7"}})))
           .Add(File("f", {{"gid", "8"}}))
           .End(),
       {"f f 0:8 1"}},
      {"the later of two values",
       TarMaker().Add(File("f", {{"uid", "7"}, {"uid", "8"}})).End(),
       {"f f 8:0 1"}},
      {"the later of two xattrs",
       TarMaker()
           .Add(File("f", {{"SCHILY.xattr.user.a", "1"}, {"SCHILY.xattr.user.a", "2"}}))
           .End(),
       {"f f 0:0 1 user.a=2"}},
      {"no empty value",
       TarMaker().Add(File("f", {{"path", ""}, {"uid", ""}, {"size", ""}, {"mtime", ""}})).End(),
       {"f f 0:0 1 'x'"}},
      {"not through a global header",
       TarMaker()
           .Raw(first(File("f", {{"uid", "7"}})))
           .Add({.name = "g/h", .type = 'g', .body = TarMaker::Record("gid", "7")})
           .File("f")
           .End(),
       {"g g/h", "f f 0:0 0"}},
      {"none of another tool's keys",
       TarMaker()
           .Add(File("f", {{"LIBARCHIVE.xattr.user.a", "aGk"},
                           {"RHT.security.selinux", "x"},
                           {"SCHILY.acl.access", "user::rwx"},
                           {"SCHILY.realsize", "9"},
                           {"SCHILY.devmajor", "4"}}))
           .End(),
       {"f f 0:0 1 'x'@0"}},
      {"nearly 1 MiB",
       TarMaker().Add(File("f", {{"comment", std::string(1'048'500, 'c')}})).End(),
       {"f f 0:0 1"}},
      {"above 1 MiB",
       TarMaker().Add(File("f", {{"comment", std::string(1 << 20, 'c')}})).End(),
       {"above 1 MiB"}},
      {"at the end of the archive", first(File("f", {{"uid", "7"}})), {}},
      {"a NUL in a path",
       TarMaker().Add(File("f", {{"path", std::string("a\0b", 3)}})).End(),
       {"malformed"}},
      {"a NUL in a key",
       TarMaker().Add(File("f", {{std::string("a\0b", 3), "c"}})).End(),
       {"malformed"}},
      {"words", TarMaker().Add(File("f", {{"uid", "root"}})).End(), {"malformed uid"}},
      {"a fraction", TarMaker().Add(File("f", {{"gid", "7.5"}})).End(), {"malformed gid"}},
      {"no time", TarMaker().Add(File("f", {{"mtime", "now"}})).End(), {"malformed mtime"}},
      {"beyond 64 bits",
       TarMaker().Add(File("f", {{"mtime", "99999999999999999999"}})).End(),
       {"malformed mtime"}},
      {"a negative size", TarMaker().Add(File("f", {{"size", "-1"}})).End(), {"negative"}},
      {"a wrong length", extended("99 a=b\n"), {"malformed"}},
      {"no newline", extended("6 a=bc"), {"malformed"}},
      {"no equals sign", extended("5 ab\n"), {"malformed"}},
      {"no key", extended("5 =b\n"), {"malformed"}},
      {"no length", extended(" a=b\n"), {"malformed"}},
      {"a padded length", extended("008 a=b\n"), {"f f"}},
  });
}

TEST(TarReaderTest, NumbersAreReadAsInGo) {
  const std::string header = TarMaker().File("f").bytes();
  const std::string binary("\x80\0\0\0\xb2\xd0\x5e\0", 8);
  Check({
      {"garbage after a NUL", Patched(header, 108, {"7\0zzzzzz", 8}), {"f f 7:0"}},
      {"spaces", Patched(header, 108, "     7 "), {"f f 7:0"}},
      {"base 256", Patched(header, 108, binary), {"f f 3000000000:0"}},
      {"negative base 256", Patched(header, 108, std::string(7, '\xff') + "\xf9"), {"f f -7:0"}},
      {"words", Patched(header, 100, "rw-r--r-"), {"no number"}},
      {"an 8", Patched(header, 108, "0000089"), {"no number"}},
      {"a minus", Patched(header, 108, "-000007"), {"no number"}},
      {"base 256 beyond 64 bits", Patched(header, 124, "\x80\x01"), {"no number"}},
      {"a negative size", Patched(header, 124, std::string(12, '\xff')), {"negative"}},
      {"words in a device number", Patched(header, 329, "word"), {"no number"}},
  });
}

TEST(TarReaderTest, TypesThatContainerdRefuses) {
  for (const char type : {'7', 'D', 'M', 'V', 'N', 'A', 'I', 'X', 'S', 's', '\xf1'}) {
    const auto lines = Read(TarMaker().Add({.name = "entry", .type = type, .body = "x"}).End());
    ASSERT_EQ(lines.size(), 1u) << type;
    EXPECT_THAT(lines[0], HasSubstr("entry: tar entry of type")) << type;
  }
}

TEST(TarReaderTest, OnlyFilesHaveBodies) {
  // A size that a link or directory claims is not skipped: the next header follows at once.
  for (const char type : {'1', '2', '3', '4', '5', '6'}) {
    const std::string claims =
        Patched(TarMaker().Add({.name = "n", .type = type}).bytes(), 124, "00000000777");
    EXPECT_EQ(Read(claims + TarMaker().File("f").End()).size(), 2u) << type;
  }
}

TEST(TarReaderTest, EndsWhereGoEnds) {
  const std::string tar = TarMaker().File("f", "body").bytes();
  const std::string zeros(512, '\0');
  Check({
      {"nothing at all", "", {}},
      {"no end mark", tar, {"f f"}},
      {"half an end mark", tar + zeros, {"f f"}},
      {"zeros first", zeros + zeros + tar, {}},
      {"one block of zeros between", tar + zeros + tar, {"f f", "one block of zeros"}},
      {"one block of zeros first", zeros + tar, {"one block of zeros"}},
      {"cut in the padding", tar.substr(0, 600), {"f f 0:0 4 'body'"}},
      {"cut in the body", tar.substr(0, 514), {"truncated"}},
      {"cut in the header", tar.substr(0, 300), {"truncated"}},
      {"cut in the end mark", tar + zeros + zeros.substr(0, 100), {"f f", "truncated"}},
      {"what follows the end mark", tar + zeros + zeros + "garbage", {"f f"}},
      {"no tar", std::string(600, 'x'), {"checksum"}},
  });
}

// GNU's format 1.0: the map begins the body.
std::string Sparse(std::string map, const std::string& data, const std::string& size) {
  map.resize((map.size() + 511) / 512 * 512, '\0');
  return TarMaker()
      .Add({.name = "x",
            .body = map + data,
            .pax = {{"GNU.sparse.major", "1"},
                    {"GNU.sparse.minor", "0"},
                    {"GNU.sparse.name", "sparse"},
                    {"GNU.sparse.realsize", size}}})
      .File("next")
      .End();
}

TEST(TarReaderTest, SparseFilesInBothPlacesOfTheMap) {
  const auto in_header = [](const std::string& count, const std::string& map) {
    return TarMaker()
        .Add({.name = "x",
              .body = "startend",
              .pax = {{"GNU.sparse.size", "2000"},
                      {"GNU.sparse.numblocks", count},
                      {"GNU.sparse.map", map}}})
        .End();
  };
  const TarMember old{.name = "x",
                      .body = "startend",
                      .pax = {{"GNU.sparse.size", "2000"},
                              {"GNU.sparse.numblocks", "2"},
                              {"GNU.sparse.offset", "0"},
                              {"GNU.sparse.numbytes", "5"},
                              {"GNU.sparse.offset", "900"},
                              {"GNU.sparse.numbytes", "3"}}};
  Check({
      {"1.0",
       Sparse("2\n0\n5\n1000\n3\n", "startend", "2000"),
       {"f sparse 0:0 2000 'start'@0 'end'@1000", "f next"}},
      {"1.0 with holes only", Sparse("1\n2000\n0\n", "", "2000"), {"f sparse 0:0 2000", "f next"}},
      {"0.1", in_header("2", "0,5,900,3"), {"f x 0:0 2000 'start'@0 'end'@900"}},
      {"0.0", TarMaker().Add(old).End(), {"f x 0:0 2000 'start'@0 'end'@900"}},
      {"an unknown version",
       TarMaker().Add(File("f", {{"GNU.sparse.major", "2"}, {"GNU.sparse.minor", "0"}})).End(),
       {"f f 0:0 1 'x'@0"}},
      {"overlap", Sparse("2\n0\n5\n3\n3\n", "startend", "2000"), {"overlap"}},
      {"backwards", Sparse("2\n50\n5\n0\n3\n", "startend", "2000"), {"overlap"}},
      {"outside", Sparse("2\n0\n5\n1998\n3\n", "startend", "2000"), {"outside"}},
      {"negative", Sparse("1\n-5\n8\n", "startend", "2000"), {"outside"}},
      {"beyond 64 bits", Sparse("1\n5\n9223372036854775807\n", "startend", "2000"), {"outside"}},
      {"less data", Sparse("2\n0\n5\n1000\n300\n", "startend", "2000"), {"other data"}},
      {"more data", Sparse("1\n0\n5\n", "startend", "2000"), {"other data"}},
      {"words", Sparse("1\nzero\n8\n", "startend", "2000"), {"malformed"}},
      {"a map that never ends", Sparse("9999999\n0\n5\n", "startend", "2000"), {"truncated"}},
      {"half an extent", in_header("2", "0,5,900"), {"malformed"}},
      {"fewer extents than said", in_header("3", "0,5,900,3"), {"malformed"}},
      {"a comma at the end", in_header("2", "0,5,900,3,"), {"malformed"}},
      {"a directory",
       TarMaker()
           .Add({.name = "d",
                 .type = '5',
                 .pax = {{"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", "0,0"}}})
           .End(),
       {"it is sparse and no file"}},
  });
}

// ---- a second opinion: what libarchive writes comes back

std::string WrittenByLibarchive(int (*set_format)(archive*), const std::string& name) {
  std::string out(1 << 20, '\0');
  size_t used = 0;
  archive* writer = archive_write_new();
  EXPECT_EQ(set_format(writer), ARCHIVE_OK);
  EXPECT_EQ(archive_write_open_memory(writer, out.data(), out.size(), &used), ARCHIVE_OK);
  archive_entry* entry = archive_entry_new();
  archive_entry_set_pathname(entry, name.c_str());
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_perm(entry, 0640);
  archive_entry_set_uid(entry, 1000);
  archive_entry_set_gid(entry, 1001);
  archive_entry_set_size(entry, 4);
  EXPECT_EQ(archive_write_header(writer, entry), ARCHIVE_OK) << archive_error_string(writer);
  EXPECT_EQ(archive_write_data(writer, "body", 4), 4);
  archive_entry_clear(entry);
  archive_entry_set_pathname(entry, "l");
  archive_entry_set_filetype(entry, AE_IFLNK);
  archive_entry_set_symlink(entry, name.c_str());
  EXPECT_EQ(archive_write_header(writer, entry), ARCHIVE_OK) << archive_error_string(writer);
  archive_entry_free(entry);
  EXPECT_EQ(archive_write_close(writer), ARCHIVE_OK);
  archive_write_free(writer);
  return out.substr(0, used);
}

TEST(TarReaderTest, ReadsWhatLibarchiveWrites) {
  const std::string name = std::string(60, 'd') + "/" + std::string(30, 'f');
  const std::string longer = std::string(120, 'd') + "/" + std::string(200, 'f');
  const struct {
    int (*format)(archive*);
    std::string name;
  } cases[] = {{archive_write_set_format_v7tar, name},
               {archive_write_set_format_ustar, name},
               {archive_write_set_format_gnutar, longer},
               {archive_write_set_format_pax, longer},
               {archive_write_set_format_pax_restricted, longer}};
  for (const auto& one : cases) {
    EXPECT_THAT(Read(WrittenByLibarchive(one.format, one.name), 1 << 20),
                ElementsAre("f " + one.name + " 1000:1001 4 'body'@0", "l l 0:0 0 -> " + one.name));
  }
}

}  // namespace
}  // namespace hearth::plugin
