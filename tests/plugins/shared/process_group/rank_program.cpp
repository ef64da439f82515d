// One rank of a group: joins it as the environment says, and does what its words say, one after
// another.
//
//   configuration=D host=H deadline_ms=N come_ms=N    options of the group, before join
//   join              joins, and says "joined"
//   sum=N             an all-reduce of N values, that must have the bits of sum_in_rank_order()
//   steady=N          all-reduces of N values, a broadcast and a barrier, that must not allocate
//   time=N            says how long an all-reduce of N values takes, the quickest of five
//   length=N          an all-reduce of N values; says "refused: ..." if the ranks do not agree
//   broadcast         rank 0's 128 bytes must arrive
//   barrier
//   sums=N            all-reduces of N values, until something fails; says "summing" after the
//   first say=W             says it read              waits for a line of input busy computes,
//   without a call, until there is input abort=W           gives up, for that reason exit=N  die
//   ends so, without a goodbye; kills itself
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

void say(const std::string& words) { std::cout << words << std::endl; }

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

void sum(ProcessGroup& group, std::size_t count, std::uint32_t call) {
  std::vector<std::vector<float>> all;
  for (std::int32_t i = 0; i < group.size(); ++i) {
    all.push_back(values_of(static_cast<std::size_t>(i), count, call));
  }
  std::vector<float> own = all[static_cast<std::size_t>(group.rank())];
  std::vector<std::span<float>> spans(all.begin(), all.end());
  sum_in_rank_order(spans);
  group.all_reduce_sum(own, nullptr);
  if (count > 0 && std::memcmp(own.data(), all[0].data(), count * sizeof(float)) != 0) {
    throw std::runtime_error(text("the sums of ", count, " values are not those in rank order"));
  }
}

class Program {
 public:
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
    if (verb == "length") check_lengths(number);
    if (verb == "broadcast") broadcast();
    if (verb == "barrier") group_->barrier();
    if (verb == "sums") sum_for_ever(number);
    if (verb == "say") say(value);
    if (verb == "read") read();
    if (verb == "busy") work_until_input();
    if (verb == "abort") group_->abort(value);
    if (verb == "exit") ::_exit(static_cast<int>(number));
    if (verb == "die") ::raise(SIGKILL);
  }

 private:
  void be_steady(std::size_t count) {
    std::vector<float> values(count);
    std::array<std::byte, 128> bytes{};
    const std::size_t before = allocations;
    for (int i = 0; i < 10; ++i) {
      group_->all_reduce_sum(values, nullptr);
      group_->broadcast(bytes);
      group_->barrier();
    }
    if (allocations != before) throw std::runtime_error("a call has allocated memory");
  }

  void take_time(std::size_t count) {
    std::vector<float> values(count, 1.0f);
    double best_ms = 1e9;
    for (int i = 0; i < 5; ++i) {
      group_->barrier();
      const auto begin = std::chrono::steady_clock::now();
      group_->all_reduce_sum(values, nullptr);
      const std::chrono::duration<double, std::milli> took =
          std::chrono::steady_clock::now() - begin;
      best_ms = std::min(best_ms, took.count());
    }
    say(text(best_ms, " ms"));
  }

  void check_lengths(std::size_t count) {
    std::vector<float> values(count, 1.0f);
    try {
      group_->all_reduce_sum(values, nullptr);
      say("not refused");
    } catch (const DeviceError& error) {
      const bool is_unchanged = std::ranges::count(values, 1.0f) == std::ssize(values);
      say(text("refused: ", error.what(), is_unchanged ? "" : ", but values have changed"));
    }
  }

  void broadcast() {
    std::array<std::byte, 128> bytes{};
    if (group_->rank() == 0) bytes.fill(std::byte{0x5a});
    group_->broadcast(bytes);
    if (std::ranges::count(bytes, std::byte{0x5a}) != 128) throw std::runtime_error("broadcast");
  }

  void sum_for_ever(std::size_t count) {
    std::vector<float> values(count);
    for (bool is_first = true;; is_first = false) {
      group_->all_reduce_sum(values, nullptr);
      if (is_first) say("summing");
    }
  }

  static void read() {
    char byte = 0;
    while (::read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n') {
    }
  }

  static void work_until_input() {
    say("busy");
    read();
  }

  GroupOptions options_;
  std::unique_ptr<ProcessGroup> group_;
  std::uint32_t calls_ = 0;
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
