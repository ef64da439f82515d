#include "net_cpu/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "plane_kernels.h"

namespace slackline::net::cpu {

template <class T>
BatchNormKernels<T>::BatchNormKernels(std::size_t most_planes, std::size_t most_channels,
                                      int threads)
    : threads_(threads),
      first_(most_planes * 16),
      second_(most_planes * 16),
      factor_(most_channels),
      x_factor_(most_channels),
      constant_(most_channels) {}

template <class T>
template <class Partial, class Finish, class Apply>
void BatchNormKernels<T>::run(const Planes& planes, Partial partial, Finish finish,
                              Apply apply) const {
  const std::size_t blocks = planes.blocks, images = planes.images;
  if (blocks >= 2 * static_cast<std::size_t>(threads_)) {
    // A block of all images is used twice while it is in the cache.
#pragma omp parallel for schedule(static) num_threads(threads_)
    for (std::size_t block = 0; block < blocks; ++block) {
      for (std::size_t image = 0; image < images; ++image) partial(image, block);
      finish(block);
      for (std::size_t image = 0; image < images; ++image) apply(image, block);
    }
    return;
  }
#pragma omp parallel num_threads(threads_)
  {
#pragma omp for schedule(static) collapse(2)
    for (std::size_t block = 0; block < blocks; ++block) {
      for (std::size_t image = 0; image < images; ++image) partial(image, block);
    }
#pragma omp for schedule(static)
    for (std::size_t block = 0; block < blocks; ++block) finish(block);
#pragma omp for schedule(static) collapse(2)
    for (std::size_t block = 0; block < blocks; ++block) {
      for (std::size_t image = 0; image < images; ++image) apply(image, block);
    }
  }
}

template <class T>
void BatchNormKernels<T>::apply_forward(const Forward& args, std::size_t image,
                                        std::size_t block) const {
  const Planes& planes = args.planes;
  const std::size_t at = planes.at(image, block), channel = block * planes.lanes;
  plane_kernels<T>(planes.lanes)
      .apply(args.x + at, args.residual == nullptr ? nullptr : args.residual + at, args.y + at,
             planes.pixels, planes.pixel_stride, args.mean + channel, factor_.data() + channel,
             args.bias + channel, args.relu);
}

template <class T>
void BatchNormKernels<T>::train(const Forward& args) {
  const Planes& planes = args.planes;
  const std::size_t lanes = planes.lanes;
  const PlaneKernels<T>& kernels = plane_kernels<T>(lanes);
  const auto sums_at = [&](std::size_t image, std::size_t block) {
    return (block * planes.images + image) * lanes;
  };
  const auto pixels = static_cast<double>(planes.pixels);
  run(
      planes,
      [&](std::size_t image, std::size_t block) {
        const std::size_t sums = sums_at(image, block);
        kernels.statistics(args.x + planes.at(image, block), planes.pixels, planes.pixel_stride,
                           first_.data() + sums, second_.data() + sums);
      },
      [&](std::size_t block) {
        for (std::size_t lane = 0; lane < lanes; ++lane) {
          // Joins the planes' statistics as a plane's kernel joins its chunks'.
          double count = 0, mean = 0, squares = 0;
          for (std::size_t image = 0; image < planes.images; ++image) {
            const std::size_t at = sums_at(image, block) + lane;
            const double delta = first_[at] - mean;
            const double total = count + pixels;
            mean += delta * pixels / total;
            squares += second_[at] + delta * delta * count * pixels / total;
            count = total;
          }
          const std::size_t c = block * lanes + lane;
          const double inv_deviation = 1 / std::sqrt(squares / count + args.epsilon);
          args.mean[c] = static_cast<float>(mean);
          args.inv_deviation[c] = static_cast<float>(inv_deviation);
          factor_[c] = static_cast<float>(inv_deviation * static_cast<double>(args.scale[c]));
          const auto move = [&](float& running, double batch) {
            running = static_cast<float>(args.keep * static_cast<double>(running) +
                                         (1 - args.keep) * batch);
          };
          move(args.running_mean[c], mean);
          move(args.running_variance[c], squares / std::max(1.0, count - 1));
        }
      },
      [&](std::size_t image, std::size_t block) { apply_forward(args, image, block); });
}

template <class T>
void BatchNormKernels<T>::evaluate(const Forward& args) {
  for (std::size_t c = 0; c < args.planes.channels(); ++c) {
    const double inv_deviation =
        1 / std::sqrt(static_cast<double>(args.running_variance[c]) + args.epsilon);
    args.mean[c] = args.running_mean[c];
    args.inv_deviation[c] = static_cast<float>(inv_deviation);
    factor_[c] = static_cast<float>(inv_deviation * static_cast<double>(args.scale[c]));
  }
  run(
      args.planes, [](std::size_t, std::size_t) {}, [](std::size_t) {},
      [&](std::size_t image, std::size_t block) { apply_forward(args, image, block); });
}

template <class T>
void BatchNormKernels<T>::backward(const Backward& args) {
  const Planes& planes = args.planes;
  const std::size_t lanes = planes.lanes;
  const PlaneKernels<T>& kernels = plane_kernels<T>(lanes);
  const auto sums_at = [&](std::size_t image, std::size_t block) {
    return (block * planes.images + image) * lanes;
  };
  const auto behind = [](auto* array, std::size_t at) {
    return array == nullptr ? nullptr : array + at;
  };
  const auto count = static_cast<double>(planes.images * planes.pixels);
  run(
      planes,
      [&](std::size_t image, std::size_t block) {
        const std::size_t at = planes.at(image, block), sums = sums_at(image, block);
        kernels.backward_sums({args.dy + at, behind(args.dy_other, at), behind(args.y, at)},
                              args.x + at, behind(args.dresidual, at), planes.pixels,
                              planes.pixel_stride, args.mean + block * lanes, first_.data() + sums,
                              second_.data() + sums);
      },
      [&](std::size_t block) {
        for (std::size_t lane = 0; lane < lanes; ++lane) {
          double sum = 0, with_x = 0;
          for (std::size_t image = 0; image < planes.images; ++image) {
            sum += first_[sums_at(image, block) + lane];
            with_x += second_[sums_at(image, block) + lane];
          }
          const std::size_t c = block * lanes + lane;
          const auto inv_deviation = static_cast<double>(args.inv_deviation[c]);
          const double factor = inv_deviation * static_cast<double>(args.scale[c]);
          args.dbias[c] = static_cast<float>(sum);
          args.dscale[c] = static_cast<float>(with_x * inv_deviation);
          factor_[c] = static_cast<float>(factor);
          x_factor_[c] =
              static_cast<float>(factor * inv_deviation * inv_deviation * with_x / count);
          constant_[c] = static_cast<float>(factor * sum / count);
        }
      },
      [&](std::size_t image, std::size_t block) {
        const std::size_t at = planes.at(image, block), channel = block * lanes;
        const bool is_stored = args.dresidual != nullptr;
        const typename PlaneKernels<T>::Derivative derivative =
            is_stored ? typename PlaneKernels<T>::Derivative{args.dresidual + at, nullptr, nullptr}
                      : typename PlaneKernels<T>::Derivative{
                            args.dy + at, behind(args.dy_other, at), behind(args.y, at)};
        kernels.backward_apply(derivative, args.x + at, args.dx + at, planes.pixels,
                               planes.pixel_stride, args.mean + channel, factor_.data() + channel,
                               x_factor_.data() + channel, constant_.data() + channel);
      });
}

template class BatchNormKernels<float>;
template class BatchNormKernels<Bf16>;

}  // namespace slackline::net::cpu
