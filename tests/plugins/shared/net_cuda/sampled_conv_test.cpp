// What the tests of large convolutions on a device expect, and that they would find it wrong: small
// ones, which the float64 reference computes.

#include "sampled_conv.h"

#include <cmath>
#include <cstddef>
#include <functional>
#include <ostream>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_cuda.h"
#include "net/reference.h"
#include "net_cuda/layout.h"

namespace slackline::net::cuda {
namespace {

using slackline::cuda::Stream;
using testing::IsEmpty;
using testing_support::bytes_of;
using testing_support::ConvOnDevice;
using testing_support::ConvPass;
using testing_support::load;
using testing_support::SampledConv;
using testing_support::store;

/// Its work is done by the CPU at once.
class Device final : public slackline::cuda::FakeRuntime {
 protected:
  std::function<void()> effect_of(const slackline::cuda::Work&, cudaStream_t stream,
                                  const std::function<void(cudaStream_t)>& call) override {
    return [call, stream] { call(stream); };
  }
};

std::vector<float> read(cudnnDataType_t type, const Extents& extents, const void* memory) {
  std::vector<float> device(values_of(extents)), values(device.size());
  for (std::size_t i = 0; i < device.size(); ++i) {
    device[i] = load(type, static_cast<const std::byte*>(memory) + i * bytes_of(type));
  }
  from_device_order(extents, extents[1], device, values);
  return values;
}

void write(cudnnDataType_t type, const Extents& extents, std::span<const double> values,
           void* memory) {
  const std::vector<float> logical(values.begin(), values.end());
  std::vector<float> device(logical.size());
  to_device_order(extents, extents[1], logical, device);
  for (std::size_t i = 0; i < device.size(); ++i) {
    store(type, device[i], static_cast<std::byte*>(memory) + i * bytes_of(type));
  }
}

/// The product of what lies in the operands' memory.
void run_reference(const SampledConv& conv, cudnnDataType_t type, const Window& window,
                   const ConvOnDevice& on) {
  Program program;
  for (const Extents& extents : {conv.a_extents(), conv.b_extents(), conv.result_extents()}) {
    program.tensors.emplace_back().extents = extents;
  }
  // Weights have no batch; gradients of them neither.
  if (conv.pass() != ConvPass::kWeights) program.tensors[1].kind = TensorKind::kParameter;
  if (conv.pass() == ConvPass::kWeights) program.tensors[2].kind = TensorKind::kGradient;
  Reference reference(program, {});
  const auto bindings = on.bindings();
  for (const TensorId id : {0, 1}) {
    std::ranges::copy(
        read(type, program.tensor(id).extents, bindings[static_cast<std::size_t>(id)].memory),
        reference.tensor(id).begin());
  }
  const Op op = conv.pass() == ConvPass::kForward ? Op{Conv{0, 1, 2, window}}
                : conv.pass() == ConvPass::kData  ? Op{ConvBackwardData{0, 1, 2, window}}
                                                  : Op{ConvBackwardWeights{0, 1, 2, window}};
  reference.run(op, Mode::kTraining, conv.shape().x[0]);
  write(type, program.tensor(2).extents, reference.tensor(2), bindings[2].memory);
}

struct Case {
  const char* name;
  cudnn::ConvShape shape;
};
void PrintTo(const Case& of, std::ostream* out) { *out << of.name; }

class SampledConvTest : public testing::TestWithParam<std::tuple<Case, ConvPass>> {
 protected:
  /// The error that is found behind a reference that looks through `window`, and `spoil`.
  double error(cudnnDataType_t type, const Window& window,
               const std::function<void(const ConvOnDevice&)>& spoil = {}) {
    ConvOnDevice on(conv_, type, device_, stream_.get());
    const double found = on.error_behind([&](cudaStream_t) {
      run_reference(conv_, type, window, on);
      if (spoil) spoil(on);
    });
    EXPECT_THAT(device_.violations(), IsEmpty());
    return found;
  }
  [[nodiscard]] const Window& window() const { return conv_.shape().window; }
  /// Root of the mean square of what is expected.
  [[nodiscard]] double spread() const {
    double squares = 0;
    for (const double value : conv_.expected()) squares += value * value;
    return std::sqrt(squares / static_cast<double>(conv_.expected().size()));
  }

  Device device_;
  const Stream stream_ = slackline::cuda::make_stream(device_);
  const SampledConv conv_{std::get<1>(GetParam()), std::get<0>(GetParam()).shape};
};

// x has more values than a period, and no whole number of them; that of the stem nearly three.
INSTANTIATE_TEST_SUITE_P(
    All, SampledConvTest,
    testing::Combine(
        testing::Values(
            Case{"same",
                 {.x = {5, 60, 17, 15},
                  .out_channels = 70,
                  .window = {.height = 3, .width = 3, .stride = 2, .bottom = 1, .right = 1}}},
            Case{"symmetric",
                 {.x = {5, 61, 16, 15},
                  .out_channels = 64,
                  .window =
                      {.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1}}},
            Case{"pixel", {.x = {5, 65, 15, 17}, .out_channels = 72, .window = {.stride = 2}}},
            Case{"stem",
                 {.x = {6, 4, 100, 80},
                  .out_channels = 16,
                  .window = {.height = 7,
                             .width = 7,
                             .stride = 2,
                             .top = 3,
                             .left = 3,
                             .bottom = 3,
                             .right = 3}}}),
        testing::Values(ConvPass::kForward, ConvPass::kData, ConvPass::kWeights)),
    [](const auto& test) {
      const ConvPass pass = std::get<1>(test.param);
      return std::string(std::get<0>(test.param).name) + (pass == ConvPass::kForward ? "_forward"
                                                          : pass == ConvPass::kData  ? "_data"
                                                                                     : "_weights");
    });

TEST_P(SampledConvTest, ExpectsWhatTheReferenceComputes) {
  EXPECT_LT(error(CUDNN_DATA_FLOAT, window()), 1e-6);
  EXPECT_LT(error(CUDNN_DATA_HALF, window()), 1e-3);
  EXPECT_LT(error(CUDNN_DATA_BFLOAT16, window()), 5e-3);
}

TEST_P(SampledConvTest, BindsTheTensorsOfItsGraph) {
  const ConvOnDevice on(conv_, CUDNN_DATA_HALF, device_, stream_.get());
  std::vector<cudnn::Uid> bound;
  for (const cudnn::Binding& binding : on.bindings()) bound.push_back(binding.uid);
  EXPECT_THAT(bound, testing::UnorderedElementsAreArray(on.graph().uids()));
}

TEST_P(SampledConvTest, FindsOneWrongValueAndOneThatIsNotWritten) {
  const auto first = [](float value) {
    return [value](const ConvOnDevice& on) {
      store(CUDNN_DATA_FLOAT, value, static_cast<std::byte*>(on.bindings()[2].memory));
    };
  };
  const auto wrong = static_cast<float>(conv_.expected()[0] + 2 * spread());
  EXPECT_GT(error(CUDNN_DATA_FLOAT, window(), first(wrong)), 0.05);
  EXPECT_FALSE(error(CUDNN_DATA_FLOAT, window(), first(std::nanf(""))) < 1);
}

TEST_P(SampledConvTest, FindsAnotherPadding) {
  Window shifted = window();
  shifted.top += 1;
  shifted.bottom -= 1;
  if (shifted.height == 1) return;  // has none
  EXPECT_GT(error(CUDNN_DATA_FLOAT, shifted), 0.3);
}

}  // namespace
}  // namespace slackline::net::cuda
