#pragma once

#include <slackline/batch.h>
#include <slackline/clock.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace slackline::bench {

/// Batches without bytes that cost CPU time: `workers` threads share the work on each, as core's
/// BatchReader does, and run at most `batches_ahead` batches ahead of next().
///
/// Lifecycle  as BatchStream; the threads start at construction.
/// Threads    as BatchStream.
class InputWorkers final : public BatchStream {
 public:
  struct Plan {
    std::int32_t workers = 1;
    std::int32_t batches_ahead = 2;            ///< the default of [input]
    std::chrono::nanoseconds cpu_per_batch{};  ///< mean
    double jitter = 0;                         ///< share that is exponentially distributed
    std::uint64_t seed = 0;                    ///< of the jitter
    ImageShape shape;                          ///< of every batch, with its size
    std::int32_t batch_size = 0;
  };

  InputWorkers(const Plan& plan, Clock& clock);
  ~InputWorkers() override;

  [[nodiscard]] const Batch* next() override;
  void give_back(const Batch* /*batch*/) noexcept override {}
  void cancel() noexcept override;

 private:
  void work();
  [[nodiscard]] std::chrono::nanoseconds cpu_of(std::uint64_t index) const;

  const Plan plan_;
  Clock& clock_;
  std::mutex mutex_;
  std::condition_variable changed_;   ///< any member below
  std::deque<Batch> made_;            ///< all that were begun; addresses stay
  std::deque<std::int32_t> missing_;  ///< of each of them, pieces that are not done
  std::uint64_t pieces_begun_ = 0;
  std::uint64_t taken_ = 0;
  bool cancelled_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace slackline::bench
