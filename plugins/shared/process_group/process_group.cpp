#include "process_group/process_group.h"

#include <slackline/error.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <utility>

#include "exchange.h"
#include "messages.h"
#include "rendezvous.h"
#include "watch.h"

namespace slackline::group {
namespace {

class Alone final : public ProcessGroup, public Ranks {
 public:
  explicit Alone(const GroupOptions& options)
      : host_(options.host.empty() ? own_host_name() : options.host) {}

  [[nodiscard]] std::int32_t rank() const override { return 0; }
  [[nodiscard]] std::int32_t size() const override { return 1; }
  [[nodiscard]] Ranks& ranks() override { return *this; }
  [[nodiscard]] std::int32_t local_rank() const override { return 0; }
  void all_reduce_sum(std::span<float>, void*) override { check(name(Call::kAllReduce)); }
  [[nodiscard]] std::chrono::nanoseconds waited() const noexcept override { return {}; }
  void abort() noexcept override { has_aborted_ = true; }

  [[nodiscard]] const std::string& host(std::int32_t) const override { return host_; }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    check(name(Call::kAllGather));
    std::ranges::copy(mine, all.begin());
  }
  void broadcast(std::span<std::byte>) override { check(name(Call::kBroadcast)); }
  void abort(const std::string&) noexcept override { has_aborted_ = true; }
  void check(const char* doing) override {
    if (has_aborted_) throw DeviceError(text(doing, ": rank 0 (", host_, ") aborted"));
  }

 private:
  const std::string host_;
  std::atomic<bool> has_aborted_{false};
};

class Connected final : public ProcessGroup, public Ranks {
 public:
  Connected(const Membership& membership, const GroupOptions& options, Links links)
      : rank_(membership.rank),
        hosts_(links.hosts),
        local_rank_(membership.local_rank.value_or(static_cast<std::int32_t>(
            std::count(hosts_.begin(), hosts_.begin() + rank_, hosts_[index()])))),
        watch_(std::make_unique<Watch>(index(), hosts_, std::move(links.control),
                                       options.deadline * 8 / 10)),
        exchange_(index(), std::move(links.gradients), *watch_),
        messages_(index(), std::move(links.messages), *watch_) {}
  /// The other connections close after the goodbye, lest it look like an accident.
  ~Connected() override { watch_.reset(); }

  [[nodiscard]] std::int32_t rank() const override { return rank_; }
  [[nodiscard]] std::int32_t size() const override {
    return static_cast<std::int32_t>(hosts_.size());
  }
  [[nodiscard]] Ranks& ranks() override { return *this; }
  [[nodiscard]] std::int32_t local_rank() const override { return local_rank_; }
  void all_reduce_sum(std::span<float> values, [[maybe_unused]] void* stream) override {
    assert(stream == nullptr);
    exchange_.all_reduce_sum(values);
  }
  void check(const char* doing) override { watch_->check(doing); }
  [[nodiscard]] std::chrono::nanoseconds waited() const noexcept override {
    return exchange_.waited();
  }
  void abort() noexcept override { watch_->abort("no reason given"); }

  [[nodiscard]] const std::string& host(std::int32_t rank) const override {
    return hosts_[static_cast<std::size_t>(rank)];
  }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    messages_.all_gather(mine, all);
  }
  void broadcast(std::span<std::byte> bytes) override { messages_.broadcast(bytes); }
  void abort(const std::string& reason) noexcept override { watch_->abort(reason); }

 private:
  [[nodiscard]] std::size_t index() const noexcept { return static_cast<std::size_t>(rank_); }

  const std::int32_t rank_;
  const std::vector<std::string> hosts_;
  const std::int32_t local_rank_;
  std::unique_ptr<Watch> watch_;
  Exchange exchange_;
  Messages messages_;
};

}  // namespace

std::unique_ptr<ProcessGroup> join_group(const Membership& membership,
                                         const GroupOptions& options) {
  assert(membership.rank >= 0 && membership.rank < membership.size);
  assert(membership.size <= kMaxRanks);
  assert(options.deadline.count() >= 100);
  if (membership.size == 1) return std::make_unique<Alone>(options);
  return std::make_unique<Connected>(membership, options, meet_others(membership, options));
}

}  // namespace slackline::group
