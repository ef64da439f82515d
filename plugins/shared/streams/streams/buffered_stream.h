#pragma once

#include <slackline/batch.h>
#include <slackline/host.h>
#include <slackline/prefetcher.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "streams/buffer_limit.h"
#include "streams/fetch_timing.h"

namespace slackline {

/// "host" or "device 0": the end of a stream, in the words of messages and tracks.
[[nodiscard]] std::string name_of(const StreamEnd& end);
/// "host_" or "device_0_": how the names of its reports begin.
[[nodiscard]] std::string report_prefix_of(const StreamEnd& end);
/// Its line in the timeline: "host prefetch" or "device 0 prefetch".
[[nodiscard]] TraceTrack& prefetch_track_of(const StreamEnd& end, Host& host);

/// Fetches batches on a thread of its own, at most as many ahead as the limit says, and when the
/// timing says.
///
/// On the end's track of the timeline: "fetch" (with the batch), "sleep", and the depth of the
/// "buffer" at each change. Reports at destruction, with the end's prefix: buffer_limit,
/// buffer_empty, and with a timing sleeps, slept and what the timing reports.
///
/// Lifecycle  as BatchStream. The thread starts at the first next(). Destruction cancels upstream,
///            joins the thread and gives back the batches that nobody took.
/// Threads    as BatchStream; upstream.next() is called by the thread alone. Time is the host's
///            clock. cancel() ends a sleep at once.
/// Errors     next() throws what upstream threw, in its place in the order, and upstream is then
///            asked again: it decides whether anything follows. IoError if no thread can start.
class BufferedStream final : public BatchStream {
 public:
  /// `upstream` and `host` must outlive this. `limit` allows one batch or more. Without a `timing`
  /// it fetches whenever there is room.
  BufferedStream(BatchStream& upstream, BufferLimit limit, const StreamEnd& end, Host& host,
                 std::unique_ptr<FetchTiming> timing = nullptr);
  ~BufferedStream() override;

  [[nodiscard]] const Batch* next() override;
  void give_back(const Batch* batch) noexcept override { upstream_.give_back(batch); }
  void cancel() noexcept override;

 private:
  /// What upstream answered: a batch or an error.
  struct Element {
    const Batch* batch = nullptr;
    std::exception_ptr error;
    Clock::Time made;  ///< when upstream had answered
  };

  void produce();
  void sleep(std::unique_lock<std::mutex>& lock, std::chrono::nanoseconds time);
  [[nodiscard]] Element fetch();
  void push(Element element);
  [[nodiscard]] Element pop();
  void trace_depth() noexcept;
  void report();

  BatchStream& upstream_;
  Host& host_;
  Clock& clock_;
  TraceTrack& track_;
  const std::string thread_name_;
  const std::string report_prefix_;

  std::mutex mutex_;
  std::condition_variable changed_;  ///< any member below, by either side
  const std::unique_ptr<FetchTiming> timing_;
  BufferLimit limit_;
  std::vector<Element> ring_;  ///< as many as the limit can ever allow
  std::size_t front_ = 0;      ///< the oldest element of the ring
  std::int64_t size_ = 0;      ///< elements in the ring
  bool finished_ = false;      ///< upstream has no more
  bool cancelled_ = false;
  std::uint64_t times_empty_ = 0;  ///< calls of next() that had to wait
  std::uint64_t sleeps_ = 0;
  std::chrono::nanoseconds slept_{};
  std::thread producer_;
};

}  // namespace slackline
