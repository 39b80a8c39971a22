#include "cmd/preheat_progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace hearth::cmd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr const char* kProgress =
    R"({"event":"progress","reference":"r/a:1","bytes_done":512,"bytes_total":2048,)"
    R"("bytes_per_second":1024,"eta_seconds":62,"layers":[)"
    R"({"digest":"sha256:aaaaaaaaaaaaaaaa","size_bytes":1024,"fetched_bytes":1024,"state":"done"},)"
    R"({"digest":"sha256:bbbbbbbbbbbbbbbb","size_bytes":1024,"fetched_bytes":256,)"
    R"("state":"fetching"},)"
    R"({"digest":"sha256:cccccccccccccccc","size_bytes":10,"fetched_bytes":0,"state":"waiting"}]})";

std::string Take(PreheatProgress& progress, const std::string& line) {
  const auto text = progress.Take(line);
  return text.ok() ? *text : "error: " + text.status().message();
}

TEST(PreheatProgress, SaysALineForEachEvent) {
  PreheatProgress progress({"r/a:1"});
  EXPECT_EQ(Take(progress, R"({"event":"resolved","reference":"r/a:1","digest":"sha256:d",)"
                           R"("platform":"linux/amd64","layers":3,"bytes_total":2048})"),
            "r/a:1: sha256:d for linux/amd64, 3 layers, 2.0 KiB");
  EXPECT_EQ(Take(progress, kProgress), "r/a:1  25%  512 B / 2.0 KiB  1.0 KiB/s  eta 1m02s");
  EXPECT_EQ(Take(progress, R"({"event":"layer","reference":"r/a:1","digest":"sha256:x",)"
                           R"("state":"done"})"),
            "r/a:1: layer sha256:x done");
  EXPECT_EQ(Take(progress, R"({"event":"done","reference":"r/a:1","digest":"sha256:d",)"
                           R"("depth":"image","already_warm":false,"bytes_fetched":1024,)"
                           R"("bytes_total":2048,"seconds":1.5})"),
            "r/a:1: done (image, sha256:d), 1.0 KiB of 2.0 KiB fetched, 1.5s");
  EXPECT_EQ(progress.Settled(), 1u);
}

TEST(PreheatProgress, SaysWhatCameFromOtherNodes) {
  PreheatProgress progress({"r/a:1"});
  EXPECT_EQ(Take(progress, R"({"event":"progress","reference":"r/a:1","bytes_done":512,)"
                           R"("bytes_total":2048,"bytes_per_second":1024,"peer_bytes":384,)"
                           R"("peer_bytes_per_second":768,"origin_bytes":128,)"
                           R"("origin_bytes_per_second":256,"layers":[]})"),
            "r/a:1  25%  512 B / 2.0 KiB  1.0 KiB/s  eta ?  nodes 768 B/s, registry 256 B/s");
  EXPECT_EQ(Take(progress, R"({"event":"done","reference":"r/a:1","digest":"sha256:d",)"
                           R"("depth":"blobs","already_warm":false,"bytes_fetched":2048,)"
                           R"("bytes_total":2048,"peer_bytes":1024,"origin_bytes":1024,)"
                           R"("seconds":1.5})"),
            "r/a:1: done (blobs, sha256:d), 2.0 KiB of 2.0 KiB fetched (1.0 KiB from other "
            "nodes), 1.5s");
  const auto json = nlohmann::json::parse(progress.Json(false));
  EXPECT_EQ(json["images"][0]["peer_bytes"], 1024);
}

TEST(PreheatProgress, SecondRunSaysAlreadyWarm) {
  PreheatProgress progress({"r/a:1"});
  EXPECT_EQ(Take(progress, R"({"event":"done","reference":"r/a:1","digest":"sha256:d",)"
                           R"("depth":"image","already_warm":true,"seconds":0.003})"),
            "r/a:1: already warm (image, sha256:d), 3ms");
}

TEST(PreheatProgress, LinesFitWidthAndHeight) {
  PreheatProgress progress({"r/a:1", "r/b:1"});
  (void)Take(progress, kProgress);
  const auto wide = progress.Lines(100, 20);
  EXPECT_THAT(wide, ElementsAre(HasSubstr("25%"), HasSubstr("aaaaaaaaaaaa  done"),
                                HasSubstr("bbbbbbbbbbbb  fetching   [######------------------]"),
                                HasSubstr("cccccccccccc  waiting"), "r/b:1  waiting"));
  for (const size_t width : {10, 40, 60, 79}) {
    for (const std::string& line : progress.Lines(width, 20)) EXPECT_LE(line.size(), width);
  }
  // The layer at work is the one that is shown.
  EXPECT_THAT(progress.Lines(100, 4), ElementsAre(HasSubstr("25%"), HasSubstr("bbbbbbbbbbbb"),
                                                  "  and 2 more layers", "r/b:1  waiting"));
  for (size_t height = 0; height < 8; ++height) {
    EXPECT_THAT(progress.Lines(80, height), SizeIs(testing::Le(height)));
  }
}

TEST(PreheatProgress, JsonSaysStateOfAll) {
  PreheatProgress progress({"r/a:1", "r/b:1"});
  (void)Take(progress, R"({"event":"done","reference":"r/a:1","digest":"sha256:d"})");
  (void)Take(progress, R"({"event":"failed","reference":"r/b:1","code":"not_found",)"
                       R"("message":"no"})");
  const auto json = nlohmann::json::parse(progress.Json(false));
  EXPECT_EQ(json["state"], "partly");
  EXPECT_EQ(json["images"][0]["state"], "done");
  EXPECT_EQ(json["images"][1]["code"], "not_found");
  EXPECT_EQ(nlohmann::json::parse(progress.Json(true))["state"], "interrupted");
}

TEST(PreheatProgress, StrangeEventsDoNoHarm) {
  PreheatProgress progress({"r/a:1"});
  EXPECT_THAT(Take(progress, "no json"), HasSubstr("error: not an event"));
  EXPECT_EQ(Take(progress, R"({"event":"newer","reference":"r/a:1"})"), "");
  EXPECT_THAT(Take(progress, R"({"event":"progress","reference":"r/a:1","bytes_done":-5,)"
                             R"("bytes_total":"x","eta_seconds":null,"layers":7})"),
              HasSubstr("eta ?"));
}

TEST(Formats, EtaAndBar) {
  EXPECT_EQ(FormatEta(3.2), "4s");
  EXPECT_EQ(FormatEta(-1), "?");
  EXPECT_EQ(FormatEta(1e300), "?");
  EXPECT_EQ(Bar(1, 2, 4), "[##--]");
  EXPECT_EQ(Bar(9, 2, 4), "[####]");
  EXPECT_EQ(Bar(0, 0, 4), "[----]");
}

}  // namespace
}  // namespace hearth::cmd
