// One process of a run with strategy multi_worker, which does what its words say, one after
// another.
//
//   processes=N deadline_s=N    options of the strategy
//   model=M           that is trained; linear
//   connect=D         builds, meets the others, and says "connected"; D is the configuration
//   steps=N           that many steps of the made-up run, two in flight; says their sums
//   state             says the model's tensors
//   straggler         says what was reported of it, in ms
//   submit finish     a step, in two parts
//   bad               the next step has a label that is outside the classes
//   endless           steps until something fails; says "training" after the first
//   sleep_ms=N        is slow
//   say=W read        says it; waits for a line of input
//
// Says "done" and ends with 0, or "device: ..." and 3, "config: ..." and 4, "data: ..." and 5.

#include <slackline/error.h>
#include <slackline/strategy.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iostream>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <unistd.h>

#include "made_up_run.h"

namespace slackline::testing_support {
namespace {

void say(const std::string& words) { std::cout << words << std::flush; }

class OneModel final : public ModelFactory {
 public:
  OneModel(std::string name, Host& host) : name_(std::move(name)), host_(host) {}
  std::unique_ptr<Model> make_model() override { return testing_support::make_model(name_, host_); }

 private:
  const std::string name_;
  Host& host_;
};

class Program {
 public:
  void run(std::string_view word) {
    const auto equals = word.find('=');
    const std::string verb(word.substr(0, equals));
    const std::string value(equals == word.npos ? "" : word.substr(equals + 1));
    int number = 0;
    std::from_chars(value.data(), value.data() + value.size(), number);
    if (verb == "processes" || verb == "deadline_s") options_.emplace_back(verb, number);
    if (verb == "model") model_ = value;
    if (verb == "connect") connect(value);
    if (verb == "steps") do_steps(static_cast<std::size_t>(number));
    if (verb == "state") say(describe(strategy_->state()));
    if (verb == "straggler") say(text(host_.reports.at("straggler"), " ms\n"));
    if (verb == "submit") submit();
    if (verb == "finish") say(finish());
    if (verb == "bad") is_bad_ = true;
    if (verb == "endless") train_for_ever();
    if (verb == "sleep_ms") std::this_thread::sleep_for(std::chrono::milliseconds(number));
    if (verb == "say") say(value + "\n");
    if (verb == "read") read();
  }

 private:
  void connect(const std::string& configuration) {
    strategy_ = make_plugin<Strategy>("multi_worker", options_, host_);
    OneModel factory(model_, host_);
    strategy_->build(factory, made_up_spec());
    const RankPlan plan = strategy_->ranks();
    rank_ = plan.rank;
    size_ = plan.size;
    const Ranks* const ranks = strategy_->connect(configuration);
    if (ranks->rank() != rank_ || ranks->size() != size_) throw DeviceError("who am I?");
    say("connected\n");
  }

  void submit() {
    batches_.push_back(batch_of(step_, rank_));
    if (is_bad_) {
      Batch& batch = **batches_.back();
      batch.labels = std::span(kBadLabels).first(batch.labels.size());
    }
    const Batch* const batch = batches_.back() == nullptr ? nullptr : &**batches_.back();
    strategy_->submit(std::span(&batch, 1), plan_of(step_, size_));
    ++step_;
  }

  std::string finish() {
    const StepSums sums = strategy_->finish();
    batches_.pop_front();
    return describe(sums);
  }

  void do_steps(std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) {
      submit();
      if (batches_.size() == 2) all += finish();
    }
    while (!batches_.empty()) all += finish();
    say(all);
  }

  void train_for_ever() {
    for (bool is_first = true;; is_first = false) {
      submit();
      [[maybe_unused]] const std::string sums = finish();
      if (is_first) say("training\n");
    }
  }

  static void read() {
    char byte = 0;
    while (::read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n') {
    }
  }

  static constexpr std::array<std::int32_t, kMaxBatchSize> kBadLabels{99, 99, 99, 99};

  TestHost host_;
  OptionArguments options_;
  std::string model_ = "linear";
  std::int32_t rank_ = 0, size_ = 1;
  std::size_t step_ = 0;
  bool is_bad_ = false;
  std::deque<std::unique_ptr<OwnedBatch>> batches_;  ///< of the steps in flight
  std::unique_ptr<Strategy> strategy_;
};

int run(std::span<char* const> words) {
  try {
    Program program;
    for (const char* const word : words) program.run(word);
    say("done\n");
    return 0;
  } catch (const DeviceError& error) {
    say(text("device: ", error.what(), "\n"));
    return 3;
  } catch (const ConfigError& error) {
    say(text("config: ", error.what(), "\n"));
    return 4;
  } catch (const DataError& error) {
    say(text("data: ", error.what(), "\n"));
    return 5;
  }
}

}  // namespace
}  // namespace slackline::testing_support

int main(int count, char** words) {
  return slackline::testing_support::run(
      std::span(words, static_cast<std::size_t>(count)).subspan(1));
}
