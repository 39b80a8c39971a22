// ImageForTest: a real image in memory, one file per layer, with manifest and config.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/digest.h"
#include "oci/chain_id.h"
#include "oci/manifest.h"
#include "oci/media_type.h"

namespace hearth::plugin {

class ImageForTest {
 public:
  // Each layer is an uncompressed tar with one file "file" that holds the text.
  explicit ImageForTest(const std::vector<std::string>& texts) {
    nlohmann::json config_json = {{"architecture", "amd64"}, {"os", "linux"}};
    auto& diff_ids = config_json["rootfs"]["diff_ids"] = nlohmann::json::array();
    config_json["rootfs"]["type"] = "layers";
    std::vector<Digest> diffs;
    for (const auto& text : texts) {
      layers.push_back(Tar(text));
      diffs.push_back(Digest::Of(layers.back()));
      diff_ids.push_back(diffs.back().ToString());
    }
    chains_ = oci::ChainIds(diffs);
    config = config_json.dump();
    nlohmann::json manifest_json = {{"schemaVersion", 2},
                                    {"mediaType", oci::kOciManifest},
                                    {"config", Describe(oci::kOciConfig, config)},
                                    {"layers", nlohmann::json::array()}};
    for (const auto& layer : layers) {
      manifest_json["layers"].push_back(Describe(oci::kOciLayer, layer));
    }
    manifest = manifest_json.dump();
  }

  std::string manifest;
  std::string config;
  std::vector<std::string> layers;

  Digest manifest_digest() const { return Digest::Of(manifest); }
  Digest layer_digest(size_t index) const { return Digest::Of(layers[index]); }
  Digest chain(size_t index) const { return chains_[index]; }
  oci::Manifest parsed() const { return oci::Manifest::Parse(manifest, "").value(); }

 private:
  static nlohmann::json Describe(std::string_view media_type, const std::string& bytes) {
    return {{"mediaType", media_type},
            {"digest", Digest::Of(bytes).ToString()},
            {"size", bytes.size()}};
  }
  // One ustar header, the text, padding and two blocks of zeros.
  static std::string Tar(const std::string& text) {
    std::string header(512, '\0');
    const auto put = [&](size_t at, const std::string& value) {
      header.replace(at, value.size(), value);
    };
    char octal[16];
    put(0, "file");
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    std::snprintf(octal, sizeof(octal), "%011zo", text.size());
    put(124, octal);
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, std::string("ustar\0"
                         "00",
                         8));
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    std::snprintf(octal, sizeof(octal), "%06o", sum);
    put(148, octal);
    header[154] = '\0';
    std::string body = text;
    body.resize((text.size() + 511) / 512 * 512);
    return header + body + std::string(1024, '\0');
  }

  std::vector<Digest> chains_;
};

}  // namespace hearth::plugin
