// What commands print: tables, diffs, findings; and what they read from other programs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cmd/ctr.h"
#include "cmd/finding.h"
#include "cmd/install_files.h"
#include "cmd/process_files.h"
#include "cmd/subprocess.h"
#include "cmd/table.h"
#include "cmd/unified_diff.h"

namespace hearth::cmd {
namespace {

using testing::HasSubstr;

TEST(Table, AlignsColumnsAndEndsWithoutBlanks) {
  Table table({"NAME", "SIZE"});
  EXPECT_TRUE(table.empty());
  table.Add({"a", "1.0 KiB"});
  table.Add({"longer name", ""});
  EXPECT_EQ(table.ToString(), "NAME         SIZE\na            1.0 KiB\nlonger name\n");
}

TEST(UnifiedDiff, ShowsWhatDiffDashUShows) {
  EXPECT_EQ(UnifiedDiff("/f", "a\n", "a\n"), "");
  EXPECT_EQ(UnifiedDiff("/f", std::nullopt, "a\nb\n"),
            "--- /dev/null\n+++ /f\n@@ -0,0 +1,2 @@\n+a\n+b\n");
  EXPECT_EQ(UnifiedDiff("/f", "a\n", std::nullopt), "--- /f\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n");
  EXPECT_EQ(UnifiedDiff("/f", "1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\nfive\n6\n"),
            "--- /f\n+++ /f\n@@ -2,5 +2,5 @@\n 2\n 3\n 4\n-5\n+five\n 6\n");
  EXPECT_THAT(UnifiedDiff("/f", "a", "a\nb\n"),
              HasSubstr("-a\n\\ No newline at end of file\n+a\n+b"));
}

TEST(UnifiedDiff, FarChangesAreHunksOfTheirOwn) {
  std::string before;
  for (int i = 1; i <= 30; ++i) before += std::to_string(i) + "\n";
  std::string after = before;
  after.replace(after.find("5\n"), 1, "x");
  after.replace(after.find("25\n"), 2, "y");
  const std::string diff = UnifiedDiff("/f", before, after);
  EXPECT_THAT(diff,
              HasSubstr("@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n@@ -22,7 +22,7 @@\n"));
}

TEST(Ctr, ReadsPluginsAndLabels) {
  const auto plugins = ParsePlugins(
      "TYPE                            ID              PLATFORMS      STATUS\n"
      "io.containerd.snapshotter.v1    hearth          linux/amd64    ok\n"
      "io.containerd.snapshotter.v1    zfs             -              skip\n"
      "io.containerd.content.v1        hearth-content  linux/amd64    error\n");
  ASSERT_EQ(plugins.size(), 3u);
  EXPECT_EQ(plugins[0].id, "hearth");
  EXPECT_EQ(plugins[0].status, "ok");
  EXPECT_EQ(plugins[2].status, "error");
  const auto labels = ParseNamespaceLabels(
      "NAME    LABELS\ndefault \nk8s.io  a=b,containerd.io/defaults/snapshotter=hearth\n",
      kDefaultSnapshotterLabel);
  EXPECT_EQ(labels, (std::map<std::string, std::string>{{"k8s.io", "hearth"}}));
}

TEST(RunProgram, GivesOutputAndExitCode) {
  const auto result =
      RunProgram({"sh", "-c", "echo out; echo err >&2; exit 3"}, std::chrono::seconds(30));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "out\n");
  EXPECT_EQ(result->err, "err\n");
  EXPECT_EQ(result->exit_code, 3);
}

TEST(RunProgram, KillsWhatHangsAndNamesWhatIsMissing) {
  EXPECT_EQ(RunProgram({"sleep", "60"}, std::chrono::seconds(0)).status().code(),
            StatusCode::kDeadlineExceeded);
  const auto missing = RunProgram({"no-such-program-here"}, std::chrono::seconds(5));
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr("no-such-program-here"));
}

TEST(RunProgram, ReadsMoreThanAPipeHolds) {
  const auto result = RunProgram({"head", "-c", "3000000", "/dev/zero"}, std::chrono::seconds(60));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out.size(), kMaxProgramOutputBytes);
}

TEST(Findings, TextAndJsonSayTheSame) {
  Findings findings;
  findings.Ok("node", "answers");
  findings.Warn("clock", "no time service keeps it", "it drifts", "run one");
  EXPECT_FALSE(findings.AnyFailed());
  findings.Fail("mirror", "silent\x1b[2J\xff", "pulls are cold", "start it");
  EXPECT_EQ(findings.Text(),
            "ok    node: answers\n"
            "warn  clock: no time service keeps it\n      it drifts\n      → run one\n"
            "fail  mirror: silent\\u001b[2J\\xff\n      pulls are cold\n      → start it\n");
  const auto json = nlohmann::json::parse(findings.Json());
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["findings"][1]["state"], "warn");
  EXPECT_EQ(json["findings"][2]["why"], "pulls are cold");
  EXPECT_TRUE(findings.AnyFailed());
}

TEST(ProcessFiles, AreReadAsTheKernelWritesThem) {
  constexpr char kLimits[] =
      "Limit                     Soft Limit           Hard Limit           Units     \n"
      "Max file size             unlimited            unlimited            bytes     \n"
      "Max open files            1024                 524288               files     \n";
  EXPECT_EQ(MaxOpenFiles(kLimits), 1024U);
  EXPECT_GT(MaxOpenFiles("Max open files            unlimited            unlimited\n").value_or(0),
            1U << 30);
  EXPECT_EQ(MaxOpenFiles(""), std::nullopt);
  EXPECT_EQ(MaxOpenFiles("Max open files"), std::nullopt);
  EXPECT_TRUE(HasFileSystem("nodev\tproc\n\text4\nnodev\toverlay\n", "overlay"));
  EXPECT_TRUE(HasFileSystem("nodev\tproc\n\text4\n", "ext4"));
  EXPECT_FALSE(HasFileSystem("nodev\toverlayish\n", "overlay"));
  EXPECT_TRUE(ReadProcessFile("/proc/self/limits").ok());
}

TEST(InstallFiles, AreTheDocumentedOnes) {
  EXPECT_THAT(kNodeTomlText, HasSubstr("\nroot = \"/var/lib/hearth\"\n"));
  EXPECT_THAT(kHearthServiceText, HasSubstr("\nExecStart=/usr/bin/hearth node\n"));
}

}  // namespace
}  // namespace hearth::cmd
