#include <slackline/batch_reader.h>
#include <slackline/error.h>
#include <slackline/live_span.h>
#include <slackline/stopwatch.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include <time.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "host_batch.h"
#include "thread_name.h"

namespace slackline {
namespace {

using std::chrono::nanoseconds;

/// Nanoseconds that one worker adds to and anybody may read.
class TimeCounter {
 public:
  void add(nanoseconds time) noexcept {
    // One writer: no atomic addition needed.
    set(get() + time);
  }
  void set(nanoseconds time) noexcept { value_.store(time.count(), std::memory_order_relaxed); }
  [[nodiscard]] nanoseconds get() const noexcept {
    return nanoseconds(value_.load(std::memory_order_relaxed));
  }

 private:
  std::atomic<std::int64_t> value_{0};
};

/// CPU time that the calling thread has used. A system call: too dear for every record.
nanoseconds own_cpu_time() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + nanoseconds(used.tv_nsec);
}
constexpr std::uint64_t kRecordsPerCpuTime = 16;

/// What one worker counts. On cache lines of its own.
struct alignas(64) WorkerCounters {
  explicit WorkerCounters(std::size_t transform_count) : transforms(transform_count) {}

  TimeCounter read, batching, turn, idle, cpu;
  std::vector<TimeCounter> transforms;
  TraceTrack* track = nullptr;  ///< of the timeline, or none
  std::atomic<std::uint64_t> samples{0};
  std::atomic<std::uint64_t> record_bytes{0};
};

BadSample bad_record(std::uint32_t epoch, const Record& record, const DataError& error) {
  BadSample bad{.epoch = epoch,
                .file = std::string(record.file),
                .offset = record.offset,
                .key = error.key(),
                .reason = {}};
  bad.reason = text(bad.file.empty() ? "record " : bad.file + ": record at byte ",
                    bad.file.empty() ? record.id : record.offset, ": ",
                    bad.key.empty() ? "" : bad.key + ": ", error.what());
  return bad;
}

}  // namespace

class BatchReader::Impl {
 public:
  Impl(BatchReaderPlan plan, BadSampleAccount& account)
      : plan_(std::move(plan)),
        account_(account),
        epoch_(plan_.begin.epoch),
        ended_(epoch_ >= plan_.epochs),
        no_more_(ended_) {
    for (std::int32_t i = 0; i < plan_.workers; ++i) {
      counters_.push_back(std::make_unique<WorkerCounters>(plan_.transforms.size()));
      if (!plan_.tracks.empty()) {
        counters_.back()->track = plan_.tracks[static_cast<std::size_t>(i)];
      }
    }
    for (std::int32_t i = 0; i < plan_.workers; ++i) {
      threads_.emplace_back([this, i] {
        name_this_thread(text("input ", i));
        work(*counters_[static_cast<std::size_t>(i)]);
      });
    }
  }

  ~Impl() {
    cancel();
    for (std::thread& thread : threads_) thread.join();
  }

  const Batch* next();
  void give_back(const Batch* batch) noexcept;
  void cancel() noexcept;
  [[nodiscard]] InputTimes times() const;

 private:
  /// A record and the slot that it is for.
  struct Turn {
    HostBatch* batch = nullptr;
    std::int32_t slot = 0;
    std::uint32_t epoch = 0;
    Record record;
  };

  void work(WorkerCounters& counters);
  bool take_turn(Turn& turn, WorkerCounters& counters, Stopwatch& watch);
  void fill(const Turn& turn, WorkerCounters& counters, Scratch& scratch, Stopwatch& watch);

  // With turn_mutex_ held.
  bool read(Record& record, std::optional<BadSample>& bad);
  void start_epoch();
  void skip_to_begin();
  bool end_epoch(WorkerCounters& counters, Stopwatch& watch);
  bool open_batch(WorkerCounters& counters, Stopwatch& watch);
  void seal(bool is_rest);

  [[nodiscard]] bool is_for_several_devices() const { return plan_.batches_per_step > 1; }
  [[nodiscard]] bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

  void complete(HostBatch& batch);
  void recycle(HostBatch& batch) noexcept;

  const BatchReaderPlan plan_;
  BadSampleAccount& account_;

  // The turn: whoever holds it reads the next record and takes the next slot.
  std::mutex turn_mutex_;
  HostBatch* current_ = nullptr;  ///< being filled
  std::uint32_t epoch_;
  std::uint64_t records_in_epoch_ = 0;  ///< read, or skipped as read before
  bool epoch_started_ = false;
  bool ended_;  ///< nothing more to read
  std::uint64_t next_index_ = 0;
  std::atomic<std::int64_t> waited_for_room_ns_{0};

  // The batches: in whose hands each is.
  mutable std::mutex state_mutex_;
  std::condition_variable room_, ready_;
  std::vector<std::unique_ptr<HostBatch>> all_;
  std::vector<HostBatch*> free_;
  std::deque<HostBatch*> open_;  ///< being filled or waiting for next(), in order
  bool no_more_;                 ///< nothing will be added to open_
  std::atomic<bool> cancelled_{false};
  std::uint64_t delivered_ = 0;

  std::vector<std::unique_ptr<WorkerCounters>> counters_;
  std::vector<std::thread> threads_;  // last: they use all of the above
};

void BatchReader::Impl::work(WorkerCounters& counters) {
  Scratch scratch;
  Stopwatch watch;
  for (std::uint64_t records = 0;; ++records) {
    Turn turn;
    const std::int64_t waited_before = waited_for_room_ns_.load(std::memory_order_relaxed);
    {
      const std::lock_guard lock(turn_mutex_);
      // While another worker waited for room, this one did too, if in another queue.
      const nanoseconds waited = watch.lap();
      const nanoseconds for_room = std::min(
          waited, nanoseconds(waited_for_room_ns_.load(std::memory_order_relaxed) - waited_before));
      counters.idle.add(for_room);
      counters.turn.add(waited - for_room);
      if (!take_turn(turn, counters, watch)) break;
    }
    counters.batching.add(watch.lap());
    fill(turn, counters, scratch, watch);
    plan_.source->give_back(turn.record);
    if (records % kRecordsPerCpuTime == 0) counters.cpu.set(own_cpu_time());
    if (turn.batch->let_go()) complete(*turn.batch);
    counters.batching.add(watch.lap());
  }
  counters.cpu.set(own_cpu_time());
}

/// Reads the next record and takes the next slot. False when there is nothing left to do.
bool BatchReader::Impl::take_turn(Turn& turn, WorkerCounters& counters, Stopwatch& watch) {
  while (!ended_ && !cancelled()) {
    std::optional<BadSample> bad;
    std::exception_ptr fatal;
    bool got = false;
    const auto begin = watch.mark();
    try {
      got = read(turn.record, bad);
    } catch (...) {
      fatal = std::current_exception();
    }
    counters.read.add(watch.lap());
    const auto end = watch.mark();

    const bool needs_slot = got || bad.has_value() || fatal != nullptr;
    if (needs_slot && current_ == nullptr && !open_batch(counters, watch)) {
      if (got) plan_.source->give_back(turn.record);
      return false;
    }
    if (fatal != nullptr) {
      current_->fail(current_->filled, fatal);
      ended_ = true;
      seal(false);
      break;
    }
    if (!got && !bad.has_value()) {
      if (cancelled() || !end_epoch(counters, watch)) return false;
      continue;
    }
    if (counters.track != nullptr) {
      counters.track->span("read", begin, end, current_->view().index);
    }

    turn.batch = current_;
    turn.slot = current_->filled++;
    turn.epoch = epoch_;
    current_->hold();
    ++records_in_epoch_;
    if (current_->filled == plan_.batch_size) seal(false);
    if (got) return true;
    turn.batch->mark_bad(turn.slot, std::move(*bad));
    if (turn.batch->let_go()) complete(*turn.batch);
  }
  if (ended_) {
    const std::lock_guard lock(state_mutex_);
    no_more_ = true;
    ready_.notify_all();
  }
  return false;
}

/// The next record of the epoch; false at its end or if it is damaged, and then `bad` says so.
bool BatchReader::Impl::read(Record& record, std::optional<BadSample>& bad) {
  const LiveSpan span("read");
  record = {};
  if (!epoch_started_) start_epoch();
  try {
    return plan_.source->next(record);
  } catch (const DataError& error) {
    bad = BadSample{.epoch = epoch_,
                    .file = std::string(record.file),
                    .offset = record.offset,
                    .key = error.key(),
                    .reason = error.what()};
    return false;
  }
}

void BatchReader::Impl::start_epoch() {
  plan_.source->start_epoch({.seed = plan_.seed,
                             .epoch = epoch_,
                             .shard_index = plan_.shard_index,
                             .shard_count = plan_.shard_count});
  epoch_started_ = true;
  records_in_epoch_ = 0;
  if (epoch_ == plan_.begin.epoch) skip_to_begin();
}

/// Reads what an earlier run has read, and decodes nothing of it.
void BatchReader::Impl::skip_to_begin() {
  Record record;
  for (; records_in_epoch_ < plan_.begin.records && !cancelled(); ++records_in_epoch_) {
    record = {};
    bool got = false;
    try {
      got = plan_.source->next(record);
    } catch (const DataError&) {
      continue;  // it was one of those read then, and told then
    }
    if (!got) {
      throw DataError(text("the data of epoch ", epoch_, " end after ", records_in_epoch_,
                           " records, and the run that is resumed had read ", plan_.begin.records,
                           ": these are other data"));
    }
    plan_.source->give_back(record);
  }
}

/// Closes what the epoch leaves open. False if cancelled.
bool BatchReader::Impl::end_epoch(WorkerCounters& counters, Stopwatch& watch) {
  ++epoch_;
  records_in_epoch_ = 0;
  epoch_started_ = false;
  ended_ = epoch_ >= plan_.epochs;
  if (!ended_ && plan_.batches_span_epochs) return true;
  if (current_ != nullptr) seal(true);
  while (next_index_ % static_cast<std::uint64_t>(plan_.batches_per_step) != 0) {
    if (!open_batch(counters, watch)) return false;
    seal(true);
  }
  return true;
}

/// Waits for room and opens the batch of the next slots. False if cancelled.
bool BatchReader::Impl::open_batch(WorkerCounters& counters, Stopwatch& watch) {
  std::unique_lock lock(state_mutex_);
  room_.wait(lock,
             [this] { return cancelled() || std::cmp_less(open_.size(), plan_.batches_ahead); });
  const nanoseconds waited = watch.lap();
  counters.idle.add(waited);
  waited_for_room_ns_.fetch_add(waited.count(), std::memory_order_relaxed);
  if (cancelled()) return false;

  if (free_.empty()) {
    all_.push_back(std::make_unique<HostBatch>(plan_.shape, plan_.batch_size));
    free_.push_back(all_.back().get());
  }
  current_ = free_.back();
  free_.pop_back();
  current_->open(epoch_, next_index_++);
  open_.push_back(current_);
  return true;
}

/// No more slots of the current batch are handed out.
void BatchReader::Impl::seal(bool is_rest) {
  HostBatch& batch = *std::exchange(current_, nullptr);
  batch.discard = is_rest && plan_.drop_remainder;
  batch.seal({epoch_, records_in_epoch_}, is_rest);
  if (batch.let_go()) complete(batch);
}

void BatchReader::Impl::fill(const Turn& turn, WorkerCounters& counters, Scratch& scratch,
                             Stopwatch& watch) {
  SampleSlot slot = turn.batch->slot(turn.slot);
  TransformContext context{
      .sample = {.seed = plan_.seed, .sample_id = turn.record.id, .epoch = turn.epoch},
      .op = 0,
      .scratch = scratch};
  try {
    for (; context.op < plan_.transforms.size(); ++context.op) {
      const auto begin = watch.mark();
      scratch.reset();
      {
        const LiveSpan span(plan_.transform_names[context.op].c_str());
        plan_.transforms[context.op]->apply(turn.record, slot, context);
      }
      counters.transforms[context.op].add(watch.lap());
      if (counters.track != nullptr) {
        counters.track->span(plan_.span_names[context.op], begin, watch.mark(),
                             turn.batch->view().index);
      }
    }
    if (slot.label < 0 || slot.label >= plan_.num_classes) {
      throw DataError("label", text("class ", slot.label, " is not in 0..", plan_.num_classes - 1,
                                    " ([input] num_classes is ", plan_.num_classes, ")"));
    }
    turn.batch->set_sample(turn.slot, slot.label,
                           order_item(turn.epoch, turn.record.id, slot.label),
                           XXH3_64bits(slot.pixels.data(), slot.pixels.size()));
    counters.samples.fetch_add(1, std::memory_order_relaxed);
    counters.record_bytes.fetch_add(turn.record.bytes.size(), std::memory_order_relaxed);
  } catch (const DataError& error) {
    turn.batch->mark_bad(turn.slot, bad_record(turn.epoch, turn.record, error));
  } catch (const Error&) {
    turn.batch->fail(turn.slot, std::current_exception());
  } catch (const std::exception& error) {
    turn.batch->fail(turn.slot, std::make_exception_ptr(PluginError(
                                    text(plan_.transform_names[context.op], ": ", error.what()))));
  }
}

void BatchReader::Impl::complete(HostBatch& batch) {
  batch.finish(batch.discard ? 0 : batch.filled, account_.policy());
  const std::lock_guard lock(state_mutex_);
  batch.complete = true;
  if (open_.front() == &batch) ready_.notify_all();
}

const Batch* BatchReader::Impl::next() {
  for (;;) {
    HostBatch* batch = nullptr;
    {
      std::unique_lock lock(state_mutex_);
      ready_.wait(lock, [this] {
        return cancelled() || (open_.empty() ? no_more_ : open_.front()->complete);
      });
      if (cancelled() || open_.empty()) return nullptr;
      batch = open_.front();
      open_.pop_front();
      batch->lent = true;
      room_.notify_one();
    }
    try {
      for (BadSample& bad : batch->take_bad_samples()) account_.add(std::move(bad));
      if (batch->error() != nullptr) std::rethrow_exception(batch->error());
    } catch (...) {
      recycle(*batch);
      cancel();
      throw;
    }
    if (is_for_several_devices() || batch->view().size > 0) {
      const std::lock_guard lock(state_mutex_);
      ++delivered_;
      return &batch->view();
    }
    recycle(*batch);
  }
}

void BatchReader::Impl::give_back(const Batch* batch) noexcept {
  HostBatch* found = nullptr;
  {
    const std::lock_guard lock(state_mutex_);
    for (const auto& candidate : all_) {
      if (&candidate->view() == batch) found = candidate.get();
    }
  }
  assert(found != nullptr && found->lent && "give_back() of a batch that was not lent");
  recycle(*found);
}

void BatchReader::Impl::recycle(HostBatch& batch) noexcept {
  const std::lock_guard lock(state_mutex_);
  batch.lent = false;
  free_.push_back(&batch);
}

void BatchReader::Impl::cancel() noexcept {
  const std::lock_guard lock(state_mutex_);
  cancelled_.store(true, std::memory_order_relaxed);
  room_.notify_all();
  ready_.notify_all();
}

InputTimes BatchReader::Impl::times() const {
  InputTimes sum;
  sum.transforms.resize(plan_.transforms.size());
  for (const auto& worker : counters_) {
    sum.read += worker->read.get();
    sum.turn += worker->turn.get();
    sum.idle += worker->idle.get();
    sum.cpu += worker->cpu.get();
    sum.batching += worker->batching.get();
    for (std::size_t i = 0; i < sum.transforms.size(); ++i) {
      sum.transforms[i] += worker->transforms[i].get();
    }
    sum.samples += worker->samples.load(std::memory_order_relaxed);
    sum.record_bytes += worker->record_bytes.load(std::memory_order_relaxed);
  }
  const std::lock_guard lock(state_mutex_);
  sum.batches = delivered_;
  sum.buffers = static_cast<std::int32_t>(all_.size());
  return sum;
}

InputTimes InputTimes::since(const InputTimes& earlier) const {
  InputTimes out = *this;
  out.read -= earlier.read;
  out.turn -= earlier.turn;
  out.idle -= earlier.idle;
  out.cpu -= earlier.cpu;
  out.batching -= earlier.batching;
  for (std::size_t i = 0; i < earlier.transforms.size(); ++i) {
    out.transforms[i] -= earlier.transforms[i];
  }
  out.samples -= earlier.samples;
  out.record_bytes -= earlier.record_bytes;
  out.batches -= earlier.batches;
  return out;
}

InputTimes& InputTimes::operator+=(const InputTimes& other) {
  read += other.read;
  turn += other.turn;
  idle += other.idle;
  cpu += other.cpu;
  batching += other.batching;
  transforms.resize(std::max(transforms.size(), other.transforms.size()));
  for (std::size_t i = 0; i < other.transforms.size(); ++i) transforms[i] += other.transforms[i];
  samples += other.samples;
  record_bytes += other.record_bytes;
  batches += other.batches;
  return *this;
}

BatchReader::BatchReader(BatchReaderPlan plan, BadSampleAccount& account)
    : impl_(std::make_unique<Impl>(std::move(plan), account)) {}
BatchReader::~BatchReader() = default;

const Batch* BatchReader::next() { return impl_->next(); }
void BatchReader::give_back(const Batch* batch) noexcept { impl_->give_back(batch); }
void BatchReader::cancel() noexcept { impl_->cancel(); }
InputTimes BatchReader::times() const { return impl_->times(); }

}  // namespace slackline
