#include "plugin/upkeep.h"

#include <gtest/gtest.h>

#include <future>
#include <utility>

#include "base/file.h"
#include "plugin/scratch_store_for_test.h"

namespace hearth::plugin {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

class UpkeepTest : public ::testing::Test {
 protected:
  static constexpr Upkeep::Options::Pause kNever{hours(1), hours(1)};
  static constexpr Upkeep::Options::Pause kAtOnce{milliseconds(1), milliseconds(1)};

  Upkeep::Options Options(Upkeep::Options::Pause sync, std::function<Status()> sweep) {
    return {.store = scratch_.store(),
            .collector = collector_,
            .sync = sync,
            .interval = milliseconds(1),
            .sweeps = {std::move(sweep)}};
  }
  void CommitLayer() {
    store::LayerInfo layer;
    layer.chain = Digest::Of("chain");
    layer.diff_id = Digest::Of("diff");
    layer.blob = Digest::Of("blob");
    layer.directory = scratch_.store().snapshots().BeginLayer().value();
    layer.boot_id = BootId();
    ASSERT_TRUE(scratch_.store().snapshots().CommitLayer(layer).ok());
  }
  bool IsDurable() { return scratch_.store().snapshots().NotDurable().empty(); }

  ScratchStore scratch_;
  store::Collector collector_{
      {.store = scratch_.store(), .limits = [](const store::FileSystemSize& /*size*/) {
         return store::SpaceLimits{.quota_bytes = UINT64_MAX, .min_free_bytes = 0};
       }}};
};

TEST_F(UpkeepTest, SweepsAgainAndAgainAlsoAfterOneFailed) {
  std::promise<void> twice;
  int failing = 0;
  int sweeps = 0;
  auto options = Options(kNever, [&] {
    ++failing;
    return Internal("the index cannot be read");
  });
  options.sweeps.push_back([&] {
    if (++sweeps == 2) twice.set_value();
    return OkStatus();
  });
  const Upkeep upkeep(std::move(options));
  EXPECT_EQ(twice.get_future().wait_for(seconds(20)), std::future_status::ready);
}

TEST_F(UpkeepTest, SyncsALayerOnlyAfterItsPauseOrAtTheStop) {
  CommitLayer();
  {
    std::promise<void> many;
    int sweeps = 0;
    const Upkeep upkeep(Options(kNever, [&] {
      if (++sweeps == 10) many.set_value();
      return OkStatus();
    }));
    ASSERT_EQ(many.get_future().wait_for(seconds(20)), std::future_status::ready);
    EXPECT_FALSE(IsDurable()) << "a sync right after a commit holds up every small one beside it";
  }
  EXPECT_TRUE(IsDurable()) << "a reboot may follow the stop";
}

TEST_F(UpkeepTest, SyncsALayerAfterItsPause) {
  CommitLayer();
  std::promise<void> durable;
  bool told = false;
  const Upkeep upkeep(Options(kAtOnce, [&] {
    if (IsDurable() && !std::exchange(told, true)) durable.set_value();
    return OkStatus();
  }));
  EXPECT_EQ(durable.get_future().wait_for(seconds(20)), std::future_status::ready);
}

}  // namespace
}  // namespace hearth::plugin
