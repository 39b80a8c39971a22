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

// One that was copied to another name in the store opens nowhere.
TEST_F(SecretStoreTest, OpensUnderItsOwnNameOnly) {
  ASSERT_EQ(store_.Put(Of("a/b")), OkStatus());
  const auto sealed = own_kv_->Get(kv::Family::kOrders, "secret/a/b");
  ASSERT_EQ(own_kv_->Put(kv::Family::kOrders, "secret/a/c", *sealed, kv::Sync::kNo), OkStatus());
  EXPECT_EQ(store_.Find("a/c").status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace hearth::manager
