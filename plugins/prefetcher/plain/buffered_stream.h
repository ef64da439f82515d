#pragma once

#include <slackline/batch.h>
#include <slackline/host.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "buffer_limit.h"

namespace slackline {

/// Fetches batches on a thread of its own, at most as many ahead as the limit says.
///
/// Lifecycle  as BatchStream. The thread starts at the first next(). Destruction cancels upstream,
///            joins the thread and gives back the batches that nobody took.
/// Threads    as BatchStream; upstream.next() is called by the thread alone.
/// Errors     next() throws what upstream threw, in its place in the order, and upstream is then
///            asked again: it decides whether anything follows. IoError if no thread can start.
class BufferedStream final : public BatchStream {
 public:
  /// `name` ("host", "device_0") begins the names of what is reported to `host`. Both references
  /// must outlive this. `limit` allows one batch or more.
  BufferedStream(BatchStream& upstream, BufferLimit limit, std::string name, Host& host);
  ~BufferedStream() override;

  [[nodiscard]] const Batch* next() override;
  void give_back(const Batch* batch) noexcept override { upstream_.give_back(batch); }
  void cancel() noexcept override;

 private:
  /// What upstream answered: a batch or an error.
  struct Element {
    const Batch* batch = nullptr;
    std::exception_ptr error;
  };

  void start_producer();
  void produce();
  [[nodiscard]] Element fetch();
  void report();

  BatchStream& upstream_;
  Host& host_;
  const std::string limit_name_;
  const std::string empty_name_;

  std::mutex mutex_;
  std::condition_variable changed_;  ///< any member below, by either side
  BufferLimit limit_;
  std::vector<Element> ring_;  ///< as many as the limit can ever allow
  std::size_t front_ = 0;      ///< the oldest element of the ring
  std::int64_t size_ = 0;      ///< elements in the ring
  bool finished_ = false;      ///< upstream has no more
  bool cancelled_ = false;
  std::uint64_t times_empty_ = 0;  ///< calls of next() that had to wait
  std::thread producer_;
};

}  // namespace slackline
