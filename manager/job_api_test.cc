#include "manager/job_api.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "manager/order_hub_for_test.h"
#include "manager/pull_job_api.h"
#include "manager/pull_jobs.h"

namespace hearth::manager {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class JobApiTest : public OrderHubTest {
 protected:
  JobApiTest() {
    (void)JoinNode("n1");
    job_api_.AddTo(router_);
    pull_job_api_.AddTo(router_);
  }

  struct Answer {
    int status = 0;
    net::HttpHeaders headers;
    std::string body;
  };
  Answer Call(const std::string& method, const std::string& path, const std::string& body = "",
              const std::string& key = "") {
    net::ServerRequest request;
    request.method = method;
    request.path = path.substr(0, path.find('?'));
    if (path.find('?') != std::string::npos) request.query = path.substr(path.find('?') + 1);
    request.body = body;
    request.headers.Add("Authorization", "Bearer " + token_);
    if (!key.empty()) request.headers.Add("Idempotency-Key", key);
    Answer answer;
    router_.Answer(request, [&](net::ServerResponse given) {
      answer = {given.status, given.headers, std::get<std::string>(given.body)};
    });
    return answer;
  }

  std::vector<std::string> allowed_ = {"*"};
  SecretStore secrets_{*kv_, *sealer_};
  const std::unique_ptr<Clusters> clusters_ = Clusters::Open(*kv_, clock_).value();
  JobApi job_api_{
      {.orders = *hub_, .clusters = *clusters_, .fleet = *fleet_, .allowed_hosts = [this] {
         return allowed_;
       }}};
  PullJobs pull_jobs_{
      {.orders = *hub_, .secrets = secrets_, .fleet = *fleet_, .allowed_hosts = [this] {
         return allowed_;
       }}};
  PullJobApi pull_job_api_{pull_jobs_, secrets_};
  const std::unique_ptr<Audit> audit_ = Audit::Open(*kv_, clock_).value();
  Router router_{*tokens_, *audit_, clock_};
  const std::string token_ = tokens_->Create({"t", {Scope::kJob}, {}}).value().text.Reveal();
};

TEST_F(JobApiTest, ARequestThatComesAgainGetsItsJobThoughItWouldBeRefusedByNow) {
  const std::string body =
      R"({"type": "preheat", "args": {"type": "image", "url": "r.example/a:v"}})";
  const Answer made = Call("POST", "/oapi/v1/jobs", body, "k");
  ASSERT_EQ(made.status, 200) << made.body;
  allowed_ = {"elsewhere.example"};
  const Answer again = Call("POST", "/oapi/v1/jobs", body, "k");
  ASSERT_EQ(again.status, 200) << again.body;
  EXPECT_EQ(json::parse(again.body).at("id"), json::parse(made.body).at("id"));
  EXPECT_EQ(Call("POST", "/oapi/v1/jobs", body, "other").status, 403);
  EXPECT_EQ(Call("POST", "/oapi/v1/jobs", "{}", "k").status, 409);
}

TEST_F(JobApiTest, PullJobsAreListedByThePage) {
  for (int i = 1; i <= 12; ++i) {
    ASSERT_TRUE(CreateNamed({"job-" + std::to_string(i)}).ok());
  }
  const auto names = [&](const Answer& answer) {
    std::vector<std::string> out;
    const json list = json::parse(answer.body);
    for (const json& item : list.at("items")) out.push_back(item.at("metadata").at("name"));
    return out;
  };
  const std::string path = "/api/v1/pull-jobs";
  EXPECT_EQ(names(Call("GET", path)).size(), 10u);
  const Answer last = Call("GET", path + "?page=3&per_page=5");
  EXPECT_EQ(names(last), (std::vector<std::string>{"job-2", "job-1"}));
  EXPECT_EQ(last.headers.Get("X-Total-Count"), "12");
  EXPECT_THAT(std::string(last.headers.Get("Link")),
              HasSubstr("</api/v1/pull-jobs?page=2&per_page=5>;rel=prev"));
  EXPECT_EQ(names(Call("GET", path + "?page=4&per_page=5")).size(), 0u);
  EXPECT_EQ(Call("GET", path + "?per_page=1001").status, 400);
  EXPECT_EQ(Call("GET", path + "?page=0").status, 400);
}

}  // namespace
}  // namespace hearth::manager
