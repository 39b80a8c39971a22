#include "plugin/event_stream.h"

#include <gtest/gtest.h>

namespace hearth::plugin {
namespace {

std::string ReadAll(EventStream& events) {
  std::string all;
  bool last = false;
  while (!last) {
    bool called = false;
    events.Next([&](Result<net::BodyChunk> chunk) {
      called = true;
      ASSERT_TRUE(chunk.ok());
      all += chunk->data;
      last = chunk->last;
    });
    if (!called) return all + "(nothing more can be told)";
  }
  return all;
}

TEST(EventStream, SlowReaderIsToldHowItEnded) {
  EventStream events;
  for (size_t i = 0; i < EventStream::kMaxLines + 10; ++i) events.Write("problem");
  events.Write("done");
  events.End();
  const std::string all = ReadAll(events);
  EXPECT_TRUE(all.ends_with("\ndone\n")) << all.substr(all.size() - 100);
}

TEST(EventStream, ProgressGivesWayBeforeAnythingElse) {
  EventStream events;
  events.Write("first");
  for (size_t i = 0; i < EventStream::kMaxLines; ++i) events.Write("progress", true);
  events.Write("done");
  events.End();
  EXPECT_TRUE(ReadAll(events).starts_with("first\n"));
}

}  // namespace
}  // namespace hearth::plugin
