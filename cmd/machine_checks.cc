#include "cmd/machine_checks.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

#include <cerrno>
#include <filesystem>

#include "base/file.h"
#include "cmd/clock_review.h"
#include "cmd/process_files.h"
#include "cmd/space_review.h"
#include "net/http_client.h"
#include "net/http_head.h"

namespace hearth::cmd {

namespace {

constexpr std::chrono::milliseconds kRegistryLimit{10'000};
constexpr uint64_t kMaxFileBytes = 4 * 1024 * 1024;
constexpr int64_t kOldestPlausibleTime = 1'704'067'200;  // 2024-01-01: this program is younger
constexpr int64_t kFutureSeconds = 60;
constexpr const char* kKubeletDirectory = "/var/lib/kubelet";

// `path`, or what there is of it already.
std::filesystem::path Existing(std::filesystem::path path) {
  std::error_code error;
  while (!std::filesystem::exists(path, error) && path.has_relative_path()) {
    path = path.parent_path();
  }
  return path;
}

void CheckOverlay(Findings& findings) {
  const std::string check = "overlayfs";
  const auto found = ReadProcessFile("/proc/filesystems");
  if (!found.ok() || !HasFileSystem(*found, "overlay")) {
    return findings.Fail(check, "the kernel has it not loaded",
                         "no container can be started from layers", "run: modprobe overlay");
  }
  findings.Ok(check, "the kernel has it");
}

void CheckFileSystem(const std::filesystem::path& root, Findings& findings) {
  const std::string check = "file system of the store";
  struct statfs info {};
  if (statfs(Existing(root).c_str(), &info) != 0) {
    return findings.Fail(check, ErrnoStatus(errno, root.string()).message(),
                         "there is no place for a store", "see that root is on a disk");
  }
  const auto type = static_cast<uint64_t>(info.f_type);
  const std::string move = "move root to ext4, xfs or btrfs";
  if (type == OVERLAYFS_SUPER_MAGIC) {
    return findings.Fail(check, root.string() + " is on overlayfs",
                         "the kernel refuses to lay containers over it", move);
  }
  if (type == NFS_SUPER_MAGIC || type == SMB_SUPER_MAGIC || type == FUSE_SUPER_MAGIC) {
    return findings.Fail(check, root.string() + " is on a network or FUSE file system",
                         "layers need device files, trusted attributes and locks", move);
  }
  if (type == TMPFS_MAGIC) {
    return findings.Warn(check, root.string() + " is on tmpfs",
                         "it takes memory, and is empty after a reboot", move);
  }
  findings.Ok(check, root.string() + " is on one that overlayfs takes");
}

std::optional<KubeletConfig> Kubelet(const std::string& prefix, Findings& findings) {
  const std::string file = prefix + kKubeletConfigFile;
  std::error_code error;
  if (!std::filesystem::exists(prefix + kKubeletDirectory, error)) return std::nullopt;
  const auto text = ReadFile(file, kMaxFileBytes);
  if (text.status().code() == StatusCode::kNotFound) return KubeletConfig{};
  const auto config =
      text.ok() ? KubeletConfig::Parse(*text) : Result<KubeletConfig>(text.status());
  if (config.ok()) return *config;
  findings.Warn("kubelet config", file + ": " + config.status().message(),
                "kubelet's defaults are taken for its thresholds", "mend the file");
  return KubeletConfig{};
}

void CheckSpace(const MachineOptions& options, Findings& findings) {
  const std::filesystem::path path = Existing(options.config.root);
  struct statvfs info {};
  if (statvfs(path.c_str(), &info) != 0 || info.f_blocks == 0) {
    return findings.Fail("disk space", ErrnoStatus(errno, path.string()).message(),
                         "there is no place for a store", "see that root is on a disk");
  }
  SpaceState state;
  state.path = options.config.root.string();
  state.total_bytes = uint64_t{info.f_blocks} * info.f_frsize;
  state.free_bytes = uint64_t{info.f_bavail} * info.f_frsize;
  state.total_inodes = info.f_files;
  state.free_inodes = info.f_favail;
  state.min_free_bytes = options.config.store.min_free.Of(state.total_bytes);
  state.min_free_inodes = options.config.store.min_free_inodes.Of(state.total_inodes);
  state.kubelet = Kubelet(options.prefix, findings);
  struct stat own {};
  struct stat kubelet {};
  state.shared_with_kubelet = state.kubelet && stat(path.c_str(), &own) == 0 &&
                              stat((options.prefix + kKubeletDirectory).c_str(), &kubelet) == 0 &&
                              own.st_dev == kubelet.st_dev;
  ReviewSpace(state, findings);
}

void CheckClock(const config::NodeConfig& config, Findings& findings) {
  const std::string check = "clock";
  const int64_t now = ToUnixNanos(RealClock().WallNow()) / 1'000'000'000;
  const std::string advice = "set the clock, and run a time service (systemd-timesyncd, chrony)";
  if (now < kOldestPlausibleTime) {
    return findings.Fail(check, "it is before 2024 here",
                         "certificates, pins and signed URLs cannot be judged", advice);
  }
  struct stat index {};
  if (stat((config.root / "index").c_str(), &index) == 0 &&
      index.st_mtim.tv_sec > now + kFutureSeconds) {
    return findings.Warn(
        check,
        "it went back: the store was written " + std::to_string(index.st_mtim.tv_sec - now) +
            " s in the future",
        "pins last longer than asked for, and what was used last is judged wrongly", advice);
  }
  timex state{};
  if (adjtimex(&state) < 0 || (state.status & STA_UNSYNC) != 0) {
    return findings.Warn(check, "no time service keeps it",
                         "it drifts, until signed URLs and certificates are refused",
                         "run one (systemd-timesyncd, chrony), unless the host does");
  }
  findings.Ok(check, "kept by a time service");
}

void CheckBootId(Findings& findings) {
  const std::string check = "boot id";
  if (BootId().empty()) {
    return findings.Warn(check, "/proc/sys/kernel/random/boot_id cannot be read",
                         "after a power loss it is not known which layers are whole",
                         "give the node a /proc of its own machine");
  }
  findings.Ok(check, BootId());
}

void CheckRegistryClock(const MachineOptions& options, Findings& findings) {
  const std::string check = "clock against " + options.registry;
  const auto client = net::HttpClient::Create({});
  if (!client.ok()) return findings.Fail(check, client.status().message(), "", "");
  net::HttpRequest request;
  const auto table = options.config.registries.find(options.registry);
  const bool known = table != options.config.registries.end();
  const bool plain = known && table->second.plain_http.value_or(false);
  if (known) request.ca_file = table->second.ca_file;
  request.url = (plain ? "http://" : "https://") + options.registry + "/v2/";
  request.connect_timeout = request.stall_timeout = kRegistryLimit;
  const WallTime asked = RealClock().WallNow();
  const auto response = (*client)->Fetch(std::move(request), kMaxFileBytes);
  const WallTime answered = RealClock().WallNow();
  if (!response.ok()) {
    return findings.Fail(check, response.status().message(),
                         "what is not in the store cannot be fetched from it",
                         "see its name, its port, its certificate and the way there");
  }
  const auto date = net::ParseHttpDate(response->headers.Get("Date"));
  if (!date) {
    return findings.Warn(check, "it answers, but says no time", "the clocks cannot be compared",
                         "compare them by hand");
  }
  ReviewSkew(options.registry, *date, asked, answered, findings);
}

}  // namespace

void CheckMachine(const MachineOptions& options, Findings& findings) {
  CheckOverlay(findings);
  CheckFileSystem(options.config.root, findings);
  CheckSpace(options, findings);
  CheckClock(options.config, findings);
  CheckBootId(findings);
  if (!options.registry.empty()) CheckRegistryClock(options, findings);
}

}  // namespace hearth::cmd
