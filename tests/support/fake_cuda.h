#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cuda/runtime.h"

namespace slackline::cuda {

/// A device that knows what is ordered before what, and computes nothing. It executes copies and
/// fills of memory at once, records the names of all other work, and judges every call:
///
/// - work that touches memory which other work, not ordered before it by a stream, an event or a
///   host's wait, writes (or that it writes and others read);
/// - memory that nobody allocated, or that was freed; reads of the device's that nobody wrote;
/// - what is not allowed while a stream captures; streams that a capture leaves behind;
/// - between begin_step() and end_step(): waits of the host, and allocations.
///
/// Order is that of vector clocks: every stream, and the host, counts its own work and knows how
/// much of the others' it comes after. A launched graph has streams of its own, one for each that
/// took part in its capture.
///
/// Threads    any; what all of them do counts as the host's.
class FakeRuntime : public Runtime {
 public:
  FakeRuntime() { actor(); }  // 0: the host

  /// What was wrong, in order; empty if nothing was.
  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  /// Names of the work that streams were given since clear(), graphs' at their launch.
  [[nodiscard]] const std::vector<std::string>& work() const { return work_; }
  void clear() { work_.clear(); }

  /// From now on work whose name begins so is not taken, but throws; with an empty name, none.
  void refuse(std::string name) { refused_ = std::move(name); }

  void begin_step() { in_step_ = true; }
  void end_step() { in_step_ = false; }

  /// The host touches memory itself, which need not be pinned yet.
  void host_access(const MemoryRange& range, bool is_write) {
    const std::lock_guard lock(mutex_);
    if (is_there(range)) access(0, "the host", range, is_write);
  }

  /// What was written to the pieces of device memory of this size counts no more.
  void forget(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    for (const auto& [begin, memory] : memory_) {
      if (memory.bytes != bytes) continue;
      unmark(unwritten_, begin, bytes);
      mark(unwritten_, begin, bytes);
    }
  }

  [[nodiscard]] std::size_t allocated_bytes() const {
    std::size_t bytes = 0;
    for (const auto& [begin, memory] : memory_) bytes += memory.bytes;
    return bytes;
  }
  /// Pieces of memory that others allocated and that are pinned.
  [[nodiscard]] std::size_t pinned() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        memory_, [](const auto& each) { return each.second.own == nullptr; }));
  }
  [[nodiscard]] std::size_t graphs() const { return graphs_.size(); }

  void use_device(int) override {}

  void* allocate(std::size_t bytes) override {
    void* const made = new_memory("allocate", bytes);
    const std::lock_guard lock(mutex_);
    mark(unwritten_, made, bytes);
    return made;
  }
  void free(void* memory) noexcept override { free_memory("free", memory); }
  void* allocate_pinned(std::size_t bytes) override { return new_memory("allocate pinned", bytes); }
  void free_pinned(void* memory) noexcept override { free_memory("free pinned", memory); }
  void pin(void* memory, std::size_t bytes) override {
    const std::lock_guard lock(mutex_);
    refuse_in_step("pin");
    refuse_in_capture("pin");
    if (is_there({memory, bytes})) return violate("pin of memory that is pinned");
    memory_[static_cast<std::byte*>(memory)] = {bytes, nullptr};
  }
  void unpin(void* memory) noexcept override { free_memory("unpin", memory); }

  cudaStream_t create_stream(int) override {
    const std::lock_guard lock(mutex_);
    streams_.push_back(std::make_unique<Stream>(Stream{actor(), nullptr}));
    return reinterpret_cast<cudaStream_t>(streams_.back().get());
  }
  void destroy(cudaStream_t stream) noexcept override {
    const std::lock_guard lock(mutex_);
    std::erase_if(streams_, [&](const auto& each) { return each.get() == of(stream); });
  }
  cudaEvent_t create_event() override {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::make_unique<Event>());
    return reinterpret_cast<cudaEvent_t>(events_.back().get());
  }
  cudaEvent_t create_timing_event() override { return create_event(); }
  void destroy(cudaEvent_t event) noexcept override {
    const std::lock_guard lock(mutex_);
    std::erase_if(events_, [&](const auto& each) { return each.get() == of(event); });
  }

  void record(cudaEvent_t event, cudaStream_t stream) override {
    const std::lock_guard lock(mutex_);
    submit({.kind = Call::Kind::kRecord, .event = of(event)}, *of(stream));
  }
  void wait(cudaStream_t stream, cudaEvent_t event) override {
    const std::lock_guard lock(mutex_);
    Event& what = *of(event);
    Stream& who = *of(stream);
    if (!what.is_recorded) return violate("a stream waits for an event that nobody recorded");
    // A wait for captured work pulls the stream into the capture.
    if (what.capture != nullptr && who.capture == nullptr) who.capture = what.capture;
    if (what.capture != who.capture) return violate("a wait leads out of the capture");
    submit({.kind = Call::Kind::kWait, .event = &what}, who);
  }
  bool is_done(cudaEvent_t event) override {
    const std::lock_guard lock(mutex_);
    if (of(event)->capture != nullptr) violate("is_done() of a captured event");
    merge(0, of(event)->clock);
    return true;
  }
  void synchronize(cudaEvent_t event) override {
    const std::lock_guard lock(mutex_);
    refuse_in_step("synchronize");
    refuse_in_capture("synchronize");
    merge(0, of(event)->clock);
  }
  void synchronize(cudaStream_t stream) override {
    const std::lock_guard lock(mutex_);
    refuse_in_step("synchronize");
    refuse_in_capture("synchronize");
    merge(0, clocks_[of(stream)->actor]);
  }
  /// Work takes no time, unless a test knows better.
  double microseconds_between(cudaEvent_t, cudaEvent_t) override { return 0; }

  void copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream) override {
    const std::lock_guard lock(mutex_);
    submit({.kind = Call::Kind::kWork,
            .name = "copy",
            .reads = {{from, bytes}},
            .writes = {{to, bytes}},
            .effect = [=] { std::memcpy(to, from, bytes); }},
           *of(stream));
  }
  void fill(void* memory, int byte, std::size_t bytes, cudaStream_t stream) override {
    const std::lock_guard lock(mutex_);
    submit({.kind = Call::Kind::kWork,
            .name = "fill",
            .writes = {{memory, bytes}},
            .effect = [=] { std::memset(memory, byte, bytes); }},
           *of(stream));
  }
  void enqueue(const Work& work, cudaStream_t stream,
               const std::function<void(cudaStream_t)>& call) override {
    const std::lock_guard lock(mutex_);
    if (!refused_.empty() && work.name.starts_with(refused_)) {
      throw DeviceError(text("cannot ", work.name, ": refused"));
    }
    submit({.kind = Call::Kind::kWork,
            .name = std::string(work.name),
            .reads = {work.reads.begin(), work.reads.end()},
            .writes = {work.writes.begin(), work.writes.end()},
            .effect = effect_of(work, stream, call)},
           *of(stream));
  }

  void begin_capture(cudaStream_t stream) override {
    const std::lock_guard lock(mutex_);
    refuse_in_capture("begin a capture");
    captures_.push_back(std::make_unique<Capture>(Capture{.origin = of(stream)}));
    of(stream)->capture = captures_.back().get();
  }
  cudaGraphExec_t end_capture(cudaStream_t stream) override {
    const std::lock_guard lock(mutex_);
    Capture* const capture = of(stream)->capture;
    if (capture == nullptr) {
      violate("end_capture() of a stream that does not capture");
      return nullptr;
    }
    check_joined(*capture);
    for (const auto& each : streams_) {
      if (each->capture == capture) each->capture = nullptr;
    }
    for (const auto& each : events_) {
      if (each->capture == capture) *each = {};
    }
    graphs_.push_back(std::make_unique<Graph>(Graph{capture->origin, std::move(capture->calls)}));
    std::erase_if(captures_, [&](const auto& each) { return each.get() == capture; });
    return reinterpret_cast<cudaGraphExec_t>(graphs_.back().get());
  }
  void launch(cudaGraphExec_t graph, cudaStream_t stream) override {
    const std::lock_guard lock(mutex_);
    Stream& on = *of(stream);
    if (on.capture != nullptr) return violate("a graph is launched into a capture");
    submit({.kind = Call::Kind::kWork, .name = "graph"}, on);
    replay(*reinterpret_cast<Graph*>(graph), on.actor);
  }
  void destroy(cudaGraphExec_t graph) noexcept override {
    const std::lock_guard lock(mutex_);
    std::erase_if(graphs_,
                  [&](const auto& each) { return each.get() == reinterpret_cast<Graph*>(graph); });
  }

 protected:
  /// What work does when its turn comes: nothing, unless a test knows better.
  [[nodiscard]] virtual std::function<void()> effect_of(
      const Work& /*work*/, cudaStream_t /*stream*/,
      const std::function<void(cudaStream_t)>& /*call*/) {
    return {};
  }

 private:
  using Clock = std::vector<std::uint64_t>;  ///< by actor

  struct Capture;
  struct Stream {
    std::size_t actor = 0;
    Capture* capture = nullptr;
  };
  struct Event {
    Clock clock;
    bool is_recorded = false;
    Capture* capture = nullptr;
  };
  struct Call {
    enum class Kind : std::uint8_t { kWork, kRecord, kWait };
    Kind kind = Kind::kWork;
    std::string name = {};
    std::vector<MemoryRange> reads = {}, writes = {};
    std::function<void()> effect = {};
    Event* event = nullptr;
  };
  struct CapturedCall {
    Stream* stream;
    Call call;
  };
  struct Capture {
    Stream* origin = nullptr;
    std::vector<CapturedCall> calls = {};
  };
  struct Graph {
    Stream* origin = nullptr;
    std::vector<CapturedCall> calls;
  };
  struct Memory {
    std::size_t bytes = 0;
    std::unique_ptr<std::byte, decltype(&std::free)> own{nullptr, &std::free};

    Memory() = default;
    Memory(std::size_t size, std::byte* allocated) : bytes(size), own(allocated, &std::free) {}
  };
  struct Access {
    const std::byte *begin, *end;
    std::size_t actor;
    std::uint64_t time;
    bool is_write;
    std::string who;
  };

  static Stream* of(cudaStream_t stream) { return reinterpret_cast<Stream*>(stream); }
  static Event* of(cudaEvent_t event) { return reinterpret_cast<Event*>(event); }

  void violate(std::string what) { violations_.push_back(std::move(what)); }
  void refuse_in_step(const char* what) {
    if (in_step_) violate(text(what, " in a step"));
  }
  void refuse_in_capture(const char* what) {
    if (!captures_.empty()) violate(text(what, " while a stream captures"));
  }

  void* new_memory(const char* what, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    refuse_in_step(what);
    refuse_in_capture(what);
    constexpr std::size_t kAlignment = 256;
    const std::size_t rounded = std::max<std::size_t>(1, (bytes + kAlignment - 1) / kAlignment);
    auto* made = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded * kAlignment));
    std::erase_if(accesses_, [&](const Access& access) {
      return access.begin < made + bytes && made < access.end;
    });
    memory_[made] = {bytes, made};
    return made;
  }
  void free_memory(const char* what, void* memory) {
    const std::lock_guard lock(mutex_);
    refuse_in_step(what);
    refuse_in_capture(what);
    const auto found = memory_.find(static_cast<std::byte*>(memory));
    if (found == memory_.end()) return violate(text(what, " of memory that is not there"));
    unmark(unwritten_, memory, found->second.bytes);
    memory_.erase(found);
  }

  std::size_t actor() {
    clocks_.emplace_back();
    return clocks_.size() - 1;
  }
  static std::uint64_t at(const Clock& clock, std::size_t actor) {
    return actor < clock.size() ? clock[actor] : 0;
  }
  void merge(std::size_t into, const Clock& from) {
    Clock& clock = clocks_[into];
    clock.resize(std::max(clock.size(), from.size()));
    for (std::size_t i = 0; i < from.size(); ++i) clock[i] = std::max(clock[i], from[i]);
  }
  std::uint64_t tick(std::size_t actor) {
    Clock& clock = clocks_[actor];
    clock.resize(std::max(clock.size(), actor + 1));
    return ++clock[actor];
  }

  /// Host, stream, or the capture that the stream is in.
  void submit(Call call, Stream& stream) {
    if (stream.capture != nullptr) {
      if (call.kind == Call::Kind::kRecord) {
        call.event->is_recorded = true;
        call.event->capture = stream.capture;
      }
      stream.capture->calls.push_back({&stream, std::move(call)});
      return;
    }
    if (call.kind == Call::Kind::kRecord) call.event->capture = nullptr;
    tick(0);
    merge(stream.actor, clocks_[0]);
    run(call, stream.actor, call.event == nullptr ? none_ : *call.event);
  }

  void run(const Call& call, std::size_t actor, Event& event) {
    switch (call.kind) {
      case Call::Kind::kRecord:
        tick(actor);
        event.clock = clocks_[actor];
        event.is_recorded = true;
        return;
      case Call::Kind::kWait:
        merge(actor, event.clock);
        return;
      case Call::Kind::kWork:
        work_.push_back(call.name);
        tick(actor);
        for (const MemoryRange& range : call.reads) access(actor, call.name, range, false);
        for (const MemoryRange& range : call.writes) access(actor, call.name, range, true);
        if (call.effect) call.effect();
        return;
    }
  }

  /// Runs a graph's calls on streams and events of its own, behind what `launcher` has done; and
  /// `launcher` goes on behind the graph's origin.
  void replay(const Graph& graph, std::size_t launcher) {
    std::map<const Stream*, std::size_t> actors;
    std::map<const Event*, Event> events;
    for (const CapturedCall& each : graph.calls) {
      if (!actors.contains(each.stream)) {
        actors[each.stream] = actor();
        // Only the origin follows the launcher; the others follow the origin by their events.
        if (each.stream == graph.origin) merge(actors[each.stream], clocks_[launcher]);
      }
      Event& event = each.call.event == nullptr ? none_ : events[each.call.event];
      run(each.call, actors[each.stream], event);
    }
    for (const auto& [stream, actor] : actors) {
      if (stream == graph.origin) merge(launcher, clocks_[actor]);
    }
  }

  /// Every stream that took part must be waited for by the origin, as CUDA demands.
  void check_joined(const Capture& capture) {
    std::map<const Stream*, std::map<const Stream*, std::size_t>> known;  ///< calls, by stream
    std::map<const Stream*, std::size_t> count;
    std::map<const Event*, std::map<const Stream*, std::size_t>> events;
    const auto merge_into = [](auto& into, const auto& from) {
      for (const auto& [stream, calls] : from) into[stream] = std::max(into[stream], calls);
    };
    for (const CapturedCall& each : capture.calls) {
      if (each.call.kind == Call::Kind::kWait) {
        merge_into(known[each.stream], events[each.call.event]);
        continue;
      }
      if (each.call.kind == Call::Kind::kRecord) {
        events[each.call.event] = known[each.stream];
        events[each.call.event][each.stream] = count[each.stream];
        continue;
      }
      known[each.stream][each.stream] = ++count[each.stream];
    }
    for (const auto& [stream, calls] : count) {
      if (stream != capture.origin && known[capture.origin][stream] < calls) {
        violate("a capture ends before one of its streams has joined");
      }
    }
  }

  [[nodiscard]] bool is_there(const MemoryRange& range) const {
    const auto* begin = static_cast<const std::byte*>(range.begin);
    const auto owner = memory_.upper_bound(const_cast<std::byte*>(begin));
    if (owner == memory_.begin()) return false;
    return begin + range.bytes <= std::prev(owner)->first + std::prev(owner)->second.bytes;
  }

  void access(std::size_t actor, const std::string& who, const MemoryRange& range, bool is_write) {
    if (range.bytes == 0) return;
    const auto* begin = static_cast<const std::byte*>(range.begin);
    const auto* end = begin + range.bytes;
    if (!is_there(range)) {
      violate(text(who, is_write ? " writes " : " reads ", "memory that is not there"));
      return;
    }
    if (is_write) {
      unmark(unwritten_, begin, range.bytes);
    } else if (overlaps(unwritten_, begin, end)) {
      violate(text(who, " reads memory that nobody wrote"));
    }
    for (const Access& other : accesses_) {
      const bool overlap = other.begin < end && begin < other.end;
      if (!overlap || !(is_write || other.is_write)) continue;
      if (other.time > at(clocks_[actor], other.actor)) {
        violate(text(who, is_write ? " writes" : " reads", " what ", other.who,
                     other.is_write ? " writes" : " reads", ", and neither waits for the other"));
      }
    }
    // What this hides need not be kept.
    std::erase_if(accesses_, [&](const Access& other) {
      return begin <= other.begin && other.end <= end && (is_write || !other.is_write) &&
             other.time <= at(clocks_[actor], other.actor);
    });
    accesses_.push_back({begin, end, actor, at(clocks_[actor], actor), is_write, who});
  }

  // Sets of bytes, as begins and ends of ranges that do not touch.
  using Ranges = std::map<const std::byte*, const std::byte*>;

  static void mark(Ranges& ranges, const void* memory, std::size_t bytes) {
    const auto* begin = static_cast<const std::byte*>(memory);
    ranges[begin] = begin + bytes;
  }
  static void unmark(Ranges& ranges, const void* memory, std::size_t bytes) {
    const auto* begin = static_cast<const std::byte*>(memory);
    const auto* end = begin + bytes;
    auto range = ranges.upper_bound(begin);
    if (range != ranges.begin()) --range;
    while (range != ranges.end() && range->first < end) {
      const auto [first, last] = *range;
      if (last <= begin) {
        ++range;
        continue;
      }
      range = ranges.erase(range);
      if (first < begin) ranges[first] = begin;
      if (last > end) ranges[end] = last;
    }
  }
  static bool overlaps(const Ranges& ranges, const std::byte* begin, const std::byte* end) {
    const auto range = ranges.lower_bound(end);
    return range != ranges.begin() && std::prev(range)->second > begin;
  }

  std::mutex mutex_;
  std::vector<std::string> violations_, work_;
  bool in_step_ = false;
  std::string refused_;  ///< how its name begins
  std::map<std::byte*, Memory> memory_;
  Ranges unwritten_;           ///< of the device's memory
  std::vector<Clock> clocks_;  ///< by actor
  std::vector<std::unique_ptr<Stream>> streams_;
  std::vector<std::unique_ptr<Event>> events_;
  std::vector<std::unique_ptr<Capture>> captures_;
  std::vector<std::unique_ptr<Graph>> graphs_;
  std::vector<Access> accesses_;
  Event none_;
};

}  // namespace slackline::cuda
