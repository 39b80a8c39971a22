#include "manager/kube_documents.h"

#include <set>
#include <utility>

#include "manager/yaml_object.h"

namespace hearth::manager {

namespace {

void Read(YamlObject& document, KubeDocuments& out, bool in_list) {
  std::string kind;
  document.Text("kind", kind);
  if (kind == "ImagePrePullJob") {
    out.jobs.push_back(PullJob::Read(document));
  } else if (kind == "Secret") {
    out.secrets.push_back(PullSecret::Read(document));
  } else if ((kind == "List" || kind == "ImagePrePullJobList") && !in_list) {
    for (YamlObject& item : document.Objects("items")) Read(item, out, true);
  } else {
    document.Reject("kind", "must be ImagePrePullJob or Secret");
  }
}

}  // namespace

Result<KubeDocuments> KubeDocuments::Parse(std::string_view text) {
  YamlProblems problems;
  KubeDocuments out;
  for (YamlObject& document : TRY(YamlObject::ParseAll(text, problems))) {
    Read(document, out, false);
  }
  TRY_STATUS(problems.ToStatus());
  std::set<std::string> names;
  for (const PullJob& job : out.jobs) {
    if (!names.insert(job.name).second) {
      return InvalidArgument("the job " + job.name + " is there twice");
    }
  }
  for (const PullSecret& secret : out.secrets) {
    if (!names.insert(secret.name).second) {
      return InvalidArgument("the secret " + secret.name + " is there twice");
    }
  }
  return out;
}

}  // namespace hearth::manager
