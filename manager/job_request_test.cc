#include "manager/job_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "manager/job_url.h"

namespace hearth::manager {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

JobRequest::Context Context() {
  JobRequest::Context context;
  context.cluster_name = [](uint64_t id) -> Result<std::string> {
    if (id == 1) return std::string("default");
    return NotFound("there is no cluster " + std::to_string(id));
  };
  return context;
}

Result<JobRequest> Parse(const std::string& body) { return JobRequest::Parse(body, Context()); }
Result<JobRequest> ParseArgs(const std::string& args) {
  return Parse(R"({"type": "preheat", "args": {)" + args + "}}");
}
std::string ErrorOf(const std::string& body) { return Parse(body).status().message(); }
std::string ArgsError(const std::string& args) { return ParseArgs(args).status().message(); }

constexpr const char* kImage = R"("type": "image", "url": "https://r.example/v2/a/b/manifests/v1")";
constexpr const char* kFile = R"("type": "file", "url": "https://h.example/f")";
std::string Image(const std::string& more) { return std::string(kImage) + ", " + more; }
std::string File(const std::string& more) { return std::string(kFile) + ", " + more; }

// "a0", "a1", …
std::string Listed(int count) {
  std::string list;
  for (int i = 0; i < count; ++i) list += (i == 0 ? "\"a" : ", \"a") + std::to_string(i) + "\"";
  return list;
}

TEST(JobRequestTest, ReadsTheGuidesImage) {
  const auto request = Parse(R"({
    "type": "preheat",
    "args": {
        "type": "image",
        "url": "https://index.docker.io/v2/library/alpine/manifests/3.19",
        "filteredQueryParams": "Expires&Signature",
        "username": "joe",
        "password": "s3cret"
    }
})");
  ASSERT_TRUE(request.ok()) << request.status();
  const JobSpec& spec = request->spec;
  EXPECT_EQ(spec.items[0].url, "https://index.docker.io/v2/library/alpine/manifests/3.19");
  EXPECT_EQ(spec.items[0].reference, "docker.io/library/alpine:3.19");
  EXPECT_EQ(spec.items[0].base_url, "https://index.docker.io/v2/library/alpine");
  EXPECT_EQ(spec.items[0].plain_http, false);
  EXPECT_EQ(spec.filter, "Expires&Signature");
  EXPECT_EQ(spec.piece_length, 4194304u);
  EXPECT_EQ(spec.scope, JobScope::kAllPeers);
  EXPECT_TRUE(spec.clusters.empty());
  EXPECT_EQ(request->secrets.username, "joe");
  EXPECT_EQ(request->secrets.password, "s3cret");
}

TEST(JobRequestTest, SaysLineAndColumnOfTheGuidesFile) {
  EXPECT_THAT(
      ErrorOf("{\n    \"type\": \"preheat\",\n    \"args\": {\n        \"type\": \"file\",\n"
              "        \"url\": \"https://example.com\",\n    }\n}"),
      HasSubstr("line 6, column 5"));
}

TEST(JobRequestTest, ReadsWhatHarborSends) {
  const auto request = Parse(
      R"({"type":"preheat","args":{"type":"image","url":"https://h.example/v2/p/r/manifests/t",)"
      R"("tag":"","filtered_query_params":"","headers":{"Authorization":"Bearer x"},"scope":"",)"
      R"("concurrent_count":0,"timeout":0},"scheduler_cluster_ids":null})");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_THAT(request->secrets.headers, ElementsAre(std::pair("Authorization", "Bearer x")));
  EXPECT_EQ(request->spec.timeout, std::chrono::minutes(60));
  EXPECT_EQ(request->spec.concurrency, 500u);
}

TEST(JobRequestTest, TakesBothSpellingsAndRefusesBothAtOnce) {
  EXPECT_EQ(ParseArgs(Image(R"("piece_length": 8388608)"))->spec.piece_length, 8388608u);
  EXPECT_EQ(ParseArgs(Image(R"("pieceLength": 8388608)"))->spec.piece_length, 8388608u);
  EXPECT_THAT(ArgsError(Image(R"("pieceLength": 8388608, "piece_length": 8388608)")),
              HasSubstr("args.piece_length: is there twice"));
  EXPECT_EQ(
      Parse(R"({"type":"preheat","schedulerClusterIds":[1],"args":{)" + std::string(kImage) + "}}")
          ->spec.clusters,
      std::vector<std::string>{"default"});
}

TEST(JobRequestTest, NamesWhatIsWrong) {
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("type: must be \"preheat\""));
  EXPECT_THAT(ErrorOf(R"({"type":"preheat"})"), HasSubstr("args: are missing"));
  EXPECT_THAT(ErrorOf(R"({"type":"preheat","arg":{}})"), HasSubstr("args: are missing"));
  EXPECT_THAT(ErrorOf(R"({"type":"preheat","args":[]})"), HasSubstr("args: must be an object"));
  EXPECT_THAT(ErrorOf(R"({"type":"preheat","scheduler_cluster_ids":[7],"args":{)" +
                      std::string(kImage) + "}}"),
              HasSubstr("no cluster 7"));
  const std::pair<std::string, std::string> cases[] = {
      {R"("url": "x")", "args.type: is missing"},
      {R"("type": "video", "url": "x")", "args.type: \"video\" is not one of image, file"},
      {R"("type": "image")", "args.url: is missing"},
      {R"("type": "image", "url": 5)", "args.url: must be a text"},
      {R"("type": "image", "url": "ftp://h/v2/a/manifests/b")", "args.url: expected https://HOST"},
      {R"("type": "image", "url": "https://h/v2/A/manifests/b")", "args.url: expected"},
      {R"("type": "image", "url": "https://u:p@h/v2/a/manifests/b")", "username and password"},
      {R"("type": "image", "url": "a b")", "args.url"},
      {R"("type": "file", "url": "nginx")", "args.url: a file's begins with http"},
      {R"("type": "file", "url": "http:///x")", "has a host"},
      {R"("type": "file", "url": "http://:80/x")", "has a host"},
      {R"("type": "file", "url": "http://h:65536/x")", "args.url: has a port that is none"},
      {R"("type": "file", "url": "http://h:x/x")", "args.url: has a port that is none"},
      {R"("type": "file", "url": "https://h/f", "images": ["a"])", "args.images"},
      {R"("type": "image", "images": [)" + Listed(257) + "]", "args.images: are more than 256"},
      {R"("type": "image", "urls": [)" + Listed(257) + "]", "args.urls: are more than 256"},
      {Image(R"("urll": "x")"), "unknown field \"args.urll\" (did you mean \"url\"?)"},
      {Image(R"("filterdQueryParams": "x")"), "did you mean \"filteredQueryParams\"?"},
      {Image(R"("pieceLength": 1024)"), "args.piece_length: must be 4194304"},
      {Image(R"("pieceLength": 2147483648)"), "args.piece_length"},
      {Image(R"("pieceLength": -1)"), "args.piece_length: must be a whole number"},
      {Image(R"("platform": "no such thing")"), "args.platform: "},
      {Image(R"("platforms": ["no such thing"])"), "args.platforms: "},
      {Image(R"("scope": "some_peers")"), "args.scope: \"some_peers\" is not one of all_peers"},
      {Image(R"("percentage": 101)"), "args.percentage: must be 1 to 100"},
      {Image(R"("timeout": 10)"), "args.timeout: must be 1 second to 7 days"},
      {Image(R"("timeout": "soon")"), "args.timeout"},
      {Image(R"("failure_tolerate": "1.1")"), "args.failure_tolerate"},
      {Image(R"("failure_tolerate": "abc")"), "args.failure_tolerate"},
      {Image(R"("retry": 1000)"), "args.retry"},
      {Image(R"("depth": "deep")"), "args.depth: must be blobs, layers or image"},
      {File(R"("depth": "image")"), "args.depth: a file's is blobs"},
      {Image(R"("headers": {"X-Y": "1"})"), "args.headers: of an image only Authorization"},
      {Image(R"("headers": "x")"), "args.headers: must be an object"},
      {File(R"("headers": {"X Y": "1"})"), "args.headers"},
      {File(R"("headers": {"X": "a\nb"})"), "args.headers"},
      {File(R"("headers": {"Host": "b"})"), "args.headers: the connection's own"},
      {Image(R"("password": "x")"), "args.username: is missing"},
      {Image(R"("hdfs": {"a": 1})"), "args.hdfs: HDFS is not read"},
      {Image(R"("object_storage": {"a": 1})"), "args.object_storage"},
      {Image(R"("load_to_cache": true)"), "args.load_to_cache"},
      {Image(R"("urls": ["https://other.example/v2/a/manifests/b"], "username": "u")"),
       "several hosts"},
  };
  for (const auto& [args, words] : cases) EXPECT_THAT(ArgsError(args), HasSubstr(words)) << args;
}

TEST(JobRequestTest, NullEmptyAndZeroMeanAbsent) {
  const auto request = ParseArgs(Image(
      R"("tag": null, "urls": [], "headers": {}, "pieceLength": 0, "platform": "", "count": 0,)"
      R"("object_storage": null, "hdfs": {}, "load_to_cache": false, "ips": null)"));
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->spec.piece_length, kDefaultPieceLength);
}

TEST(JobRequestTest, ReadsTimesAndShares) {
  EXPECT_EQ(ParseArgs(Image(R"("timeout": 90000000000)"))->spec.timeout, std::chrono::seconds(90));
  EXPECT_EQ(ParseArgs(Image(R"("timeout": "2m")"))->spec.timeout, std::chrono::minutes(2));
  EXPECT_EQ(ParseArgs(Image(R"("failure_tolerate": "30%")"))->spec.failure_tolerate,
            FailureTolerance::Parse("0.3").value());
  EXPECT_EQ(ParseArgs(Image(R"("failureTolerate": 0.1)"))->spec.failure_tolerate,
            FailureTolerance::Parse("0.1").value());
  EXPECT_EQ(ParseArgs(Image(R"("pin": "24h")"))->spec.pin, std::chrono::hours(24));
  EXPECT_EQ(ParseArgs(Image(R"("ttl": "24h")"))->spec.pin, std::chrono::hours(24));
  EXPECT_EQ(ParseArgs(Image(R"("ttl": 0, "pin": 0)"))->spec.pin, std::chrono::hours(0));
  EXPECT_EQ(ParseArgs(Image(R"("ttl": "1d", "pin": "24h")"))->spec.pin, std::chrono::hours(24));
  EXPECT_THAT(ParseArgs(Image(R"("ttl": "1h", "pin": "24h")")).status().message(),
              HasSubstr("ttl: is another name of pin"));
  EXPECT_THAT(ParseArgs(Image(R"("ttl": "soon")")).status().message(), HasSubstr("ttl: must be"));
}

TEST(JobRequestTest, TakesReferencesAndSeveralAtOnce) {
  const auto request = ParseArgs(
      R"("type": "image", "url": "nginx", "urls": ["127.0.0.1:5000/a@sha256:)" +
      std::string(64, 'a') + R"("], "images": ["http://127.0.0.1:5000/v2/x/manifests/y"])");
  ASSERT_TRUE(request.ok()) << request.status();
  const auto& items = request->spec.items;
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].base_url, "https://registry-1.docker.io/v2/library/nginx");
  EXPECT_EQ(items[1].base_url, "http://127.0.0.1:5000/v2/a");
  EXPECT_EQ(items[2].reference, "127.0.0.1:5000/x:y");
  EXPECT_EQ(items[2].plain_http, true);
}

TEST(JobRequestTest, KeepsSecretsOutOfWhatIsShown) {
  const auto request =
      ParseArgs(R"("type": "file", "url": "https://u:pw@h.example/f?Signature=abc&v=1", )"
                R"("headers": {"Cookie": "crumb"})");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->spec.items[0].url, "https://h.example/f?Signature=***&v=1");
  EXPECT_THAT(request->spec.header_names, ElementsAre("Cookie"));
  EXPECT_THAT(request->secrets.urls, ElementsAre("https://u:pw@h.example/f?Signature=abc&v=1"));
}

TEST(JobRequestTest, TheSecondAuthorizationIsAFilesAlone) {
  auto context = Context();
  context.origin_authorization = "token x";
  const auto parse = [&](const std::string& args) {
    return JobRequest::Parse(R"({"type":"preheat","args":{)" + args + "}}", context);
  };
  EXPECT_THAT(parse(kFile)->secrets.headers, ElementsAre(std::pair("Authorization", "token x")));
  EXPECT_THAT(parse(kImage).status().message(), HasSubstr("args.headers"));
  EXPECT_THAT(parse(File(R"("headers": {"authorization": "y"})")).status().message(),
              HasSubstr("args.headers"));
}

TEST(JobRequestTest, TaskIdsAreDragonflys) {
  JobSpec spec;
  EXPECT_EQ(TaskIdOf(spec,
                     "https://ghcr.io/v2/dragonflyoss/busybox/blobs/sha256:"
                     "a711f05d33845e2e9deffcfcc5adf082d7c6e97e3e3a881d193d9aae38f092a8")
                .value(),
            "55e0c49de3ac0f86943fb386fa02a891a2ff1ce447ef5fd0eabd57390d98dc53");
}

TEST(JobUrlTest, MatchesHosts) {
  const std::pair<std::string, std::string> yes[] = {
      {"*", "a:1"}, {"*.b.c", "a.b.c:5000"}, {"A.b", "a.B"}, {"a:1", "a:1"}, {"a", "a:1"}};
  for (const auto& [pattern, host] : yes) EXPECT_TRUE(HostMatches(host, {pattern})) << pattern;
  const std::pair<std::string, std::string> no[] = {
      {"*.b.c", "b.c"}, {"a:1", "a:2"}, {"a:1", "a"}, {"*.b", "a.xb"}, {"b", "a.b"}};
  for (const auto& [pattern, host] : no) EXPECT_FALSE(HostMatches(host, {pattern})) << pattern;
}

}  // namespace
}  // namespace hearth::manager
