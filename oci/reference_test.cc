#include "oci/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hearth::oci {
namespace {

const std::string kDigest =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Reference, Normalises) {
  struct Case {
    std::string text;
    std::string full;
    std::string domain;
    std::string path;
    std::string tag;
  };
  for (const Case& c : std::vector<Case>{
           {"nginx", "docker.io/library/nginx:latest", "docker.io", "library/nginx", "latest"},
           {"nginx:1.27", "docker.io/library/nginx:1.27", "docker.io", "library/nginx", "1.27"},
           {"a/b", "docker.io/a/b:latest", "docker.io", "a/b", "latest"},
           {"docker.io/nginx", "docker.io/library/nginx:latest", "docker.io", "library/nginx",
            "latest"},
           {"index.docker.io/a/b:c", "docker.io/a/b:c", "docker.io", "a/b", "c"},
           {"localhost/x", "localhost/x:latest", "localhost", "x", "latest"},
           {"localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000", "x", "y"},
           {"127.0.0.1:5000/lab/a_b/c__d/e--f.g:T_1.x-",
            "127.0.0.1:5000/lab/a_b/c__d/e--f.g:T_1.x-", "127.0.0.1:5000", "lab/a_b/c__d/e--f.g",
            "T_1.x-"},
           {"[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000", "x", "latest"},
           {"[2001:db8::1]/x", "[2001:db8::1]/x:latest", "[2001:db8::1]", "x", "latest"},
           {"Registry.Example.com/x", "Registry.Example.com/x:latest", "Registry.Example.com", "x",
            "latest"},
           {"HOST/x", "HOST/x:latest", "HOST", "x", "latest"},
           {"host.with-dash.io/x", "host.with-dash.io/x:latest", "host.with-dash.io", "x",
            "latest"},
           {"nginx@" + kDigest, "docker.io/library/nginx@" + kDigest, "docker.io", "library/nginx",
            ""},
           {"h:1/n:t@" + kDigest, "h:1/n:t@" + kDigest, "h:1", "n", "t"},
       }) {
    const auto reference = Reference::Parse(c.text);
    ASSERT_TRUE(reference.ok()) << reference.status();
    EXPECT_EQ(reference->ToString(), c.full);
    EXPECT_EQ(reference->domain, c.domain) << c.text;
    EXPECT_EQ(reference->path, c.path) << c.text;
    EXPECT_EQ(reference->tag, c.tag) << c.text;
    EXPECT_EQ(*Reference::Parse(c.full), *reference) << c.text;
  }
}

TEST(Reference, ObjectAndNamesWithTagAndDigest) {
  const Reference reference = *Reference::Parse("h:1/n:t@" + kDigest);
  EXPECT_EQ(reference.Object(), kDigest);
  EXPECT_EQ(reference.CriName(), "h:1/n@" + kDigest);
  EXPECT_EQ(reference.Name(), "h:1/n");
  EXPECT_EQ(Reference::Parse("n:t")->Object(), "t");
  EXPECT_EQ(Reference::Parse("n:t")->CriName(), "docker.io/library/n:t");
}

TEST(Reference, SaysWhatIsWrong) {
  for (const auto& [text, why] : std::vector<std::pair<std::string, std::string>>{
           {"", "is empty"},
           {"http://host/x", "URL scheme"},
           {"https://host/x:1", "URL scheme"},
           {"host.io/Nginx", "must be lower case"},
           {"Nginx", "must be lower case"},
           {"a b", "space"},
           {"nginx:", "is no tag"},
           {"nginx:-x", "is no tag"},
           {"nginx:" + std::string(129, 'a'), "is no tag"},
           {"nginx@sha256:abc", "sha256"},
           {"nginx@", "digest"},
           {"host.io/", "is no repository name"},
           {"host.io//x", "is no repository name"},
           {"host.io/../x", "is no repository name"},
           {"a..b", "is no repository name"},
           {"a___b", "is no repository name"},
           {"-a", "is no repository name"},
           {"host.io/a/", "is no repository name"},
           {"host:port/x", "is no registry host"},
           {"-host.io/x", "is no registry host"},
           {"ho_st.io/x", "is no registry host"},
           {"host..io/x", "is no registry host"},
           {"[zz]:1/x", "is no registry host"},
           {"host.io:/x", "is no registry host"},
           {"host.io/" + std::string(256, 'a'), "longer than 255"},
           {std::string(5000, 'a'), "longer than 4096"},
           {kDigest.substr(7), "bare 64-digit hex ID"},
       }) {
    const Status status = Reference::Parse(text).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << text << ": " << status;
    EXPECT_THAT(status.message(), testing::HasSubstr(why)) << text;
  }
  EXPECT_EQ(Reference::Parse("n@sha512:" + std::string(128, 'a')).status().code(),
            StatusCode::kUnimplemented);
}

TEST(Reference, HostsOfTheApi) {
  EXPECT_EQ(RegistryApiHost("docker.io"), "registry-1.docker.io");
  EXPECT_EQ(RegistryApiHost("index.docker.io"), "registry-1.docker.io");
  EXPECT_EQ(RegistryApiHost("ghcr.io"), "ghcr.io");
  for (const char* host :
       {"localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:5000"}) {
    EXPECT_EQ(DefaultScheme(host), "http") << host;
  }
  for (const char* host : {"docker.io", "127.0.0.1.example.com", "localhost.example.com",
                           "10.0.0.1:5000", "[::2]", "127.evil.com"}) {
    EXPECT_EQ(DefaultScheme(host), "https") << host;
  }
}

TEST(Reference, LongestOneStillReadsAgainWithItsDefaultTag) {
  // Found by fuzzing: 4093 bytes that became 4100 by ":latest".
  const std::string host(4084, 'x');
  for (size_t dots = 0; dots <= 8; ++dots) {
    const auto parsed = Reference::Parse(host + std::string(dots, 'y') + ".z/a");
    if (!parsed.ok()) continue;
    EXPECT_TRUE(Reference::Parse(parsed->ToString()).ok()) << parsed->ToString().size();
  }
  EXPECT_EQ(Reference::Parse(std::string(4090, 'x') + ".z/a").status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hearth::oci
