#pragma once

// NCCL and ranks as a test wants them.

#include <slackline/error.h>
#include <slackline/ranks.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "nccl/api.h"

namespace slackline::nccl {

/// One communicator of an NCCL that does nothing but keep count. In simulated time, in which one
/// thread runs at a time.
class FakeNccl final : public Api {
 public:
  ncclResult_t get_unique_id(ncclUniqueId& id) override {
    calls.emplace_back("get_unique_id");
    std::strcpy(id.internal, "the id of rank 0");
    return id_result;
  }
  ncclResult_t init_rank(ncclComm_t& made, int size, const ncclUniqueId& id, int rank,
                         ncclConfig_t& with) override {
    calls.push_back(text("init_rank ", rank, " of ", size, " by ", id.internal));
    config = with;
    made = handle();
    return init_result;
  }
  ncclResult_t async_error(ncclComm_t communicator, ncclResult_t& found) override {
    expect_alive(communicator);
    found = state;
    if (state == ncclInProgress && polls_until_settled-- == 0) found = state = settled;
    return ncclSuccess;
  }
  ncclResult_t all_reduce(float* values, std::size_t count, ncclRedOp_t op, ncclComm_t communicator,
                          cudaStream_t) override {
    expect_alive(communicator);
    calls.push_back(text(op == ncclSum ? "sum of " : "mean of ", count, " from ", values[0]));
    return all_reduce_result;
  }
  ncclResult_t finalize(ncclComm_t communicator) override {
    expect_alive(communicator);
    calls.emplace_back("finalize");
    return finalize_result;
  }
  ncclResult_t destroy(ncclComm_t communicator) override { return end(communicator, "destroy"); }
  ncclResult_t abort(ncclComm_t communicator) override { return end(communicator, "abort"); }
  const char* error_string(ncclResult_t) override { return "remote process exited"; }
  const char* last_error(ncclComm_t) override { return "socket 7 was closed"; }

  [[nodiscard]] std::ptrdiff_t count(const std::string& call) const {
    return std::ranges::count(calls, call);
  }

  std::vector<std::string> calls;
  std::vector<std::string> misuse;
  ncclConfig_t config{};
  ncclResult_t id_result = ncclSuccess, init_result = ncclInProgress,
               all_reduce_result = ncclSuccess, finalize_result = ncclSuccess;
  ncclResult_t state = ncclInProgress;  ///< what a poll finds, until it settles
  ncclResult_t settled = ncclSuccess;
  int polls_until_settled = 2;
  std::function<void()> during_end;  ///< during destroy() and abort()

  /// A thread makes the communicator's device its own.
  void use_device() { with_device_.push_back(std::this_thread::get_id()); }

 private:
  ncclResult_t end(ncclComm_t communicator, const char* call) {
    expect_alive(communicator);
    calls.emplace_back(call);
    is_alive_ = false;
    if (std::ranges::count(with_device_, std::this_thread::get_id()) == 0) {
      misuse.push_back(text(call, " by a thread with another device"));
    }
    if (during_end) during_end();
    return ncclSuccess;
  }
  ncclComm_t handle() { return reinterpret_cast<ncclComm_t>(this); }
  void expect_alive(ncclComm_t communicator) {
    if (communicator != handle()) misuse.emplace_back("a handle that was never made");
    if (!is_alive_) misuse.emplace_back("a communicator that is gone");
  }

  bool is_alive_ = true;
  std::vector<std::thread::id> with_device_;
};

/// This rank's end of some that a test makes up.
class FakeRanks final : public Ranks {
 public:
  FakeRanks(std::int32_t rank, std::int32_t size) : rank_(rank), hosts_(index(size)) {
    for (std::size_t i = 0; i < hosts_.size(); ++i) hosts_[i] = text("node", i);
  }
  [[nodiscard]] std::int32_t rank() const override { return rank_; }
  [[nodiscard]] std::int32_t size() const override {
    return static_cast<std::int32_t>(hosts_.size());
  }
  [[nodiscard]] const std::string& host(std::int32_t rank) const override {
    return hosts_[index(rank)];
  }
  /// The others tell `others`, in their order; without it, all what this one does.
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    auto other = others.begin();
    for (std::int32_t i = 0; i < size(); ++i) {
      const bool is_mine = i == rank_ || others.empty();
      const std::span<const std::byte> told = is_mine ? mine : std::span<const std::byte>(*other++);
      std::ranges::copy(told, all.subspan(index(i) * mine.size()).begin());
    }
  }
  void broadcast(std::span<std::byte> bytes) override {
    if (rank_ == 0) {
      from_rank_0.assign(bytes.begin(), bytes.end());
    } else {
      std::ranges::copy(from_rank_0, bytes.begin());
    }
  }
  void abort(const std::string& reason) noexcept override { aborts.push_back(reason); }

  std::vector<std::vector<std::byte>> others;
  std::vector<std::byte> from_rank_0;
  std::vector<std::string> aborts;

 private:
  static std::size_t index(std::int32_t rank) { return static_cast<std::size_t>(rank); }
  const std::int32_t rank_;
  std::vector<std::string> hosts_;
};

}  // namespace slackline::nccl
