// What the tests of clusters are made of: an authority, and a tracker that does what the test says.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/thread.h"
#include "net/grpc_tls.h"
#include "net/tls.h"
#include "p2p/links.h"
#include "store/blob_store.h"

namespace hearth::p2p {

inline constexpr char kLab[] = "lab";

inline Deadline Soon() { return Deadline::After(std::chrono::seconds(30)); }

// Waits until it is so; false when it is not Soon().
inline bool Eventually(const std::function<bool()>& condition) {
  for (const Deadline deadline = Soon(); !condition();) {
    if (deadline.Passed()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

template <typename T>
T Must(Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.status();
  return std::move(result).value();
}

// The store holds them, verified, from now on.
inline void Put(store::BlobStore& store, const std::string& bytes) {
  auto grown = store.Grow(Digest::Of(bytes), bytes.size());
  ASSERT_TRUE(grown.ok()) << grown.status();
  ASSERT_TRUE(grown->blob->Write(0, bytes).ok());
  ASSERT_EQ(grown->blob->WaitComplete({}, Soon()), OkStatus());
}

// The folder, made.
inline std::filesystem::path Made(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  return folder;
}

class TestAuthority {
 public:
  struct Member {
    std::string id;
    std::shared_ptr<const net::TlsIdentity> identity;
    net::TlsFiles files;
  };
  // What a certificate says beside the key.
  struct Papers {
    net::Role role = net::Role::kNode;
    std::string cluster = kLab;
    std::chrono::hours age{0};  // a day old ones have expired
    std::string id = "";        // "" = that of the key
  };
  // A node's key and certificate, in memory and as files in `folder`.
  Member Issue(const std::filesystem::path& folder, const std::string& cluster = kLab) const {
    return Issue(folder, Papers{.cluster = cluster});
  }
  Member Issue(const std::filesystem::path& folder, const Papers& papers) const {
    const auto key = net::PrivateKey::Generate();
    Member member;
    member.id = papers.id.empty() ? key.PublicKeyHash().hex().substr(0, 32) : papers.id;
    member.identity = std::make_shared<const net::TlsIdentity>(net::TlsIdentity{
        Sign(net::SigningRequest::MakePem(key), papers), key.ToPem().Reveal(), pem()});
    member.files = {folder / "key.pem", folder / "certificate.pem", folder / "authority.pem"};
    EXPECT_TRUE(WriteFileAtomically(member.files.key, member.identity->key_pem, 0600).ok());
    EXPECT_TRUE(
        WriteFileAtomically(member.files.certificate, member.identity->certificate_pem).ok());
    EXPECT_TRUE(WriteFileAtomically(member.files.authority, member.identity->ca_pem).ok());
    return member;
  }
  // The chain for who asks; without an id, that of its key.
  std::string Sign(const std::string& request_pem, Papers papers) const {
    const auto request = net::SigningRequest::FromPem(request_pem);
    EXPECT_TRUE(request.ok()) << request.status();
    if (papers.id.empty()) papers.id = request->PublicKeyHash().hex().substr(0, 32);
    const bool node = papers.role == net::Role::kNode;
    net::Certificate::Subject subject;
    subject.identity = {papers.role, node ? papers.cluster : "", papers.id};
    subject.common_name = papers.id;
    const auto leaf =
        certificate_.Issue(key_, *request, subject, RealClock().WallNow() - papers.age);
    EXPECT_TRUE(leaf.ok()) << leaf.status();
    return leaf->ToPem() + pem();
  }
  std::string pem() const { return certificate_.ToPem(); }
  Digest fingerprint() const { return certificate_.Fingerprint(); }

 private:
  const net::PrivateKey key_ = net::PrivateKey::Generate();
  const net::Certificate certificate_ = net::Certificate::MakeAuthority(
      key_, "lab CA", RealClock().WallNow() - std::chrono::hours(50), std::chrono::hours(100));
};

// What a node told the tracker, and whether it is there at all.
class TestTracker final : public TrackerLink {
 public:
  bool connected() const override { return up; }
  void Send(const v1::FromNode& message) override {
    {
      MutexLock lock(mutex_);
      said_.push_back(message);
    }
    if (on_message) on_message(message);
  }
  std::vector<v1::FromNode> said() const {
    MutexLock lock(mutex_);
    return said_;
  }
  std::atomic<bool> up = true;
  // Set before the node does anything. May call back into the cluster only from another thread.
  std::function<void(const v1::FromNode&)> on_message;

 private:
  mutable Mutex mutex_;
  std::vector<v1::FromNode> said_ GUARDED_BY(mutex_);
};

}  // namespace hearth::p2p
