#include "plugin/installer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "base/file.h"
#include "plugin/install_record.h"
#include "plugin/toml_edit.h"

namespace hearth::plugin {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kHosts = "/etc/containerd/certs.d/_default/hosts.toml";

std::string TestData(const std::string& name) { return *ReadFile("testdata/" + name, 1 << 20); }

class Installation : public testing::Test {
 protected:
  Installation() { options_.containerd_version = "2.1.9"; }

  Result<std::map<std::string, FileEdit>> Plan() {
    const auto read = [this](const std::string& path) -> Result<std::optional<std::string>> {
      const auto found = files_.find(path);
      if (found == files_.end()) return std::optional<std::string>();
      return std::optional<std::string>(found->second);
    };
    std::map<std::string, FileEdit> by_path;
    for (FileEdit& edit : TRY(PlanInstall(options_, read))) by_path[edit.path] = edit;
    return by_path;
  }
  std::string After(const std::string& path) {
    auto plan = Plan();
    return plan.ok() ? (*plan)[path].after : "error: " + plan.status().message();
  }
  std::string Error() {
    const auto plan = Plan();
    return plan.ok() ? "(no error)" : plan.status().message();
  }

  InstallOptions options_;
  std::map<std::string, std::string> files_;
};

TEST_F(Installation, OfDebiansConfigIsTheGoldenOne) {
  files_[kContainerdConfigFile] = TestData("containerd-debian.toml");
  EXPECT_EQ(After(kContainerdConfigFile), TestData("containerd-debian.installed.toml"));
  EXPECT_EQ(After(kDropInFile), TestData("hearth-v2.toml"));
  EXPECT_EQ(After(kHosts), TestData("hosts.toml"));
}

TEST_F(Installation, WithoutAConfigMakesOne) {
  EXPECT_EQ(After(kContainerdConfigFile),
            "version = 3\nimports = [\"/etc/containerd/conf.d/hearth.toml\"]\n");
  EXPECT_EQ(After(kDropInFile), TestData("hearth-v3.toml"));
}

TEST_F(Installation, SecondRunChangesNothing) {
  files_[kContainerdConfigFile] = TestData("containerd-debian.toml");
  const auto first = Plan();
  ASSERT_TRUE(first.ok()) << first.status();
  for (const auto& [path, edit] : *first) files_[path] = edit.after;
  const auto second = Plan();
  ASSERT_TRUE(second.ok()) << second.status();
  for (const auto& [path, edit] : *second) EXPECT_FALSE(edit.Changes()) << path;
}

TEST_F(Installation, ImportThatCoversTheDropInIsEnough) {
  for (const char* imports : {"/etc/containerd/conf.d/*.toml", "conf.d/hearth.toml"}) {
    files_[kContainerdConfigFile] = "version = 3\nimports = [\"" + std::string(imports) + "\"]\n";
    EXPECT_EQ(After(kContainerdConfigFile), files_[kContainerdConfigFile]);
  }
  files_[kContainerdConfigFile] = "version = 3\n";
  options_.effective_config = "imports = ['/etc/containerd/conf.d/*.toml']";
  EXPECT_EQ(After(kContainerdConfigFile), files_[kContainerdConfigFile]);
}

TEST_F(Installation, KeepsTheUsersHostsDirectory) {
  files_[kContainerdConfigFile] =
      "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"
      "config_path = \"/etc/hosts.d:/etc/docker/certs.d\"\n";
  const auto plan = Plan();
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->contains("/etc/hosts.d/_default/hosts.toml"));
  EXPECT_THAT(plan->at(kDropInFile).after, HasSubstr("config_path = \"/etc/hosts.d\"\n"));
}

TEST_F(Installation, KeepOverlayfsAddsAnEntry) {
  EXPECT_THAT(After(kDropInFile), Not(HasSubstr("overlayfs")));
  options_.keep_overlayfs = true;
  EXPECT_THAT(After(kDropInFile), HasSubstr("snapshotter = \"overlayfs\""));
}

TEST_F(Installation, KeepsANodeConfigThatIsThere) {
  options_.node_config = "# defaults\n";
  EXPECT_EQ(After("/etc/hearth/node.toml"), "# defaults\n");
  files_["/etc/hearth/node.toml"] = "root = \"/mine\"\n";
  EXPECT_EQ(After("/etc/hearth/node.toml"), "root = \"/mine\"\n");
}

TEST_F(Installation, RefusesWhatItCannotDoWell) {
  options_.mirror = "127.0.0.1:0";
  EXPECT_THAT(Error(), HasSubstr("port 0"));
  options_.mirror = "127.0.0.1:7733";
  options_.containerd_version = "1.5.9";
  EXPECT_THAT(Error(), HasSubstr("1.6, 1.7 and 2.x can be configured"));
  options_.containerd_version = "2.1.9";
  for (const char* text : {"version = 1\n", "root = \"/x\"\n"}) {
    files_[kContainerdConfigFile] = text;
    EXPECT_THAT(Error(), HasSubstr("of version 1")) << text;
  }
  files_[kContainerdConfigFile] = "version = \n";
  EXPECT_THAT(Error(), HasSubstr("/etc/containerd/config.toml: line 1: not TOML"));
  for (const char* table : {"mirrors.\"docker.io\"", "configs.\"r.example\".tls"}) {
    files_[kContainerdConfigFile] =
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry." + std::string(table) +
        "]\nx = 1\n";
    EXPECT_THAT(Error(), HasSubstr("excludes hosts.toml")) << table;
  }
}

TEST_F(Installation, Of1xEditsTheUsersTablesInPlace) {
  const std::string cri =
      "[plugins.\"io.containerd.grpc.v1.cri\"]\n  # mine\n  enable_selinux = true\n";
  const std::string table =
      "  [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n    snapshotter = ";
  files_[kContainerdConfigFile] = "version = 2 # v\n" + cri + table + "'overlayfs' # old\n";
  const std::string common =
      "version = 2 # v\nimports = [\"/etc/containerd/conf.d/hearth.toml\"]\n" + cri + table +
      "\"hearth\" # old\n\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"
      "  config_path = \"/etc/containerd/certs.d\"\n";
  options_.containerd_version = "1.6.20";
  EXPECT_EQ(After(kContainerdConfigFile), common);
  EXPECT_THAT(After(kDropInFile), Not(HasSubstr("plugins.\"")));
  EXPECT_THAT(After(kDropInFile), Not(HasSubstr("hearth-diff")));
  EXPECT_THAT(After("/var/lib/containerd/io.containerd.snapshotter.v1.hearth/README"),
              HasSubstr("/var/lib/hearth/snapshots"));
  options_.containerd_version = "1.7.24";
  EXPECT_EQ(After(kContainerdConfigFile),
            common +
                "\n[plugins.\"io.containerd.service.v1.diff-service\"]\n"
                "  default = [\"hearth-diff\", \"walking\"]\n");
  EXPECT_THAT(After(kDropInFile), HasSubstr("hearth-diff"));
}

TEST_F(Installation, Of1xEditsTheImportedFileThatHasTheTable) {
  options_.containerd_version = "1.7.24";
  files_[kContainerdConfigFile] = "version = 2\nimports = [\"/etc/containerd/cri.toml\"]\n";
  files_["/etc/containerd/cri.toml"] =
      "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  enable_selinux = true\n";
  EXPECT_THAT(After("/etc/containerd/cri.toml"), HasSubstr("snapshotter = \"hearth\""));
  EXPECT_THAT(After(kContainerdConfigFile), Not(HasSubstr("grpc.v1.cri")));
  files_[kContainerdConfigFile] =
      "version = 2\nimports = [\"/etc/containerd/cri.toml\", \"/etc/containerd/b.toml\"]\n";
  files_["/etc/containerd/b.toml"] = files_["/etc/containerd/cri.toml"];
  EXPECT_THAT(Error(), HasSubstr("leave it in one file"));
}

TEST_F(Installation, LowerLevelsTakeLess) {
  for (const char* version : {"1.7.24", "2.1.9"}) {
    options_.containerd_version = version;
    options_.level = InstallLevel::kMirror;
    auto plan = Plan();
    ASSERT_TRUE(plan.ok()) << plan.status();
    std::string all;
    for (const auto& [path, edit] : *plan) all += edit.after;
    EXPECT_THAT(all, Not(HasSubstr("proxy_plugins"))) << version;
    EXPECT_THAT(all, Not(HasSubstr("snapshotter"))) << version;
    EXPECT_THAT(all, HasSubstr("config_path = \"/etc/containerd/certs.d\"")) << version;
    options_.level = InstallLevel::kSnapshotter;
    EXPECT_THAT(After(kDropInFile), HasSubstr("[proxy_plugins.hearth]"));
    EXPECT_THAT(After(kDropInFile), Not(HasSubstr("hearth-content")));
    EXPECT_THAT(After(kDropInFile), Not(HasSubstr("hearth-diff")));
  }
}

TEST_F(Installation, NeverReplacesAUsersOwnChoice) {
  const std::pair<const char*, const char*> cases[] = {
      {"[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"stargz\"\n", "stargz"},
      {"[proxy_plugins.other]\ntype = \"content\"\naddress = \"/x\"\n", "other"},
      {"[plugins.\"io.containerd.service.v1.diff-service\"]\ndefault = [\"erofs\"]\n", "erofs"},
      {"[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\nsnapshotter = \"nydus\"\n",
       "nydus"},
  };
  for (const auto& [text, name] : cases) {
    files_[kContainerdConfigFile] = std::string("version = 2\n") + text;
    EXPECT_THAT(Error(), HasSubstr(name));
    EXPECT_THAT(Error(), HasSubstr("would replace"));
  }
}

TEST_F(Installation, TellsNerdctlWhereItIs) {
  EXPECT_EQ(After(kNerdctlFile), "");
  options_.has_nerdctl = true;
  EXPECT_THAT(After(kNerdctlFile), HasSubstr("snapshotter = \"hearth\"\n"));
  files_[kNerdctlFile] = "debug = true # d\nsnapshotter = \"overlayfs\"\n";
  EXPECT_EQ(After(kNerdctlFile), "debug = true # d\nsnapshotter = \"hearth\"\n");
}

TEST(ContainerdVersionText, IsFoundInWhatItPrints) {
  EXPECT_EQ(
      *ParseContainerdVersion("containerd github.com/containerd/containerd/v2 2.1.9+unknown \n"),
      "2.1.9");
  EXPECT_EQ(*ParseContainerdVersion("containerd github.com/containerd/containerd v1.7.24 88bf19b"),
            "1.7.24");
  EXPECT_FALSE(ParseContainerdVersion("command not found").ok());
}

TEST(TomlValue, IsSetWithoutTouchingTheRest) {
  const TomlPath path = {"a", "b.c", "k"};
  const struct {
    const char* before;
    const char* after;
  } cases[] = {
      {"", "[a.\"b.c\"]\n  k = \"v\"\n"},
      {"x = 1", "x = 1\n\n[a.\"b.c\"]\n  k = \"v\"\n"},
      {"[a.'b.c'] # t\n# c\nj = 1\n", "[a.'b.c'] # t\n  k = \"v\"\n# c\nj = 1\n"},
      {"[a.\"b.c\"]\nk = 'é' # c\n", "[a.\"b.c\"]\nk = \"v\" # c\n"},
      {"[a.\"b.c\".d]\n", "[a.\"b.c\".d]\n\n[a.\"b.c\"]\n  k = \"v\"\n"},
      {"a = { \"b.c\" = { j = 1 } }", "a = { \"b.c\" = { k = \"v\", j = 1 } }"},
      {"[a]\n\"b.c\".k = [\n 1, # one\n]\n", "[a]\n\"b.c\".k = \"v\"\n"},
      {"x = '''\n[a.\"b.c\"]\n'''\n", nullptr},
      {"a = { x = 1 }\n", nullptr},
  };
  for (const auto& test : cases) {
    const auto set = SetTomlValue(test.before, path, "\"v\"");
    if (test.after == nullptr) {
      EXPECT_EQ(set.status().code(), StatusCode::kFailedPrecondition) << test.before;
      continue;
    }
    ASSERT_TRUE(set.ok()) << set.status();
    EXPECT_EQ(*set, test.after);
    EXPECT_EQ(*TomlText(*set, path), "v");
  }
  EXPECT_EQ(*RemoveTomlValue("[a.\"b.c\"]\n  k = \"v\"\n# c\n", path), "[a.\"b.c\"]\n# c\n");
  EXPECT_FALSE(RemoveTomlValue("a = { \"b.c\" = { k = 1, j = 1 } }\n", path).ok());
}

TEST(TomlList, GrowsAndShrinksWithoutTouchingTheRest) {
  const struct {
    const char* before;
    const char* after;
  } cases[] = {
      {"", "imports = [\"/x\"]\n"},
      {"# c\nversion = 2 # v\n\n[a]\nb = 1\n",
       "# c\nversion = 2 # v\nimports = [\"/x\"]\n\n[a]\nb = 1\n"},
      {"version = 2", "version = 2\nimports = [\"/x\"]\n"},
      {"imports = [] # none\n", "imports = [\"/x\"] # none\n"},
      {"imports = [\n  # nothing yet\n]\n", "imports = [\"/x\"\n  # nothing yet\n]\n"},
      {"imports = ['/é', # one\n  \"/b\", # two\n]\n[a]\n",
       "imports = ['/é', # one\n  \"/b\", \"/x\", # two\n]\n[a]\n"},
  };
  for (const auto& test : cases) {
    const auto added = AddToTomlList(test.before, "imports", "/x");
    ASSERT_TRUE(added.ok()) << added.status();
    EXPECT_EQ(*added, test.after);
    EXPECT_EQ(*AddToTomlList(*added, "imports", "/x"), *added);
    EXPECT_THAT(*TomlList(*RemoveFromTomlList(*added, "imports", "/x"), "imports"),
                Not(testing::Contains("/x")));
  }
  EXPECT_EQ(*RemoveFromTomlList("i = [\"/x\", '/y'] # c", "i", "/x"), "i = ['/y'] # c");
  EXPECT_EQ(*RemoveFromTomlList("i = ['/y', \"/x\"] # c", "i", "/x"), "i = ['/y'] # c");
  EXPECT_FALSE(AddToTomlList("imports = 5", "imports", "/x").ok());
}

class Record : public testing::Test {
 protected:
  Record() {
    char name[] = "/tmp/hearth-install-XXXXXX";
    CHECK(mkdtemp(name) != nullptr);
    prefix_ = name;
  }
  ~Record() override { CHECK(RemoveTree(prefix_).ok()); }

  void Put(const std::string& path, std::string_view text) {
    const std::filesystem::path real = prefix_.string() + path;
    CHECK(MakeDirectories(real.parent_path()).ok());
    CHECK(WriteFileAtomically(real, text, 0640).ok());
  }
  std::string Get(const std::string& path) {
    const auto text = ReadFile(prefix_.string() + path, 1 << 20);
    return text.ok() ? *text : "(none)";
  }
  // Every file and directory below the prefix.
  std::vector<std::string> Tree() {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(prefix_)) {
      paths.push_back(entry.path().string().substr(prefix_.string().size()));
    }
    std::sort(paths.begin(), paths.end());
    return paths;
  }
  InstallRecord Load() { return *InstallRecord::Load(prefix_); }

  std::filesystem::path prefix_;
};

TEST_F(Record, RestoresEveryFileAndDirectory) {
  Put("/etc/containerd/config.toml", "old");
  const auto before = Tree();
  const auto status_before =
      std::filesystem::last_write_time(prefix_.string() + "/etc/containerd/config.toml");
  InstallRecord record = Load();
  EXPECT_TRUE(record.empty());
  const std::vector<FileEdit> edits = {{"/etc/containerd/config.toml", "old", "new", ""},
                                       {"/etc/containerd/conf.d/a.toml", std::nullopt, "a", ""},
                                       {"/etc/same", "x", "x", ""}};
  ASSERT_TRUE(record.Apply(edits).ok());
  EXPECT_EQ(Get("/etc/containerd/config.toml"), "new");
  EXPECT_EQ(Get("/etc/containerd/config.toml.hearth-backup"), "old");
  InstallRecord again = Load();
  EXPECT_FALSE(again.empty());
  ASSERT_TRUE(again.Restore().ok());
  EXPECT_EQ(Tree(), before);
  EXPECT_EQ(Get("/etc/containerd/config.toml"), "old");
  EXPECT_EQ(std::filesystem::last_write_time(prefix_.string() + "/etc/containerd/config.toml"),
            status_before);
}

TEST_F(Record, SecondApplyKeepsTheFirstBackup) {
  Put("/a", "old");
  InstallRecord record = Load();
  ASSERT_TRUE(record.Apply({{"/a", "old", "one", ""}}).ok());
  ASSERT_TRUE(record.Apply({{"/a", "one", "two", ""}}).ok());
  ASSERT_TRUE(Load().Restore().ok());
  EXPECT_EQ(Get("/a"), "old");
  EXPECT_EQ(Tree(), std::vector<std::string>{"/a"});
}

TEST_F(Record, LeavesWhatSomebodyChangedSince) {
  Put("/a", "old");
  Put(kContainerdConfigFile, "version = 3\n");
  InstallRecord record = Load();
  const std::string with_import = *AddToTomlList("version = 3\n", "imports", kDropInFile);
  ASSERT_TRUE(record
                  .Apply({{"/a", "old", "ours", ""},
                          {kContainerdConfigFile, "version = 3\n", with_import, ""}})
                  .ok());
  Put("/a", "theirs");
  Put(kContainerdConfigFile, with_import + "oom_score = 1\n");
  const auto done = Load().Restore();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_THAT(*done, testing::Contains(HasSubstr("left /a: it was changed since")));
  EXPECT_EQ(Get("/a"), "theirs");
  EXPECT_EQ(Get("/a.hearth-backup"), "old");
  EXPECT_EQ(Get(kContainerdConfigFile), "version = 3\nimports = []\noom_score = 1\n");
}

TEST_F(Record, TakesOurValuesOutOfAFileChangedSince) {
  const TomlPath key = {"p", "k"};
  const TomlPath added = {"p", "added"};
  const std::string before = "[p]\nk = 'old' # c\n";
  std::string after = *SetTomlValue(before, key, "\"ours\"");
  after = *SetTomlValue(after, added, "\"ours\"");
  FileEdit edit{"/a", before, after, ""};
  edit.changes = {{key, "\"ours\"", "'old'"}, {added, "\"ours\"", std::nullopt}};
  Put("/a", before);
  InstallRecord record = Load();
  ASSERT_TRUE(record.Apply({edit}).ok());
  Put("/a", after + "theirs = 1\n");
  const auto done = Load().Restore();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(Get("/a"), before + "theirs = 1\n");
}

TEST_F(Record, FailedApplyLeavesNothing) {
  Put("/a", "old");
  Put("/file", "");
  const auto before = Tree();
  InstallRecord record = Load();
  const auto done =
      record.Apply({{"/a", "old", "new", ""}, {"/file/below", std::nullopt, "impossible", ""}});
  EXPECT_FALSE(done.ok());
  EXPECT_EQ(Get("/a"), "old");
  EXPECT_EQ(Tree(), before);
}

TEST_F(Record, UndoTakesBackTheLastApplyOnly) {
  Put("/a", "old");
  InstallRecord record = Load();
  ASSERT_TRUE(record.Apply({{"/a", "old", "one", ""}}).ok());
  ASSERT_TRUE(record.Apply({{"/a", "one", "two", ""}, {"/b", std::nullopt, "b", ""}}).ok());
  ASSERT_TRUE(record.Undo().ok());
  EXPECT_EQ(Get("/a"), "one");
  EXPECT_EQ(Get("/b"), "(none)");
  ASSERT_TRUE(Load().Restore().ok());
  EXPECT_EQ(Get("/a"), "old");
}

TEST_F(Record, BrokenRecordSaysWhatToDo) {
  Put(InstallRecord::kFile, "{}");
  const auto record = InstallRecord::Load(prefix_);
  ASSERT_FALSE(record.ok());
  EXPECT_THAT(record.status().message(), HasSubstr("by hand"));
}

}  // namespace
}  // namespace hearth::plugin
