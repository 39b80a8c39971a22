#include "manager/sealer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"

namespace hearth::manager {
namespace {

using testing::HasSubstr;

class SealerTest : public ::testing::Test {
 protected:
  SealerTest() {
    std::string name = "/tmp/hearth-sealer-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    root_ = name;
    file_ = root_ / "key";
  }
  ~SealerTest() override { (void)RemoveTree(root_); }
  std::unique_ptr<Sealer> With(const std::string& keys) {
    CHECK(WriteFileAtomically(file_, keys, 0600).ok());
    return Sealer::Open(file_, false).value();
  }

  std::filesystem::path root_;
  std::filesystem::path file_;
};

TEST_F(SealerTest, OpensWhatItSealedAndNothingElse) {
  const auto sealer = Sealer::Open(file_, true).value();
  struct stat info {};
  ASSERT_EQ(::stat(file_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const std::string sealed = sealer->Seal("password", "job/1");
  EXPECT_EQ(sealed.find("password"), std::string::npos);
  EXPECT_NE(sealed, sealer->Seal("password", "job/1"));
  EXPECT_EQ(sealer->Unseal(sealed, "job/1")->Reveal(), "password");
  EXPECT_EQ(sealer->Unseal(sealed, "job/2").status().code(), StatusCode::kDataLoss);
  for (const size_t at : {0u, 20u, 40u}) {
    std::string changed = sealed;
    changed[at] = changed[at] == '0' ? '1' : '0';
    EXPECT_FALSE(sealer->Unseal(changed, "job/1").ok()) << at;
  }
  for (const char* text : {"", "0", "zz", "01"}) {
    EXPECT_EQ(sealer->Unseal(text, "job/1").status().code(), StatusCode::kDataLoss) << text;
  }
  // The same file again.
  EXPECT_EQ(Sealer::Open(file_, true).value()->Unseal(sealed, "job/1")->Reveal(), "password");
}

TEST_F(SealerTest, ANewKeyGoesFirstAndTheOldOneStillOpens) {
  const std::string old_key(64, 'a');
  const std::string new_key(64, 'b');
  const std::string sealed = With(old_key)->Seal("x", "p");
  const auto both = With(new_key + "\n" + old_key + "\n");
  EXPECT_EQ(both->Unseal(sealed, "p")->Reveal(), "x");
  const std::string fresh = both->Seal("y", "p");
  const auto only_new = With(new_key);
  EXPECT_EQ(only_new->Unseal(fresh, "p")->Reveal(), "y");
  const auto lost = only_new->Unseal(sealed, "p").status();
  EXPECT_EQ(lost.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(lost.message(), HasSubstr("key file"));
}

TEST_F(SealerTest, RenewsWhatTheFirstKeyDidNotSeal) {
  const std::string old_key(64, 'a');
  const std::string new_key(64, 'b');
  const std::string sealed = With(old_key)->Seal("x", "p");
  EXPECT_EQ(*With(old_key)->Renew(sealed, "p"), std::nullopt);
  const auto renewed = With(new_key + "\n" + old_key + "\n")->Renew(sealed, "p").value();
  ASSERT_TRUE(renewed.has_value());
  EXPECT_EQ(With(new_key)->Unseal(*renewed, "p")->Reveal(), "x");
  EXPECT_EQ(*With(new_key)->Renew(*renewed, "p"), std::nullopt);
  EXPECT_EQ(With(new_key)->Renew(sealed, "p").status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(SealerTest, NamesTheLineThatIsNoKeyAndNotItsContent) {
  for (const std::string& text :
       {std::string(), std::string("\n\n"), std::string(64, 'g'), std::string(62, 'a'),
        std::string(64, 'a') + "\n" + std::string(63, 'c')}) {
    CHECK(WriteFileAtomically(file_, text, 0600).ok());
    const auto opened = Sealer::Open(file_, true).status();
    EXPECT_EQ(opened.code(), StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(opened.message().find("ccc"), std::string::npos);
    EXPECT_EQ(opened.message().find("ggg"), std::string::npos);
  }
  EXPECT_FALSE(Sealer::Open(root_ / "none", false).ok());
}

}  // namespace
}  // namespace hearth::manager
