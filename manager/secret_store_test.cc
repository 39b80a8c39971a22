#include "manager/secret_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "manager/manager_for_test.h"

namespace hearth::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kConfig[] = R"({"auths":{"r.io":{"auth":"am9lOnMzY3JldA=="}}})";

class SecretStoreTest : public ManagerTest {
 protected:
  PullSecret Of(const std::string& name) { return {name, Secret(std::string(kConfig))}; }

  std::unique_ptr<kv::Kv> own_kv_ = kv::MakeMemoryKv();
  std::unique_ptr<Sealer> sealer_ = Sealer::Open(root_ / "secrets.key", true).value();
  SecretStore store_{*own_kv_, *sealer_};
};

TEST_F(SecretStoreTest, KeepsThemSealed) {
  ASSERT_EQ(store_.Put(Of("a/b")), OkStatus());
  ASSERT_EQ(store_.Put(Of("a/c")), OkStatus());
  EXPECT_THAT(*store_.Names(), ElementsAre("a/b", "a/c"));
  EXPECT_EQ(store_.Find("a/b")->docker_config.Reveal(), kConfig);
  const Status read =
      own_kv_->Scan(kv::Family::kOrders, "", [](std::string_view, std::string_view v) {
        EXPECT_THAT(std::string(v), Not(HasSubstr("am9l")));
        return true;
      });
  EXPECT_EQ(read, OkStatus());
  EXPECT_EQ(store_.Remove("a/b"), OkStatus());
  EXPECT_EQ(store_.Remove("a/b").code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.Find("a/b").status().code(), StatusCode::kNotFound);
}

TEST_F(SecretStoreTest, AreRenewedSoThatAnOldKeyMayGo) {
  const auto with = [&](const std::string& keys) {
    CHECK(WriteFileAtomically(root_ / "rotated.key", keys, 0600).ok());
    return Sealer::Open(root_ / "rotated.key", false).value();
  };
  const std::string old_key(64, 'a');
  const std::string new_key(64, 'b');
  const auto before = with(old_key);
  ASSERT_EQ(SecretStore(*own_kv_, *before).Put(Of("a/b")), OkStatus());
  ASSERT_EQ(SecretStore(*own_kv_, *before).Put(Of("a/c")), OkStatus());
  const auto both = with(new_key + "\n" + old_key);
  EXPECT_EQ(SecretStore(*own_kv_, *both).Renew().value(), 2u);
  const auto after = with(new_key);
  SecretStore store(*own_kv_, *after);
  EXPECT_EQ(store.Find("a/c")->docker_config.Reveal(), kConfig);
  EXPECT_EQ(store.Renew().value(), 0u);
  // One that no key opens stays, and keeps no other from being renewed.
  EXPECT_EQ(SecretStore(*own_kv_, *before).Renew().value(), 0u);
  EXPECT_EQ(store.Find("a/b")->docker_config.Reveal(), kConfig);
}

// One that was copied to another name in the store opens nowhere.
TEST_F(SecretStoreTest, OpensUnderItsOwnNameOnly) {
  ASSERT_EQ(store_.Put(Of("a/b")), OkStatus());
  const auto sealed = own_kv_->Get(kv::Family::kOrders, "secret/a/b");
  ASSERT_EQ(own_kv_->Put(kv::Family::kOrders, "secret/a/c", *sealed, kv::Sync::kNo), OkStatus());
  EXPECT_EQ(store_.Find("a/c").status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace hearth::manager
