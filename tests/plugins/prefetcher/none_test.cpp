#include <slackline/prefetcher.h>

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "batch_streams.h"
#include "test_host.h"

namespace slackline {
namespace {

using testing_support::make_plugin;
using testing_support::read_all;
using testing_support::read_one;
using testing_support::ScriptedStream;
using testing_support::TestHost;

class NoneTest : public testing::Test {
 protected:
  std::unique_ptr<BatchStream> wrap(StreamEnd end = {}) { return none_->wrap(upstream_, end); }

  ScriptedStream upstream_;

 private:
  TestHost host_;
  std::unique_ptr<Prefetcher> none_ = make_plugin<Prefetcher>("none", {}, host_);
};

TEST_F(NoneTest, BatchesPassInOrder) {
  upstream_.batches(3);
  const auto stream = wrap();
  EXPECT_EQ(read_all(*stream), (std::vector<std::string>{"0", "1", "2", "end"}));
  EXPECT_EQ(read_one(*stream), "end");
}

TEST_F(NoneTest, FetchesOnlyWhenAsked) {
  upstream_.batches(3);
  const auto stream = wrap({.device = 0, .device_count = 1});
  EXPECT_EQ(upstream_.asked(), 0u);
  EXPECT_EQ(read_one(*stream), "0");
  EXPECT_EQ(upstream_.asked(), 1u);
}

TEST_F(NoneTest, AnErrorComesInItsPlace) {
  upstream_.batches(1).fails("disk on fire").batches(1);
  EXPECT_EQ(read_all(*wrap()), (std::vector<std::string>{"0", "disk on fire", "1", "end"}));
}

TEST_F(NoneTest, BatchesGoBackToTheirOwner) {
  upstream_.batches(1);
  const auto stream = wrap();
  const Batch* const batch = stream->next();
  EXPECT_EQ(upstream_.lent(), 1u);
  stream->give_back(batch);
  EXPECT_EQ(upstream_.lent(), 0u);
  EXPECT_EQ(upstream_.wrong_returns(), 0u);
}

TEST_F(NoneTest, CancelReachesUpstream) {
  upstream_.batches(3);
  const auto stream = wrap();
  stream->cancel();
  EXPECT_TRUE(upstream_.cancelled());
  EXPECT_EQ(read_one(*stream), "end");
}

}  // namespace
}  // namespace slackline
