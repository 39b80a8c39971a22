#include "manager/pull_jobs.h"

#include <algorithm>

#include "manager/job_request.h"
#include "manager/job_url.h"
#include "manager/pull_job_json.h"
#include "manager/pull_targets.h"
#include "oci/credentials.h"
#include "oci/reference.h"

namespace hearth::manager {

namespace {

// Of an order: sixteen of them go to a node at once.
constexpr size_t kMaxLoginBytes = 192 << 10;
constexpr size_t kMaxJobs = 64;  // of one request
// "Pinned" in a pull job has no end.
constexpr std::chrono::hours kForever{24 * 365 * 100};

Result<JobSpec> SpecOf(const PullJob& job, const std::vector<std::string>& allowed_hosts) {
  JobSpec spec;
  spec.kind = JobKind::kImage;
  spec.depth = "image";
  for (const std::string& image : job.images) {
    JobItem item = TRY(ParseImageUrl(image));
    const std::string host = UrlHost(item.base_url);
    if (!HostMatches(host, allowed_hosts)) {
      return PermissionDenied(image + ": host " + host +
                              " is not among [preheat] allow of the manager");
    }
    spec.items.push_back(std::move(item));
  }
  spec.concurrency = job.concurrency;
  spec.retries = job.retries;
  spec.failure_tolerate = job.failure_tolerate;
  spec.timeout = std::chrono::milliseconds(0);
  spec.node_timeout = job.timeout;
  spec.stop_early = true;
  if (job.pin) spec.pin = kForever;
  for (const PullJob::Check check : job.checks) {
    spec.check_cpu = spec.check_cpu || check == PullJob::Check::kCpu;
    spec.check_memory = spec.check_memory || check == PullJob::Check::kMemory;
  }
  return spec;
}

}  // namespace

Result<PullSecret> PullJobs::FindSecret(const std::string& name,
                                        const KubeDocuments& documents) const {
  for (const PullSecret& secret : documents.secrets) {
    if (secret.name == name) return secret;
  }
  auto kept = options_.secrets.Find(name);
  if (kept.status().code() != StatusCode::kNotFound) return kept;
  return InvalidArgument("imageSecrets, imagePullSecrets: there is no secret " + name +
                         " (give it as a document beside the job, with --secret " + name +
                         "=FILE, or PUT /api/v1/secrets/" + name + ")");
}

Result<std::vector<ItemLogin>> PullJobs::FindLogins(const PullJob& job,
                                                    const KubeDocuments& documents) const {
  std::vector<ItemLogin> logins(job.images.size());
  size_t bytes = 0;
  for (const std::string& name : job.secrets) {
    const PullSecret secret = TRY(FindSecret(name, documents));
    const auto config =
        TRY(oci::DockerConfig::Parse(secret.docker_config.Reveal()).Annotate("secret " + name));
    bool used = false;
    for (size_t i = 0; i < job.images.size(); ++i) {
      const auto reference = TRY(oci::Reference::Parse(job.images[i]));
      const auto found = config.For(reference.domain, reference.path);
      if (!found.ok()) return InvalidArgument("secret " + name + ": " + found.status().message());
      used = used || !found->empty();
      if (!logins[i].empty()) continue;  // an earlier secret has one
      logins[i] = {found->username, found->password.Reveal(), found->identity_token.Reveal()};
      bytes += found->username.size() + logins[i].password.size() + logins[i].identity_token.size();
    }
    if (!used) {
      return InvalidArgument("secret " + name +
                             " has nothing for the registry of any of the images");
    }
  }
  if (bytes > kMaxLoginBytes) {
    return InvalidArgument(
        "the credentials of all images are more than 192 KiB (make several jobs)");
  }
  if (std::ranges::all_of(logins, [](const ItemLogin& login) { return login.empty(); })) {
    logins.clear();
  }
  return logins;
}

Result<NewJob> PullJobs::Plan(const PullJob& job, const KubeDocuments& documents) const {
  NewJob plan;
  plan.job.name = job.name;
  plan.job.document = PullJobDocument(job);
  plan.job.spec = TRY(SpecOf(job, options_.allowed_hosts()));
  plan.choose = [&job](const std::vector<Node>& nodes) {
    return ChoosePullTargets(job, nodes).Annotate("job " + job.name);
  };
  plan.secrets.logins = TRY(FindLogins(job, documents));
  return plan;
}

Result<std::vector<Job>> PullJobs::Create(const KubeDocuments& documents, bool dry_run) {
  if (documents.jobs.empty()) {
    return InvalidArgument("no document is an ImagePrePullJob");
  }
  if (documents.jobs.size() > kMaxJobs) {
    return InvalidArgument("at most 64 jobs in one request");
  }
  std::vector<NewJob> plans;
  for (const PullJob& job : documents.jobs) {
    plans.push_back(TRY(Plan(job, documents).Annotate("job " + job.name)));
    if (options_.orders.FindByName(job.name).ok()) {
      return AlreadyExists("job " + job.name + ": there is one of that name (delete it first)");
    }
  }
  std::vector<Job> jobs;
  if (dry_run) {
    const std::vector<Node> nodes = options_.fleet.List();
    for (NewJob& plan : plans) {
      plan.job.targets = TRY(plan.choose(nodes));
      plan.job.created = plan.job.updated = options_.clock.WallNow();
      jobs.push_back(std::move(plan.job));
    }
    return jobs;
  }
  for (const JobId id : TRY(options_.orders.CreateNamed(std::move(plans)))) {
    TRY_STATUS(options_.orders.Read(id, [&](const Job& job) { jobs.push_back(job); }));
  }
  return jobs;
}

Status PullJobs::Read(const std::string& name, const std::function<void(const Job&)>& read) const {
  return options_.orders.Read(TRY(options_.orders.FindByName(name)), read);
}

Result<OrderHub::NamedPage> PullJobs::List(size_t page, size_t per_page) const {
  return options_.orders.ListNamed(page, per_page);
}

Status PullJobs::Cancel(const std::string& name) {
  return options_.orders.Cancel(TRY(options_.orders.FindByName(name)));
}

Status PullJobs::Remove(const std::string& name) {
  return options_.orders.Remove(TRY(options_.orders.FindByName(name)));
}

}  // namespace hearth::manager
