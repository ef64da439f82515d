#include "tensorboard_log.h"

#include <slackline/machine.h>

#include <chrono>
#include <string>
#include <vector>

#include "log_files.h"

namespace slackline {
namespace {

double unix_seconds(TimeOfDay::Time time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

/// Loss and what it is made of, and the cross-entropy only where that is not all of it.
void add_loss(std::vector<Scalar>& scalars, const std::string& prefix, const SampleMeans& means) {
  scalars.push_back({prefix + "loss", means.loss});
  if (means.penalty != 0) scalars.push_back({prefix + "cross_entropy", means.cross_entropy});
  scalars.push_back({prefix + "accuracy", means.accuracy});
}

}  // namespace

void TensorboardLog::started(const RunStart& start) {
  make_log_dir(options_.dir);
  steps_ = start.steps_before;
  const double start_s = unix_seconds(time_.start());
  // A run that was killed may have told of steps that its continuation trains again.
  file_.emplace(files_, options_.dir / event_file_name(start_s, this_machine().host),
                EventTime{.unix_s = start_s, .step = static_cast<std::int64_t>(steps_ + 1)});
}

EventTime TensorboardLog::now() const {
  return {.unix_s = unix_seconds(time_.now()), .step = static_cast<std::int64_t>(steps_)};
}

void TensorboardLog::step(const StepRecord& record) {
  steps_ = record.step + 1;
  interval_ += record;
  learning_rate_ = record.learning_rate;
  if (steps_ % options_.steps_a_point == 0) point();
}

void TensorboardLog::point() {
  std::vector<Scalar> scalars;
  add_loss(scalars, "", means_of(interval_.sums));
  scalars.push_back({"learning_rate", learning_rate_});
  scalars.push_back({"images_per_s", interval_.images_per_s()});
  scalars.push_back({"input_wait_percent", interval_.percent(interval_.times.input_wait)});
  scalars.push_back({"submit_percent", interval_.percent(interval_.times.submit)});
  scalars.push_back({"device_wait_percent", interval_.percent(interval_.times.device_wait)});
  file_->append(scalars_event(now(), scalars));
  interval_ = {};
}

void TensorboardLog::evaluated(const Evaluation& evaluation) {
  const SampleMeans means = means_of(evaluation.sums);
  std::vector<Scalar> scalars;
  add_loss(scalars, "validation/", means);
  scalars.push_back({"validation/accuracy_top_5", means.accuracy_top_5});
  file_->append(scalars_event(now(), scalars));
}

void TensorboardLog::ended(const RunMeasurements& /*measured*/) {
  if (interval_.steps > 0) point();
}

}  // namespace slackline
