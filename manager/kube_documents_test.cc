#include "manager/kube_documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/base64.h"
#include "oci/credentials.h"

namespace hearth::manager {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kJob[] = R"(
apiVersion: operations.kubeedge.io/v1alpha1
kind: ImagePrePullJob
metadata:
  name: imageprepull-example
spec:
  imagePrePullTemplate:
    images: [test:nginx]
    nodeNames: [edge.kubeedge]
    imageSecrets: default/secret
)";
constexpr char kAuths[] = R"({"auths":{"r.io":{"username":"joe","password":"s3cret"}}})";

std::string SecretDocument(const std::string& type, const std::string& fields) {
  return "apiVersion: v1\nkind: Secret\nmetadata:\n  name: secret\ntype: kubernetes.io/" + type +
         "\n" + fields + "\n";
}

std::string UserOf(const KubeDocuments& documents) {
  if (documents.secrets.size() != 1) return "not one secret";
  const auto config = oci::DockerConfig::Parse(documents.secrets[0].docker_config.Reveal());
  return config.ok() ? config->For("r.io")->username : config.status().message();
}

TEST(KubeDocumentsTest, JobsAndSecretsInOneStream) {
  for (const std::string& secret : {
           SecretDocument("dockerconfigjson",
                          "data:\n  .dockerconfigjson: " + EncodeBase64(kAuths)),
           SecretDocument("dockerconfigjson",
                          "stringData:\n  .dockerconfigjson: '" + std::string(kAuths) + "'"),
           SecretDocument("dockercfg",
                          R"(stringData: {.dockercfg: '{"r.io":{"auth":"am9lOnMzY3JldA=="}}'})"),
       }) {
    const auto documents = KubeDocuments::Parse(std::string(kJob) + "---\n" + secret + "---\n");
    ASSERT_TRUE(documents.ok()) << documents.status();
    ASSERT_EQ(documents->jobs.size(), 1u);
    EXPECT_EQ(documents->jobs[0].name, "imageprepull-example");
    EXPECT_EQ(documents->secrets[0].name, "default/secret");
    EXPECT_EQ(UserOf(*documents), "joe");
  }
}

TEST(KubeDocumentsTest, ListsAreOpened) {
  const auto documents = KubeDocuments::Parse(
      R"({"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Secret",
          "metadata":{"name":"a","namespace":"n"},"type":"kubernetes.io/dockerconfigjson",
          "stringData":{".dockerconfigjson":"{\"auths\":{}}"}}]})");
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_EQ(documents->secrets[0].name, "n/a");
}

TEST(KubeDocumentsTest, BadSecretsAreNamedAndNeverShown) {
  const std::pair<std::string, const char*> bad[] = {
      {SecretDocument("tls", "data: {}"), "type: must be kubernetes.io/dockerconfigjson or"},
      {SecretDocument("dockerconfigjson", "data: {x: czNjcmV0}"), "data: has no .dockerconfigjson"},
      {SecretDocument("dockerconfigjson", "data: {.dockerconfigjson: 's3cret!'}"), "is not base64"},
      {SecretDocument("dockerconfigjson", "stringData: {.dockerconfigjson: 's3cret'}"),
       "is no JSON object"},
      {SecretDocument("dockerconfigjson", "passwort: s3cret"), "\"passwort\": unknown field"},
      {"kind: Secret\napiVersion: v1", "metadata: needs a name"},
  };
  for (const auto& [text, what] : bad) {
    const Status status = KubeDocuments::Parse(text).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(status.message(), HasSubstr(what)) << text;
    EXPECT_THAT(status.message(), Not(HasSubstr("s3cret"))) << text;
  }
}

TEST(KubeDocumentsTest, OtherKindsAndDoublesAreRefused) {
  EXPECT_THAT(KubeDocuments::Parse("kind: Pod").status().message(),
              HasSubstr("line 1: kind: must be ImagePrePullJob or Secret"));
  EXPECT_THAT(KubeDocuments::Parse("a: b").status().message(), HasSubstr("kind: must be"));
  EXPECT_THAT(KubeDocuments::Parse(std::string(kJob) + "---" + kJob).status().message(),
              HasSubstr("imageprepull-example is there twice"));
  EXPECT_TRUE(KubeDocuments::Parse("").ok());
}

TEST(PullSecretTest, FilesOfBothForms) {
  EXPECT_TRUE(PullSecret::FromDockerConfig("a/b", kAuths).ok());
  const auto older = PullSecret::FromDockerConfig("a/b", R"({"r.io":{"auth":"am9lOnA="}})");
  ASSERT_TRUE(older.ok());
  EXPECT_EQ(oci::DockerConfig::Parse(older->docker_config.Reveal())->For("r.io")->username, "joe");
  EXPECT_FALSE(PullSecret::FromDockerConfig("a/b", "no").ok());
}

}  // namespace
}  // namespace hearth::manager
