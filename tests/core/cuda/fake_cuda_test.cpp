// The judge is judged: every mistake that it is there to find is made here once.

#include "fake_cuda.h"

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda/handles.h"

namespace slackline::cuda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class FakeCudaTest : public testing::Test {
 protected:
  void write(const char* name, const Stream& stream, const DeviceBuffer<int>& memory) {
    const std::array writes{memory.range()};
    cuda_.enqueue({name, {}, writes}, stream.get(), nothing_);
  }
  void read(const char* name, const Stream& stream, const DeviceBuffer<int>& memory) {
    const std::array reads{memory.range()};
    cuda_.enqueue({name, reads, {}}, stream.get(), nothing_);
  }
  Graph end_capture() { return {cuda_.end_capture(first_.get()), Destroy{&cuda_}}; }

  FakeRuntime cuda_;
  const std::function<void(cudaStream_t)> nothing_;
  Stream first_ = make_stream(cuda_), second_ = make_stream(cuda_);
  Event event_ = make_event(cuda_);
  DeviceBuffer<int> memory_{cuda_, 64}, other_{cuda_, 64};
};

TEST_F(FakeCudaTest, WorkOfOneStreamIsInOrder) {
  write("a", first_, memory_);
  read("b", first_, memory_);
  write("c", first_, memory_);
  EXPECT_THAT(cuda_.violations(), IsEmpty());
  EXPECT_THAT(cuda_.work(), ElementsAre("a", "b", "c"));
}

TEST_F(FakeCudaTest, AMissingWaitIsFound) {
  write("a", first_, memory_);
  read("b", second_, memory_);
  EXPECT_THAT(cuda_.violations(),
              ElementsAre("b reads what a writes, and neither waits for the other"));
}

TEST_F(FakeCudaTest, OverwritingWhatOthersStillReadIsFound) {
  write("a", first_, memory_);
  cuda_.synchronize(first_.get());
  read("b", first_, memory_);
  write("c", second_, memory_);
  EXPECT_THAT(cuda_.violations(),
              ElementsAre("c writes what b reads, and neither waits for the other"));
}

TEST_F(FakeCudaTest, AnEventOrdersWhatIsBehindItsWait) {
  write("a", first_, memory_);
  cuda_.record(event_.get(), first_.get());
  cuda_.wait(second_.get(), event_.get());
  read("b", second_, memory_);
  EXPECT_THAT(cuda_.violations(), IsEmpty());
  write("c", first_, memory_);
  EXPECT_THAT(cuda_.violations(), ElementsAre(HasSubstr("c writes what b reads")));
}

TEST_F(FakeCudaTest, AnEventOrdersOnlyWhatIsBeforeItsRecord) {
  cuda_.record(event_.get(), first_.get());
  write("a", first_, memory_);
  cuda_.wait(second_.get(), event_.get());
  read("b", second_, memory_);
  EXPECT_THAT(cuda_.violations(), ElementsAre(HasSubstr("b reads what a writes")));
}

TEST_F(FakeCudaTest, AWaitOfTheHostOrdersWhatItEnqueuesThen) {
  write("a", first_, memory_);
  cuda_.synchronize(first_.get());
  read("b", second_, memory_);
  EXPECT_THAT(cuda_.violations(), IsEmpty());
}

TEST_F(FakeCudaTest, TheHostMustWaitBeforeItReads) {
  const PinnedBuffer<int> host(cuda_, 64);
  write("a", first_, memory_);
  cuda_.copy(host.data(), memory_.data(), host.bytes(), first_.get());
  cuda_.host_access(host.range(), false);
  EXPECT_THAT(cuda_.violations(), ElementsAre(HasSubstr("the host reads what copy writes")));
}

TEST_F(FakeCudaTest, CopiesAndFillsHappen) {
  const PinnedBuffer<int> host(cuda_, 64);
  cuda_.fill(memory_.data(), 1, memory_.bytes(), first_.get());
  cuda_.copy(host.data(), memory_.data(), host.bytes(), first_.get());
  EXPECT_EQ(host.span()[63], 0x01010101);
}

TEST_F(FakeCudaTest, AnEventThatNobodyRecordedIsFound) {
  cuda_.wait(first_.get(), event_.get());
  EXPECT_THAT(cuda_.violations(), ElementsAre(HasSubstr("nobody recorded")));
}

TEST_F(FakeCudaTest, MemoryThatIsGoneOrTooShortOrUnwrittenIsFound) {
  read("a", first_, memory_);
  EXPECT_THAT(cuda_.violations(), ElementsAre("a reads memory that nobody wrote"));
  const std::array beyond{MemoryRange{memory_.data(), memory_.bytes() + 1}};
  cuda_.enqueue({"b", {}, beyond}, first_.get(), nothing_);
  EXPECT_EQ(cuda_.violations().back(), "b writes memory that is not there");
  const std::array gone{memory_.range()};
  memory_ = {};
  cuda_.enqueue({"c", {}, gone}, first_.get(), nothing_);
  EXPECT_EQ(cuda_.violations().back(), "c writes memory that is not there");
}

TEST_F(FakeCudaTest, PartOfTheMemoryThatNobodyWroteIsFound) {
  const std::array half{MemoryRange{memory_.data(), memory_.bytes() / 2}};
  cuda_.enqueue({"a", {}, half}, first_.get(), nothing_);
  cuda_.enqueue({"b", half, {}}, first_.get(), nothing_);
  EXPECT_THAT(cuda_.violations(), IsEmpty());
  read("c", first_, memory_);
  EXPECT_THAT(cuda_.violations(), ElementsAre("c reads memory that nobody wrote"));
}

TEST_F(FakeCudaTest, MemoryIsPinnedOnceAndUnpinnedOnce) {
  std::vector<int> host(64);
  cuda_.pin(host.data(), 256);
  cuda_.pin(host.data(), 256);
  cuda_.unpin(host.data());
  cuda_.unpin(host.data());
  EXPECT_THAT(cuda_.violations(),
              ElementsAre("pin of memory that is pinned", "unpin of memory that is not there"));
}

TEST_F(FakeCudaTest, AGraphsWorkComesWhenItIsLaunched) {
  cuda_.begin_capture(first_.get());
  write("a", first_, memory_);
  const Graph graph = end_capture();
  EXPECT_THAT(cuda_.work(), IsEmpty());
  cuda_.launch(graph.get(), first_.get());
  cuda_.launch(graph.get(), first_.get());
  read("b", first_, memory_);
  EXPECT_THAT(cuda_.work(), ElementsAre("graph", "a", "graph", "a", "b"));
  EXPECT_THAT(cuda_.violations(), IsEmpty());
}

TEST_F(FakeCudaTest, AForkInAGraphNeedsItsWaitsAsElsewhere) {
  Event joined = make_event(cuda_);
  cuda_.begin_capture(first_.get());
  write("a", first_, memory_);
  cuda_.record(event_.get(), first_.get());
  write("b", first_, memory_);
  cuda_.wait(second_.get(), event_.get());
  read("c", second_, memory_);
  cuda_.record(joined.get(), second_.get());
  cuda_.wait(first_.get(), joined.get());
  const Graph graph = end_capture();
  EXPECT_THAT(cuda_.violations(), IsEmpty());
  cuda_.launch(graph.get(), first_.get());
  EXPECT_THAT(cuda_.violations(), ElementsAre(HasSubstr("c reads what b writes")));
}

TEST_F(FakeCudaTest, AStreamThatDoesNotJoinItsCaptureIsFound) {
  cuda_.begin_capture(first_.get());
  write("a", first_, memory_);
  cuda_.record(event_.get(), first_.get());
  cuda_.wait(second_.get(), event_.get());
  write("b", second_, other_);
  const Graph graph = end_capture();
  EXPECT_THAT(cuda_.violations(), ElementsAre(HasSubstr("before one of its streams has joined")));
}

TEST_F(FakeCudaTest, ACaptureThatWaitsForWorkOutsideIsFound) {
  cuda_.record(event_.get(), second_.get());
  cuda_.begin_capture(first_.get());
  cuda_.wait(first_.get(), event_.get());
  const Graph graph = end_capture();
  EXPECT_THAT(cuda_.violations(), ElementsAre("a wait leads out of the capture"));
}

TEST_F(FakeCudaTest, WhatIsNotAllowedInACaptureIsFound) {
  cuda_.begin_capture(first_.get());
  const DeviceBuffer<int> more(cuda_, 1);
  cuda_.synchronize(second_.get());
  const Graph graph = end_capture();
  EXPECT_THAT(cuda_.violations(), ElementsAre("allocate while a stream captures",
                                              "synchronize while a stream captures"));
}

TEST_F(FakeCudaTest, WorkIsRefusedOnDemand) {
  cuda_.refuse("b");
  write("a", first_, memory_);
  EXPECT_THROW(write("bc", first_, memory_), DeviceError);
  cuda_.refuse("");
  write("b", first_, memory_);
  EXPECT_THAT(cuda_.work(), ElementsAre("a", "b"));
}

TEST_F(FakeCudaTest, WaitsAndAllocationsInAStepAreFound) {
  cuda_.begin_step();
  cuda_.synchronize(first_.get());
  const PinnedBuffer<int> more(cuda_, 1);
  cuda_.end_step();
  cuda_.synchronize(first_.get());
  EXPECT_THAT(cuda_.violations(),
              ElementsAre("synchronize in a step", "allocate pinned in a step"));
}

}  // namespace
}  // namespace slackline::cuda
