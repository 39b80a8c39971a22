#include "plugin/config_review.h"

#include <gtest/gtest.h>

#include "plugin/containerd_config.h"

namespace hearth::plugin {
namespace {

ContainerdSetup Setup(const std::string& version, InstallLevel level) {
  ContainerdSetup setup;
  setup.version = version;
  setup.level = level;
  setup.socket = "/run/hearth/hearth.sock";
  setup.snapshots_root = "/var/lib/hearth/snapshots";
  setup.hosts_directory = "/etc/containerd/certs.d";
  setup.file_version = setup.Is2() ? 3 : 2;
  return setup;
}

// What install writes for this version, as one file.
std::string Installed(const std::string& version, InstallLevel level = InstallLevel::kContent) {
  const ContainerdSetup setup = Setup(version, level);
  std::string text = DropInText(setup);
  for (const PluginSetting& setting : SettingsInPlace(setup)) {
    text = SetTomlValue(text, setting.path, setting.value).value();
  }
  return text;
}

// "what; what", the slight ones in brackets.
std::string Problems(const std::string& dump, const std::string& version,
                     InstallLevel level = InstallLevel::kContent) {
  const auto problems = ReviewConfig(dump, {.version = version,
                                            .level = level,
                                            .socket = "/run/hearth/hearth.sock",
                                            .snapshots_root = "/var/lib/hearth/snapshots"});
  if (!problems.ok()) return problems.status().ToString();
  std::string text;
  for (const ConfigProblem& one : *problems) {
    EXPECT_NE(one.why, "");
    EXPECT_NE(one.advice, "");
    text += (text.empty() ? "" : "; ") + (one.grave ? one.what : "(" + one.what + ")");
  }
  return text;
}

std::string Without(std::string text, const std::string& part, const std::string& instead = "") {
  const size_t at = text.find(part);
  EXPECT_NE(at, std::string::npos) << part << " in\n" << text;
  return at == std::string::npos ? text : text.replace(at, part.size(), instead);
}

TEST(ConfigReview, FindsNothingWrongInWhatInstallWrites) {
  for (const char* version : {"1.6.20", "1.7.24", "2.0.5", "2.1.9"}) {
    for (const InstallLevel level :
         {InstallLevel::kMirror, InstallLevel::kSnapshotter, InstallLevel::kContent}) {
      const std::string text = Installed(version, level);
      EXPECT_EQ(Problems(text, version, level), "") << version << "\n" << text;
      EXPECT_EQ(LevelOf(text).value(), level) << version;
      EXPECT_EQ(HostsDirectories(text).value(), "/etc/containerd/certs.d") << version;
    }
  }
}

TEST(ConfigReview, NamesEachPartThatIsMissing) {
  const std::string text = Installed("2.1.9");
  EXPECT_EQ(Problems(Without(text, "\"io.containerd.content.v1.content\""), "2.1.9"),
            "containerd's own content store is not disabled");
  EXPECT_EQ(
      Problems(Without(text, "[proxy_plugins.hearth-diff]", "[proxy_plugins.other]"), "2.1.9"),
      "there is no [proxy_plugins.hearth-diff]");
  EXPECT_EQ(Problems(Without(text, "[proxy_plugins.hearth-content]", "[proxy_plugins.x]"), "2.1.9"),
            "there is no [proxy_plugins.hearth-content]");
  EXPECT_EQ(Problems(Without(text, "/run/hearth/hearth.sock", "/run/old.sock"), "2.1.9"),
            "[proxy_plugins.hearth-content] goes to /run/old.sock, the node is at "
            "/run/hearth/hearth.sock");
  EXPECT_EQ(
      Problems(Without(text, "\n  snapshotter = \"hearth\"\n  differ", "\n  differ"), "2.1.9"),
      "no unpack_config of the transfer service names snapshotter hearth");
}

TEST(ConfigReview, NamesWhatOnlyMakesItSlower) {
  const std::string text = Installed("2.1.9");
  EXPECT_EQ(Problems(Without(text, "\"hearth-diff\", \"walking\"", "\"walking\""), "2.1.9"),
            "(hearth-diff is not the first of the diff service's differs)");
  EXPECT_EQ(Problems(Without(text, "/var/lib/hearth/snapshots", "/elsewhere"), "2.1.9"),
            "([proxy_plugins.hearth.exports] root is /elsewhere, not /var/lib/hearth/snapshots)");
  EXPECT_EQ(Problems(Without(text, "annotations = \"true\"", "annotations = \"false\""), "2.1.9"),
            "([proxy_plugins.hearth.exports] enable_remote_snapshot_annotations is not \"true\")");
  const std::string cri = "[plugins.\"io.containerd.cri.v1.images\"]\n  snapshotter = ";
  EXPECT_EQ(Problems(Without(text, cri + "\"hearth\"", cri + "\"overlayfs\""), "2.1.9"),
            "(CRI uses snapshotter overlayfs)");
}

TEST(ConfigReview, AsksFor1_6NoExportsWhichItDrops) {
  const std::string text =
      Without(Installed("1.6.20"), "  [proxy_plugins.hearth.exports]", "  [other]");
  EXPECT_EQ(Problems(text, "1.6.20"), "");
}

TEST(ConfigReview, AsksNothingOfADisabledCri) {
  for (const char* version : {"1.7.24", "2.1.9"}) {
    const std::string cri = version[0] == '2'
                                ? "[plugins.\"io.containerd.cri.v1.images\"]\n"
                                : "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n";
    std::string text = Installed(version);
    text = Without(text, "snapshotter = \"hearth\"", "snapshotter = \"overlayfs\"");
    text = Without(text, "disabled_plugins = [",
                   "disabled_plugins = [\"io.containerd.grpc.v1.cri\", ");
    EXPECT_EQ(Problems(text, version).find("CRI"), std::string::npos) << text;
  }
}

TEST(ConfigReview, LowerLevelsAskForLess) {
  EXPECT_EQ(Problems("", "2.1.9", InstallLevel::kMirror), "");
  EXPECT_EQ(Problems("", "1.6.20", InstallLevel::kSnapshotter),
            "there is no [proxy_plugins.hearth]");
  EXPECT_EQ(Problems("= 1", "2.1.9").substr(0, 16), "invalid_argument");
}

TEST(ConfigReview, HostsDirectoriesAreCris) {
  EXPECT_EQ(HostsDirectories("").value(), "");
  EXPECT_EQ(
      HostsDirectories("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/a:/b\"")
          .value(),
      "/a:/b");
}

}  // namespace
}  // namespace hearth::plugin
