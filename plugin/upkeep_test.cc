#include "plugin/upkeep.h"

#include <gtest/gtest.h>

#include <future>

#include "plugin/scratch_store_for_test.h"

namespace hearth::plugin {
namespace {

TEST(UpkeepTest, SweepsAgainAndAgainAlsoAfterOneFailed) {
  ScratchStore scratch;
  store::Collector collector(
      {.store = scratch.store(), .limits = [](const store::FileSystemSize& /*size*/) {
         return store::SpaceLimits{.quota_bytes = UINT64_MAX, .min_free_bytes = 0};
       }});
  std::promise<void> twice;
  int failing = 0;
  int sweeps = 0;
  const Upkeep upkeep({.store = scratch.store(),
                       .collector = collector,
                       .interval = std::chrono::milliseconds(1),
                       .sweeps = {[&] {
                                    ++failing;
                                    return Internal("the index cannot be read");
                                  },
                                  [&] {
                                    if (++sweeps == 2) twice.set_value();
                                    return OkStatus();
                                  }}});
  EXPECT_EQ(twice.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

}  // namespace
}  // namespace hearth::plugin
