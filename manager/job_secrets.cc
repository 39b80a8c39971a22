#include "manager/job_secrets.h"

#include <openssl/rand.h>

#include <array>
#include <nlohmann/json.hpp>

#include "base/digest.h"

namespace hearth::manager {

namespace {

using nlohmann::json;

std::string PurposeOf(JobId id) { return "job/" + std::to_string(id); }

}  // namespace

std::string SealSecrets(const Sealer& sealer, JobId id, const JobSecrets& secrets) {
  const bool none = secrets.urls.empty() && secrets.username.empty() && secrets.headers.empty() &&
                    secrets.logins.empty();
  if (none) return "";
  json logins = json::array();
  for (const ItemLogin& login : secrets.logins) {
    logins.push_back({login.username, login.password, login.identity_token});
  }
  json plain = {{"urls", secrets.urls},
                {"username", secrets.username},
                {"password", secrets.password},
                {"headers", secrets.headers},
                {"logins", std::move(logins)}};
  return sealer.Seal(plain.dump(-1, ' ', false, json::error_handler_t::replace), PurposeOf(id));
}

Result<std::optional<std::string>> RenewSecrets(const Sealer& sealer, const Job& head) {
  if (head.sealed.empty()) return std::optional<std::string>();
  return sealer.Renew(head.sealed, PurposeOf(head.id));
}

Result<JobSecrets> OpenSecrets(const Sealer& sealer, const Job& job) {
  JobSecrets secrets;
  if (job.sealed.empty()) return secrets;
  const auto plain = TRY(sealer.Unseal(job.sealed, PurposeOf(job.id)));
  try {
    const json record = json::parse(plain.Reveal());
    secrets.urls = record.at("urls").get<std::vector<std::string>>();
    secrets.username = record.at("username").get<std::string>();
    secrets.password = record.at("password").get<std::string>();
    secrets.headers = record.at("headers").get<std::vector<std::pair<std::string, std::string>>>();
    for (const json& login : record.at("logins")) {
      secrets.logins.push_back({login.at(0).get<std::string>(), login.at(1).get<std::string>(),
                                login.at(2).get<std::string>()});
    }
  } catch (const json::exception&) {
    return DataLoss("what is sealed for " + PurposeOf(job.id) + " cannot be read");
  }
  return secrets;
}

std::string NewGroupId() {
  std::array<uint8_t, 16> bytes{};
  CHECK(RAND_bytes(bytes.data(), bytes.size()) == 1);
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x40);  // a random UUID, version 4
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
  const std::string hex = ToHex(bytes);
  return "group_" + hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" +
         hex.substr(16, 4) + "-" + hex.substr(20);
}

}  // namespace hearth::manager
