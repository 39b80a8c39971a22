#include "plugin/inflate.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "plugin/compress_for_test.h"

namespace hearth::plugin {
namespace {

constexpr uint64_t kLimit = 128u << 20;

Result<std::string> Inflate(ByteSource& source, Compression compression, uint64_t limit = kLimit,
                            size_t out_bytes = 1000) {
  const auto inflater = MakeInflater(source, compression, limit);
  std::string all;
  std::string buffer(out_bytes, '\0');
  while (true) {
    const size_t size = TRY(inflater->Read(buffer));
    if (size == 0) return all;
    all.append(buffer, 0, size);
  }
}

Result<std::string> Inflate(const std::string& bytes, Compression compression = Compression::kGzip,
                            uint64_t limit = kLimit) {
  StringSource source(bytes);
  return Inflate(source, compression, limit);
}

// Compressible, but not to nothing.
std::string Sample(size_t bytes) {
  std::string text;
  uint32_t state = 1;
  while (text.size() < bytes) {
    state = state * 1664525 + 1013904223;
    text += "line " + std::to_string(state >> 20) + "\n";
  }
  text.resize(bytes);
  return text;
}

TEST(Inflater, ReadsWhatWasCompressedWhateverTheSteps) {
  const std::string text = Sample(700'000);
  const struct {
    Compression compression;
    std::string bytes;
  } cases[] = {{Compression::kNone, text},
               {Compression::kGzip, GzipOf(text)},
               {Compression::kZstd, ZstdOf(text)},
               {Compression::kZstd, ZstdOf(text, 17)},
               {Compression::kDetect, text},
               {Compression::kDetect, GzipOf(text)},
               {Compression::kDetect, ZstdOf(text)},
               // The media type is wrong, the bytes are right.
               {Compression::kGzip, ZstdOf(text)},
               {Compression::kGzip, text},
               {Compression::kZstd, GzipOf(text)}};
  for (const auto& one : cases) {
    for (const size_t step : {size_t{1}, size_t{4099}, size_t{1} << 20}) {
      StringSource source(one.bytes, step);
      auto got = Inflate(source, one.compression, kLimit, step == 1 ? 100'000 : 333);
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_EQ(*got == text, true) << "step " << step;
    }
  }
}

TEST(Inflater, GzipHeaderWithNamesMayArriveInAnySteps) {
  const std::string text = Sample(10'000);
  const std::string plain = GzipOf(text);
  std::string named = plain.substr(0, 10);
  named[3] = 4 | 8 | 16;  // extra, name, comment
  named += std::string(
               "\x04\x00"
               "ABCD",
               6) +
           std::string("name.tar\0", 9);
  named += std::string("a comment\0", 10) + plain.substr(10);
  const std::string members = named + named;
  for (size_t step = 1; step < 50; ++step) {
    StringSource source(members, step);
    auto got = Inflate(source, Compression::kGzip);
    ASSERT_TRUE(got.ok()) << got.status() << ", step " << step;
    EXPECT_EQ(*got == text + text, true) << "step " << step;
  }
}

TEST(Inflater, NoneLeavesCompressedBytesAlone) {
  const std::string bytes = GzipOf("text");
  EXPECT_EQ(*Inflate(bytes, Compression::kNone), bytes);
}

TEST(Inflater, EmptyStreamIsEmpty) {
  for (const auto compression : {Compression::kNone, Compression::kGzip, Compression::kZstd}) {
    auto got = Inflate("", compression);
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(*got, "");
  }
}

TEST(Inflater, ReadsAllGzipMembersAndZstdFrames) {
  const std::string text = Sample(300'000);
  const std::string skippable = std::string("\x53\x2a\x4d\x18\x05\x00\x00\x00", 8) + "12345";
  EXPECT_EQ(*Inflate(GzipOf("a") + GzipOf("") + GzipOf(text) + GzipOf("b")), "a" + text + "b");
  EXPECT_EQ(*Inflate(ZstdOf("a") + ZstdOf(text) + skippable + ZstdOf("b")), "a" + text + "b");
  EXPECT_EQ(*Inflate(skippable + ZstdOf("a") + skippable), "a");
}

TEST(Inflater, EveryTruncationIsDataLoss) {
  const std::string text = Sample(5000);
  for (const std::string& bytes : {GzipOf(text), ZstdOf(text), GzipOf("x") + GzipOf(text)}) {
    const bool two = bytes.starts_with(GzipOf("x"));
    for (size_t size = 4; size < bytes.size(); ++size) {
      if (two && size == GzipOf("x").size()) continue;  // a whole member
      const auto got = Inflate(bytes.substr(0, size));
      ASSERT_EQ(got.status().code(), StatusCode::kDataLoss) << size << " of " << bytes.size();
    }
  }
}

TEST(Inflater, CorruptBytesAreDataLoss) {
  const std::string text = Sample(50'000);
  std::string crc = GzipOf(text);
  crc[crc.size() - 6] ^= 1;
  std::string length = GzipOf(text);
  length[length.size() - 2] ^= 1;
  std::string middle = GzipOf(text);
  middle[middle.size() / 2] ^= 0x10;
  std::string frame = ZstdOf(text);
  frame[frame.size() / 2] ^= 0x10;
  for (const std::string& bytes :
       {crc, length, middle, GzipOf(text) + "garbage garbage",
        GzipOf(text) + std::string(512, '\0'), ZstdOf(text) + "garbage garbage garbage"}) {
    EXPECT_EQ(Inflate(bytes).status().code(), StatusCode::kDataLoss);
  }
  // zstd without a checksum may decode a flipped bit to other bytes; never to the same ones.
  auto got = Inflate(frame);
  EXPECT_FALSE(got.ok() && *got == text);
}

TEST(Inflater, SourceErrorsComeThrough) {
  const std::string bytes = GzipOf(Sample(50'000));
  StringSource source(bytes.substr(0, bytes.size() / 2), 1000, Unavailable("peer went away"));
  EXPECT_EQ(Inflate(source, Compression::kGzip).status().code(), StatusCode::kUnavailable);
}

TEST(Inflater, ZstdWindowAboveTheLimitIsRefused) {
  const std::string text = Sample(100'000);
  const std::string bytes = ZstdOf(text, 24);
  EXPECT_EQ(*Inflate(bytes, Compression::kZstd, 16u << 20), text);
  const auto got = Inflate(bytes, Compression::kZstd, (16u << 20) - 1);
  EXPECT_EQ(got.status().code(), StatusCode::kResourceExhausted) << got.status();
  EXPECT_NE(got.status().message().find("16.0 MiB"), std::string::npos) << got.status();
  // Said by the content size of a single segment.
  // Said by the content size of a single segment: 20 MiB.
  const std::string single("\x28\xb5\x2f\xfd\xa0\x00\x00\x40\x01", 9);
  EXPECT_EQ(Inflate(single, Compression::kZstd, 8u << 20).status().code(),
            StatusCode::kResourceExhausted);
}

TEST(Inflater, OneLargeWindowAtATime) {
  const std::string bytes = ZstdOf(Sample(100'000), 24);
  StringSource first_source(bytes);
  auto first = MakeInflater(first_source, Compression::kZstd, kLimit);
  char byte;
  ASSERT_EQ(*first->Read({&byte, 1}), 1u);

  StringSource second_source(bytes);
  std::stop_source stop;
  const auto second = MakeInflater(second_source, Compression::kZstd, kLimit, stop.get_token());
  stop.request_stop();
  EXPECT_EQ(second->Read({&byte, 1}).status().code(), StatusCode::kCancelled);

  StringSource third_source(bytes);
  const auto third = MakeInflater(third_source, Compression::kZstd, kLimit);
  std::thread waiting([&] { EXPECT_EQ(*third->Read({&byte, 1}), 1u); });
  first.reset();
  waiting.join();
}

}  // namespace
}  // namespace hearth::plugin
