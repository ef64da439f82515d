#include "process_group/process_group.h"

#include <slackline/error.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <utility>

#include "exchange.h"
#include "rendezvous.h"
#include "watch.h"

namespace slackline::group {
namespace {

class Alone final : public ProcessGroup {
 public:
  explicit Alone(const GroupOptions& options)
      : host_(options.host.empty() ? own_host_name() : options.host) {}

  [[nodiscard]] std::int32_t rank() const override { return 0; }
  [[nodiscard]] std::int32_t size() const override { return 1; }
  [[nodiscard]] const std::string& host(std::int32_t) const override { return host_; }
  [[nodiscard]] std::int32_t local_rank() const override { return 0; }
  void all_reduce_sum(std::span<float>, void*) override { check("all-reduce"); }
  void broadcast(std::span<std::byte>) override { check("broadcast"); }
  void barrier() override { check("barrier"); }
  void abort() noexcept override { has_aborted_ = true; }
  void abort(const std::string&) noexcept override { has_aborted_ = true; }

 private:
  void check(const char* doing) const {
    if (has_aborted_) throw DeviceError(text(doing, ": rank 0 (", host_, ") aborted"));
  }

  const std::string host_;
  std::atomic<bool> has_aborted_{false};
};

class Connected final : public ProcessGroup {
 public:
  Connected(const Membership& membership, const GroupOptions& options, Links links)
      : rank_(membership.rank),
        hosts_(links.hosts),
        local_rank_(membership.local_rank.value_or(static_cast<std::int32_t>(
            std::count(hosts_.begin(), hosts_.begin() + rank_, hosts_[index()])))),
        watch_(std::make_unique<Watch>(index(), hosts_, std::move(links.control),
                                       options.deadline * 8 / 10)),
        exchange_(index(), std::move(links.data), *watch_) {}
  /// The connections for data close after the goodbye, lest it look like an accident.
  ~Connected() override { watch_.reset(); }

  [[nodiscard]] std::int32_t rank() const override { return rank_; }
  [[nodiscard]] std::int32_t size() const override {
    return static_cast<std::int32_t>(hosts_.size());
  }
  [[nodiscard]] const std::string& host(std::int32_t rank) const override {
    return hosts_[static_cast<std::size_t>(rank)];
  }
  [[nodiscard]] std::int32_t local_rank() const override { return local_rank_; }
  void all_reduce_sum(std::span<float> values, [[maybe_unused]] void* stream) override {
    assert(stream == nullptr);
    exchange_.all_reduce_sum(values);
  }
  void broadcast(std::span<std::byte> bytes) override { exchange_.broadcast(bytes); }
  void barrier() override { exchange_.barrier(); }
  void abort() noexcept override { watch_->abort("no reason given"); }
  void abort(const std::string& reason) noexcept override { watch_->abort(reason); }

 private:
  [[nodiscard]] std::size_t index() const noexcept { return static_cast<std::size_t>(rank_); }

  const std::int32_t rank_;
  const std::vector<std::string> hosts_;
  const std::int32_t local_rank_;
  std::unique_ptr<Watch> watch_;
  Exchange exchange_;
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
