// Through the registry, as a user meets it: with a GPU, a run of one rank. Without one, these tests
// are skipped, as nobody can make a strategy that is unavailable.

#include <slackline/batch.h>
#include <slackline/error.h>
#include <slackline/strategy.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "owned_batch.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing::HasSubstr;
using testing_support::make_plugin;
using testing_support::OptionArguments;
using testing_support::OwnedBatch;
using testing_support::TestHost;

TEST(MirroredNcclTest, IsUnavailableJustWhereOneGpuIs) {
  const auto why = [](const char* name) {
    return testing_support::test_registry().load("strategy", name).unavailable();
  };
  EXPECT_EQ(why("mirrored_nccl"), why("one_gpu"));
}

class OnGpuTest : public testing::Test {
 protected:
  void SetUp() override {
    const Plugin& plugin = testing_support::test_registry().load("strategy", "mirrored_nccl");
    if (!plugin.unavailable().empty()) GTEST_SKIP() << plugin.unavailable();
  }
  TestHost host_;
};

class LaunchedTest : public OnGpuTest {
 protected:
  LaunchedTest() { set("3", "4"); }
  ~LaunchedTest() override { unset(); }

  static void set(const char* rank, const char* size) {
    ::setenv("SLACKLINE_RANK", rank, 1);
    ::setenv("SLACKLINE_SIZE", size, 1);
    ::setenv("SLACKLINE_RENDEZVOUS", "file:/nowhere/run", 1);
  }
  static void unset() {
    for (const char* const name : {"SLACKLINE_RANK", "SLACKLINE_SIZE", "SLACKLINE_RENDEZVOUS"}) {
      ::unsetenv(name);
    }
  }
  std::string error_of(const OptionArguments& options) {
    try {
      const auto strategy = make_plugin<Strategy>("mirrored_nccl", options, host_);
      return "nothing was thrown";
    } catch (const Error& error) {
      return error.what();
    }
  }
};

TEST_F(LaunchedTest, ByALauncherOfAnotherSizeItIsRefused) {
  EXPECT_EQ(error_of({{"devices", 8}}),
            "strategy mirrored_nccl: devices is 8, but the launcher started 4 processes; make them "
            "the same, or devices 0, which is as many as there are");
}

TEST_F(LaunchedTest, ByALauncherThatContradictsItselfItIsRefused) {
  set("4", "4");
  EXPECT_THAT(error_of({}), HasSubstr("SLACKLINE_RANK is '4'"));
}

/// The same batch again and again.
class OneBatch final : public BatchStream {
 public:
  explicit OneBatch(std::int32_t size)
      : batch_(kShape, std::vector<std::uint8_t>(static_cast<std::size_t>(size) * kShape.size()),
               std::vector<std::int32_t>(static_cast<std::size_t>(size))) {
    for (std::size_t i = 0; i < batch_.pixels().size(); ++i) {
      batch_.pixels()[i] = static_cast<std::uint8_t>(i * i % 251);
    }
  }
  const Batch* next() override { return &*batch_; }
  void give_back(const Batch*) noexcept override {}
  void cancel() noexcept override {}

  static constexpr ImageShape kShape{32, 32, 3};

 private:
  OwnedBatch batch_;
};

class OneRankTest : public OnGpuTest, private ModelFactory {
 protected:
  /// Losses of some steps, the second of which is captured, and then all tensors.
  std::vector<float> train(const std::string& name, const OptionArguments& options) {
    constexpr std::int32_t kSize = 16;
    const auto strategy = make_plugin<Strategy>(name, options, host_);
    ModelSpec spec{OneBatch::kShape, kSize, 10, 3, {}};
    spec.optimizer.momentum = 0.9f;
    strategy->build(*this, spec);
    EXPECT_EQ(strategy->connect("a test"), nullptr);
    OneBatch host(kSize);
    const auto batches = strategy->upload(host, 0);
    std::vector<float> all;
    for (int step = 0; step < 4; ++step) {
      const Batch* const batch = batches->next();
      strategy->submit(std::span(&batch, 1), {.rule = {.learning_rate = 0.05f}, .samples = kSize});
      all.push_back(static_cast<float>(strategy->finish().loss));
      batches->give_back(batch);
    }
    TensorStore& state = strategy->state();
    for (std::size_t i = 0; i < state.tensors().size(); ++i) {
      std::vector<float> values(state.tensors()[i].size());
      state.read(i, values);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
  std::unique_ptr<Model> make_model() override {
    return make_plugin<Model>("resnet_cudnn", {{"depth", 20}}, host_);
  }
};

TEST_F(OneRankTest, HasTheBitsOfOneGpuWhateverTheBuckets) {
  const std::vector<float> expected = train("one_gpu", {});
  EXPECT_EQ(train("mirrored_nccl", {}), expected);
  EXPECT_EQ(train("mirrored_nccl", {{"buckets", 1}, {"num_packs", 3}}), expected);
  EXPECT_EQ(train("mirrored_nccl", {{"buckets", 64}, {"max_ctas", 4}}), expected);
}

}  // namespace
}  // namespace slackline
