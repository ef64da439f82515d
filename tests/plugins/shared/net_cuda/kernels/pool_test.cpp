// Pools, run on the CPU, against the float64 reference.

#include "bodies/pool.h"

#include <slackline/error.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "operation_case.h"

namespace slackline::net::cuda {
namespace {

struct Shape {
  std::int64_t images, channels, height, width;
  Window window;
};

const Shape kShapes[] = {
    {2, 64, 14, 14, {3, 3, 2, 1, 1, 1, 1}},  // PyTorch's
    {3, 8, 11, 14, {3, 3, 2, 0, 0, 1, 1}},   // TensorFlow's: only behind
    {1, 24, 9, 7, {2, 3, 1, 1, 0, 0, 2}},    // overlapping everywhere
    {2, 8, 1, 1, {1, 1, 1}},
    {1, 16, 7, 5, {2, 2, 3}},  // pixels that no window sees
    {1, 8, 3, 70, {3, 5, 4, 1, 4, 1, 2}},
    {1, 2048, 2, 3, {2, 2, 1}},
};

template <class T>
class Pool {
 public:
  explicit Pool(const Shape& shape, std::int64_t images = 0) : shape_(shape) {
    const Window& window = shape.window;
    const std::int64_t height = window.out_height(shape.height);
    const std::int64_t width = window.out_width(shape.width);
    const Extents in{shape.images, shape.channels, shape.height, shape.width};
    const Extents out{shape.images, shape.channels, height, width};
    x = of.activation(in);
    dx = of.activation(in);
    y = of.activation(out);
    dy = of.activation(out);
    index = of.index(out);
    of.fill(x);
    of.fill(dy);
    args = {images == 0 ? shape.images : images,
            shape.channels,
            shape.height,
            shape.width,
            height,
            width,
            window};
    in_size = values_of(in);
    out_size = values_of(out);
  }

  void run(const EmulatedLaunch& launch) {
    const std::vector<T> from = of.values(x), derivatives = of.values(dy);
    found_y = poisoned<T>(out_size);
    found_dx = poisoned<T>(in_size);
    found_index.assign(out_size, 255);
    bodies::max_pool<T>(launch, args, from.data(), found_y.data(), found_index.data());
    bodies::max_pool_backward<T>(launch, args, derivatives.data(), found_index.data(),
                                 found_dx.data());
  }
  void run_reference() {
    of.reference().run(MaxPool{x, y, index, shape_.window}, Mode::kTraining, args.images);
    of.reference().run(MaxPoolBackward{dy, index, dx, shape_.window}, Mode::kTraining, args.images);
  }
  void expect() {
    const std::vector<double> exact = of.nhwc_of(y);
    for (std::size_t i = 0; i < exact.size(); ++i) ASSERT_EQ(value_of(found_y[i]), exact[i]) << i;
    of.expect(found_dx, dx, "dx");
  }

  OperationCase<T> of;
  TensorId x, dx, y, dy, index;
  MaxPoolArgs args;
  std::size_t in_size, out_size;
  std::vector<T> found_y, found_dx;
  std::vector<std::uint8_t> found_index;

 private:
  Shape shape_;
};

template <class T>
class PoolKernelsTest : public testing::Test {};
TYPED_TEST_SUITE(PoolKernelsTest, Types);

TYPED_TEST(PoolKernelsTest, MaximaAndTheirDerivativesAreTheReferences) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(
        text(shape.images, " x ", shape.channels, " x ", shape.height, " x ", shape.width));
    Pool<TypeParam> pool(shape);
    pool.run(EmulatedLaunch(3));
    pool.run_reference();
    pool.expect();
  }
}

/// Three values only, so nearly every window has ties: the first counts, row by row.
TYPED_TEST(PoolKernelsTest, OfEqualValuesTheFirstCounts) {
  for (const Shape& shape : kShapes) {
    Pool<TypeParam> pool(shape);
    for (double& value : pool.of.reference().tensor(pool.x)) value = std::round(value);
    pool.run(EmulatedLaunch(3));
    pool.run_reference();
    pool.expect();
  }
}

TYPED_TEST(PoolKernelsTest, TheIndexIsThePlaceInTheWindow) {
  Pool<TypeParam> pool({1, 8, 3, 3, {3, 3, 2, 1, 1, 1, 1}});
  std::span<double> x = pool.of.reference().tensor(pool.x);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i % 9);
  pool.run(EmulatedLaunch());
  const std::uint8_t expected[] = {8, 7, 5, 4};
  for (std::size_t i = 0; i < pool.found_index.size(); ++i) {
    EXPECT_EQ(pool.found_index[i], expected[i / 8]) << i;
  }
}

TYPED_TEST(PoolKernelsTest, ALowestValueHasAPlaceAndWhatIsNotANumberWins) {
  Pool<TypeParam> pool({1, 8, 5, 5, {3, 3, 2, 1, 1, 1, 1}});
  for (double& value : pool.of.reference().tensor(pool.x)) {
    value = -std::numeric_limits<double>::infinity();
  }
  pool.of.reference().tensor(pool.x)[2 * 25 + 12] = std::numeric_limits<double>::quiet_NaN();
  pool.run(EmulatedLaunch());
  EXPECT_EQ(pool.found_index[0], 4);  // the first of the corner's four pixels
  for (std::size_t i = 0; i < pool.found_y.size(); ++i) {
    const double y = value_of(pool.found_y[i]);
    if (i == 4 * 8 + 2) {
      EXPECT_TRUE(std::isnan(y));
    } else {
      EXPECT_EQ(y, -std::numeric_limits<double>::infinity()) << i;
    }
  }
}

TYPED_TEST(PoolKernelsTest, APartOfABatchLeavesTheRestAlone) {
  Pool<TypeParam> pool({3, 16, 9, 9, {3, 3, 2, 1, 1, 1, 1}}, 2);
  pool.run(EmulatedLaunch(3));
  for (const auto* values : {&pool.found_y, &pool.found_dx}) {
    for (std::size_t i = 0; i < values->size(); ++i) {
      ASSERT_EQ(std::isnan(value_of((*values)[i])), i >= values->size() / 3 * 2) << i;
    }
  }
}

TYPED_TEST(PoolKernelsTest, ThereAreTheSameBitsInAnyOrderOfBlocks) {
  expect_the_same_in_any_order([&](const EmulatedLaunch& launch) {
    Pool<TypeParam> pool(kShapes[2]);
    pool.run(launch);
    std::string bytes;
    append_bytes(bytes, pool.found_y);
    append_bytes(bytes, pool.found_dx);
    append_bytes(bytes, pool.found_index);
    return bytes;
  });
}

TYPED_TEST(PoolKernelsTest, MeansAndTheirDerivativesAreTheReferences) {
  for (const Extents& in :
       {Extents{3, 64, 7, 7}, Extents{1, 8, 1, 1}, Extents{5, 24, 3, 5}, Extents{2, 2048, 2, 2}}) {
    SCOPED_TRACE(text(in[0], " x ", in[1], " x ", in[2], " x ", in[3]));
    const Extents out{in[0], in[1], 1, 1};
    OperationCase<TypeParam> of;
    const TensorId x = of.activation(in), dx = of.activation(in);
    const TensorId y = of.activation(out), dy = of.activation(out);
    of.fill(x, 0.5);
    of.fill(dy);
    const std::vector<TypeParam> from = of.values(x), derivatives = of.values(dy);
    std::vector<TypeParam> found = poisoned<TypeParam>(values_of(out));
    std::vector<TypeParam> found_dx = poisoned<TypeParam>(values_of(in));
    bodies::average_pool<TypeParam>(EmulatedLaunch(3), from.data(), found.data(), in[0],
                                    in[2] * in[3], in[1]);
    bodies::average_pool_backward<TypeParam>(EmulatedLaunch(3), derivatives.data(), found_dx.data(),
                                             in[0], in[2] * in[3], in[1]);
    of.reference().run(AveragePool{x, y}, Mode::kTraining, in[0]);
    of.reference().run(AveragePoolBackward{dy, dx}, Mode::kTraining, in[0]);
    of.expect(found, y, "y");
    of.expect(found_dx, dx, "dx");
  }
}

}  // namespace
}  // namespace slackline::net::cuda
