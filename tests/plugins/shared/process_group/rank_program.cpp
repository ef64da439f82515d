// One rank of a group: joins it as the environment says, and does what its words say, one after
// another.
//
//   configuration=D host=H deadline_ms=N come_ms=N    options of the group, before join
//   join              joins, and says "joined"
//   sum=N             an all-reduce of N values, that must have the bits of sum_in_rank_order()
//   sum_beside=N      the same on a thread of its own, which says "beside" before it begins, and
//                     "beside: ..." if it fails
//   wait              until that thread has ended
//   gather=N          an all-gather of N bytes, that must be those of every rank
//   broadcast=N       N bytes of rank 0 must arrive
//   steady=N          all-reduces, all-gathers and broadcasts of N values, that must not allocate
//   time=N            says how long an all-reduce of N values takes, the quickest of five
//   time_gather=N     says how long an all-gather of N bytes takes, the mean of many
//   time_broadcast=N  says how long a broadcast of N bytes takes, the quickest of five
//   length=N          an all-reduce of N values; says "refused: ..." if the ranks do not agree
//   gather_length=N   the same for an all-gather of N bytes, and
//   broadcast_length=N    a broadcast
//   sums=N gathers=N  all-reduces or all-gathers, until something fails; says "summing" or
//                     "gathering" after the first
//   say=W             says it
//   read              waits for a line of input
//   abort=W           gives up, for that reason
//   exit=N die        ends so, without a goodbye; kills itself
//
// Says "done" and ends with 0, or "device: ..." and 3, "config: ..." and 4, "wrong: ..." and 5.

#include <slackline/collective.h>
#include <slackline/error.h>
#include <slackline/random.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include "process_group/process_group.h"

namespace {
thread_local std::size_t allocations = 0;
}

void* operator new(std::size_t size) {
  ++allocations;
  if (void* const memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace slackline::group {
namespace {

/// In one piece, as threads may say something at once.
void say(const std::string& words) { std::cout << words + "\n" << std::flush; }

/// Values of one rank in one call, of very different sizes, so that the order of additions shows.
std::vector<float> values_of(std::size_t rank, std::size_t count, std::uint32_t call) {
  Philox words({static_cast<std::uint32_t>(rank), call}, {});
  std::vector<float> values(count);
  for (float& value : values) {
    const std::uint32_t word = words();
    value = (uniform_float(words) - 0.5f) * static_cast<float>(1u << (word % 24));
  }
  return values;
}

/// Says so when it is about to begin, if that is asked for.
void sum(ProcessGroup& group, std::size_t count, std::uint32_t call, const char* saying = nullptr) {
  std::vector<std::vector<float>> all;
  for (std::int32_t i = 0; i < group.size(); ++i) {
    all.push_back(values_of(static_cast<std::size_t>(i), count, call));
  }
  std::vector<float> own = all[static_cast<std::size_t>(group.rank())];
  std::vector<std::span<float>> spans(all.begin(), all.end());
  sum_in_rank_order(spans);
  if (saying != nullptr) say(saying);
  group.all_reduce_sum(own, nullptr);
  if (count > 0 && std::memcmp(own.data(), all[0].data(), count * sizeof(float)) != 0) {
    throw std::runtime_error(text("the sums of ", count, " values are not those in rank order"));
  }
}

std::vector<std::byte> bytes_of(std::size_t rank, std::size_t count, std::uint32_t call) {
  Philox words({static_cast<std::uint32_t>(rank), call}, {});
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(words());
  return bytes;
}

void gather(Ranks& ranks, std::size_t count, std::uint32_t call) {
  std::vector<std::byte> expected;
  for (std::int32_t i = 0; i < ranks.size(); ++i) {
    const auto bytes = bytes_of(static_cast<std::size_t>(i), count, call);
    expected.insert(expected.end(), bytes.begin(), bytes.end());
  }
  std::vector<std::byte> all(expected.size());
  ranks.all_gather(bytes_of(static_cast<std::size_t>(ranks.rank()), count, call), all);
  if (all != expected) throw std::runtime_error(text("all-gather of ", count, " bytes"));
}

void broadcast(Ranks& ranks, std::size_t count, std::uint32_t call) {
  auto bytes = bytes_of(static_cast<std::size_t>(ranks.rank()), count, call);
  ranks.broadcast(bytes);
  if (bytes != bytes_of(0, count, call)) {
    throw std::runtime_error(text("broadcast of ", count, " bytes"));
  }
}

class Program {
 public:
  ~Program() {
    if (beside_.joinable()) beside_.join();
  }

  void run(std::string_view word) {
    const auto equals = word.find('=');
    const std::string_view verb = word.substr(0, equals);
    const std::string value(equals == word.npos ? "" : word.substr(equals + 1));
    std::size_t number = 0;
    std::from_chars(value.data(), value.data() + value.size(), number);
    if (verb == "configuration") options_.configuration = value;
    if (verb == "host") options_.host = value;
    if (verb == "deadline_ms") options_.deadline = std::chrono::milliseconds(number);
    if (verb == "come_ms") options_.rendezvous_deadline = std::chrono::milliseconds(number);
    if (verb == "join") {
      group_ = join_group(membership_from_environment(), options_);
      say("joined");
    }
    if (verb == "sum") sum(*group_, number, calls_++);
    if (verb == "steady") be_steady(number);
    if (verb == "time") take_time(number);
    if (verb == "sum_beside") sum_beside(number);
    if (verb == "wait") wait();
    if (verb == "gather") gather(group_->ranks(), number, messages_++);
    if (verb == "broadcast") broadcast(group_->ranks(), number, messages_++);
    if (verb == "time_gather") time_gather(number);
    if (verb == "time_broadcast") time_broadcast(number);
    if (verb == "length") check_lengths(number);
    if (verb == "gather_length") check_gather_lengths(number);
    if (verb == "broadcast_length") check_broadcast_lengths(number);
    if (verb == "sums") sum_for_ever(number);
    if (verb == "gathers") gather_for_ever(number);
    if (verb == "say") say(value);
    if (verb == "read") read();
    if (verb == "abort") group_->ranks().abort(value);
    if (verb == "exit") ::_exit(static_cast<int>(number));
    if (verb == "die") ::raise(SIGKILL);
  }

 private:
  void be_steady(std::size_t count) {
    std::vector<float> values(count);
    std::array<std::byte, 256> mine{};
    std::vector<std::byte> all(mine.size() * static_cast<std::size_t>(group_->size()));
    const std::size_t before = allocations;
    for (int i = 0; i < 10; ++i) {
      group_->all_reduce_sum(values, nullptr);
      group_->ranks().all_gather(mine, all);
      group_->ranks().broadcast(std::as_writable_bytes(std::span(values)));
    }
    if (allocations != before) throw std::runtime_error("a call has allocated memory");
  }

  void sum_beside(std::size_t count) {
    beside_ = std::thread([this, count] {
      try {
        sum(*group_, count, calls_, "beside");
      } catch (const std::exception& error) {
        say(text("beside: ", error.what()));
        has_failed_beside_ = true;
      }
    });
  }

  void wait() {
    beside_.join();
    ++calls_;
    if (has_failed_beside_) throw std::runtime_error("the thread beside has failed");
  }

  /// The quickest of five that begin together, in ms.
  template <class Call>
  double time_of(Call call) {
    double best_ms = 1e9;
    for (int i = 0; i < 5; ++i) {
      group_->ranks().all_gather({}, {});
      const auto begin = std::chrono::steady_clock::now();
      call();
      const std::chrono::duration<double, std::milli> took =
          std::chrono::steady_clock::now() - begin;
      best_ms = std::min(best_ms, took.count());
    }
    return best_ms;
  }

  void take_time(std::size_t count) {
    std::vector<float> values(count, 1.0f);
    say(text(time_of([&] { group_->all_reduce_sum(values, nullptr); }), " ms"));
  }

  void time_gather(std::size_t count) {
    constexpr int kTimes = 2000;
    const std::vector<std::byte> mine(count);
    std::vector<std::byte> all(count * static_cast<std::size_t>(group_->size()));
    const double all_ms = time_of([&] {
      for (int i = 0; i < kTimes; ++i) group_->ranks().all_gather(mine, all);
    });
    say(text(1e3 * all_ms / kTimes, " us"));
  }

  void time_broadcast(std::size_t count) {
    std::vector<std::byte> bytes(count);
    say(text(time_of([&] { group_->ranks().broadcast(bytes); }), " ms"));
  }

  /// Says why the call is refused.
  template <class Bytes, class Call>
  static void check_refusal(Bytes& values, Call call) {
    const Bytes before = values;
    try {
      call();
      say("not refused");
    } catch (const DeviceError& error) {
      say(text("refused: ", error.what(), values == before ? "" : ", but values have changed"));
    }
  }

  void check_lengths(std::size_t count) {
    std::vector<float> values(count, 1.0f);
    check_refusal(values, [&] { group_->all_reduce_sum(values, nullptr); });
  }

  void check_gather_lengths(std::size_t count) {
    const std::vector<std::byte> mine(count, std::byte{1});
    std::vector<std::byte> all(count * static_cast<std::size_t>(group_->size()), std::byte{2});
    check_refusal(all, [&] { group_->ranks().all_gather(mine, all); });
  }

  void check_broadcast_lengths(std::size_t count) {
    std::vector<std::byte> bytes(count, static_cast<std::byte>(group_->rank()));
    check_refusal(bytes, [&] { group_->ranks().broadcast(bytes); });
  }

  void sum_for_ever(std::size_t count) {
    std::vector<float> values(count);
    for (bool is_first = true;; is_first = false) {
      group_->all_reduce_sum(values, nullptr);
      if (is_first) say("summing");
    }
  }

  void gather_for_ever(std::size_t count) {
    for (bool is_first = true;; is_first = false) {
      gather(group_->ranks(), count, messages_++);
      if (is_first) say("gathering");
    }
  }

  static void read() {
    char byte = 0;
    while (::read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n') {
    }
  }

  GroupOptions options_;
  std::unique_ptr<ProcessGroup> group_;
  std::uint32_t calls_ = 0;     ///< all-reduces
  std::uint32_t messages_ = 0;  ///< calls of ranks()
  bool has_failed_beside_ = false;
  std::thread beside_;
};

int run(std::span<char* const> words) {
  try {
    Program program;
    for (const char* const word : words) program.run(word);
    say("done");
    return 0;
  } catch (const DeviceError& error) {
    say(text("device: ", error.what()));
    return 3;
  } catch (const ConfigError& error) {
    say(text("config: ", error.what()));
    return 4;
  } catch (const std::exception& error) {
    say(text("wrong: ", error.what()));
    return 5;
  }
}

}  // namespace
}  // namespace slackline::group

int main(int count, char** words) {
  return slackline::group::run(std::span(words, static_cast<std::size_t>(count)).subspan(1));
}
