// Processes that train together, against one that accumulates their batches in rank order.

#include <slackline/collective.h>
#include <slackline/model.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "hosts.h"
#include "made_up_run.h"
#include "openmp.h"
#include "process_group/launcher.h"
#include "workers_test.h"

namespace slackline {
namespace {

using testing_support::batch_of;
using testing_support::describe;
using testing_support::Hosts;
using testing_support::kind_of;
using testing_support::made_up_spec;
using testing_support::plan_of;
using testing_support::TestHost;
using testing_support::Words;

/// What one process makes of the batches of all ranks, one after another. It has a model for each
/// rank, as each has statistics of its own; they get the same gradients.
class OneProcess {
 public:
  OneProcess(const std::string& model, std::int32_t ranks) {
    for (std::int32_t i = 0; i < ranks; ++i) {
      models_.push_back(testing_support::make_model(model, host_));
      models_.back()->build(made_up_spec());
    }
  }

  std::string run(std::size_t steps) {
    std::string all;
    for (std::size_t i = 0; i < steps; ++i) {
      if (kind_of(i) == StepKind::kEvaluate) average_statistics();
      all += describe(step(i));
    }
    average_statistics();
    return all + describe(models_[0]->state());
  }

 private:
  StepSums step(std::size_t number) {
    const StepPlan plan = plan_of(number, static_cast<std::int32_t>(models_.size()));
    StepSums total;
    std::vector<float> gradients;
    for (std::size_t rank = 0; rank < models_.size(); ++rank) {
      const auto batch = batch_of(number, static_cast<std::int32_t>(rank));
      if (batch == nullptr) continue;
      Model& model = *models_[rank];
      StepSums sums;
      if (plan.kind == StepKind::kEvaluate) {
        model.evaluate(**batch, sums);
      } else {
        model.forward_backward(**batch, plan.samples, sums);
        accumulate(gradients, model.gradients());
      }
      total += sums;
    }
    if (plan.kind == StepKind::kEvaluate) return total;
    for (const auto& model : models_) {
      std::ranges::copy(gradients, model->gradients().begin());
      model->update(plan.rule);
    }
    has_trained_ = true;
    return total;
  }

  static void accumulate(std::vector<float>& sums, std::span<const float> values) {
    if (sums.empty()) {
      sums.assign(values.begin(), values.end());
    } else {
      std::ranges::transform(sums, values, sums.begin(), std::plus<>());
    }
  }

  void average_statistics() {
    if (!std::exchange(has_trained_, false)) return;
    std::vector<float> means;
    for (const auto& model : models_) accumulate(means, model->statistics());
    for (float& mean : means) mean /= static_cast<float>(models_.size());
    for (const auto& model : models_) std::ranges::copy(means, model->statistics().begin());
  }

  TestHost host_;
  std::vector<std::unique_ptr<Model>> models_;
  bool has_trained_ = false;
};

using ProcessesTest = testing_support::WorkersTest;

/// Of what every rank says.
std::string output_of(const std::string& run) { return "connected\n" + run + "done\n"; }

TEST_F(ProcessesTest, AreTheMicroBatchesThatOneProcessAccumulatesToTheLastBit) {
  for (const int size : {2, 3}) {
    ranks_.clear();
    start_all(size, {}, {"steps=20", "state"});
    const std::string expected = output_of(OneProcess("linear", size).run(20));
    for (int i = 0; i < size; ++i) {
      EXPECT_EQ(rank(i).end(), 0);
      EXPECT_EQ(rank(i).output(), expected) << "rank " << i << " of " << size;
    }
  }
}

TEST_F(ProcessesTest, AverageTheStatisticsOfBatchNormBeforeTheyUseThem) {
  SLACKLINE_SKIP_OPENMP();
  for (const int size : {2, 3}) {
    ranks_.clear();
    start_all(size, {"model=resnet_cpu"}, {"steps=10", "state"});
    const std::string expected = output_of(OneProcess("resnet_cpu", size).run(10));
    for (int i = 0; i < size; ++i) {
      EXPECT_EQ(rank(i).end(), 0);
      EXPECT_EQ(rank(i).output(), expected) << "rank " << i << " of " << size;
    }
  }
}

TEST_F(ProcessesTest, OnSeveralHostsComputeTheSame) {
  const Hosts hosts(3);
  if (!hosts.problem().empty()) GTEST_SKIP() << hosts.problem();
  for (int i = 0; i < 3; ++i) start(i, 3, {}, {"steps=10", "state"}, hosts.prefix(i));
  const std::string expected = output_of(OneProcess("linear", 3).run(10));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(rank(i).end(), 0);
    EXPECT_EQ(rank(i).output(), expected) << "rank " << i;
  }
}

TEST_F(ProcessesTest, FindEachOtherIfTheLauncherStartsThem) {
  const group::LaunchEnd end =
      group::launch({{SLACKLINE_TEST_RANK_PROGRAM, "processes=3", "connect=x", "steps=5"}, 3});
  EXPECT_EQ(end.exit_code, 0) << end.message;
}

TEST_F(ProcessesTest, ReportHowLongTheyWaitedForTheSlowest) {
  start(0, 2, {}, {"submit", "say=waiting", "finish", "straggler"});
  start(1, 2, {}, {"read", "sleep_ms=500", "submit", "finish", "straggler"});
  ASSERT_TRUE(rank(0).wait_for("waiting"));
  rank(1).write_line();
  std::vector<double> waited_ms(2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(rank(i).end(), 0) << rank(i).output();
    const std::string& output = rank(i).output();
    const std::size_t end = output.find(" ms\n");
    ASSERT_NE(end, std::string::npos) << output;
    std::istringstream(output.substr(output.rfind('\n', end) + 1)) >>
        waited_ms[static_cast<std::size_t>(i)];
  }
  EXPECT_GT(waited_ms[0], waited_ms[1]);
  EXPECT_GE(waited_ms[1], 0);
}

}  // namespace
}  // namespace slackline
