#include "manager/pull_secret.h"

#include <map>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "manager/json_body.h"
#include "manager/kube_name.h"
#include "oci/credentials.h"

namespace hearth::manager {

namespace {

constexpr char kConfigJson[] = "kubernetes.io/dockerconfigjson";
constexpr char kConfig[] = "kubernetes.io/dockercfg";

// The older file is the "auths" object alone.
std::string InAuths(const std::string& json) { return "{\"auths\":" + json + "}"; }

}  // namespace

PullSecret PullSecret::Read(YamlObject& document) {
  PullSecret secret;
  std::string version, type, name, space = "default";
  document.Text("apiVersion", version);
  if (version != "v1") document.Reject("apiVersion", "must be v1");
  document.Ignore("kind");
  document.Ignore("immutable");
  if (auto metadata = document.Object("metadata")) {
    // Other fields are Kubernetes' own.
    metadata->Text("name", name);
    metadata->Text("namespace", space);
  }
  if (name.empty()) {
    document.Reject("metadata", "needs a name");
  } else if (!IsKubePath(space + "/" + name)) {
    document.Reject("metadata", "has no name and namespace of Kubernetes' form");
  }
  secret.name = space + "/" + name;

  document.Text("type", type);
  std::map<std::string, std::string> encoded, plain;
  document.Pairs("data", encoded);
  document.Pairs("stringData", plain);
  document.Finish();
  if (type != kConfigJson && type != kConfig) {
    document.Reject("type", std::string("must be ") + kConfigJson + " or " + kConfig);
    return secret;
  }
  const std::string key = type == kConfigJson ? ".dockerconfigjson" : ".dockercfg";
  std::string json;
  if (const auto text = plain.find(key); text != plain.end()) {
    json = text->second;
  } else if (const auto bytes = encoded.find(key); bytes != encoded.end()) {
    const auto decoded = DecodeBase64(bytes->second);
    if (!decoded.ok()) document.Reject("data", key + " " + decoded.status().message());
    if (!decoded.ok()) return secret;
    json = *decoded;
  } else {
    document.Reject("data", "has no " + key);
    return secret;
  }
  if (type == kConfig) json = InAuths(json);
  const auto parsed = oci::DockerConfig::Parse(json);
  if (!parsed.ok()) document.Reject("data", key + ": " + parsed.status().message());
  secret.docker_config = Secret<std::string>(json);
  return secret;
}

Result<PullSecret> PullSecret::FromDockerConfig(const std::string& name, const std::string& json) {
  TRY_STATUS(JsonBody::Parse(json));
  const auto document = nlohmann::json::parse(json, nullptr, false);
  const bool older = document.is_object() && !document.empty() && !document.contains("auths") &&
                     !document.contains("credHelpers") && !document.contains("credsStore");
  const std::string config = older ? InAuths(json) : json;
  TRY_STATUS(oci::DockerConfig::Parse(config));
  return PullSecret{name, Secret<std::string>(config)};
}

}  // namespace hearth::manager
