#include "pipelines.h"

#include <slackline/batch_reader.h>
#include <slackline/config.h>
#include <slackline/error.h>
#include <slackline/machine.h>
#include <slackline/prefetcher.h>
#include <slackline/tf_example.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include <unistd.h>

#include "imagenet/crop_box.h"
#include "imagenet/image_reader.h"
#include "imagenet/imagenet_transform.h"

namespace slackline::bench {
namespace {

constexpr std::int32_t kSize = 224;
constexpr std::uint64_t kSeed = 1;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class ClosedTrack final : public TraceTrack {
 public:
  bool is_open() const noexcept override { return false; }
  void span(const char*, slackline::Clock::Time, slackline::Clock::Time,
            std::uint64_t) noexcept override {}
  void count(const char*, slackline::Clock::Time, double) noexcept override {}
};

class SilentHost final : public Host {
 public:
  void report(std::string_view, double, std::string_view) override {}
  void warn(std::string_view) override {}
  slackline::Clock& clock() override { return steady_clock(); }
  TraceTrack& track(std::string_view) override { return track_; }

 private:
  ClosedTrack track_;
};

/// slackline's parts, made from the configuration that a user would write.
struct Parts {
  explicit Parts(const Workload& workload) : registry(Registry::default_search_path()) {
    const auto file = std::filesystem::temp_directory_path() /
                      ("slackline_bench_input_" + std::to_string(::getpid()) + ".toml");
    std::ofstream(file) << "[run]\nseed = " << kSeed
                        << "\n[input]\nbatch_size = " << workload.batch_size << "\nimage_size = ["
                        << kSize << ", " << kSize
                        << "]\n[source]\nplugin = \"tfrecord\"\nfiles = [\"" << workload.files
                        << "\"]\n[[transform]]\nplugin = \"imagenet_turbojpeg\"\nmode = \"train\"\n"
                        << "pixels = \"" << workload.pixels
                        << "\"\n[prefetcher]\nplugin = \"plain\"\n[model]\nplugin = \"trivial\"\n"
                        << "[strategy]\nplugin = \"one_device\"\n";
    const Config config = Config::load({file, {}}, registry);
    std::filesystem::remove(file);
    source = make<Source>(*config.source.plugin, config.source.values, host);
    transform = make<Transform>(*config.transforms[0].plugin, config.transforms[0].values, host);
    transform->prepare(config.input.shape());
    prefetcher = make<Prefetcher>(*config.prefetcher.plugin, config.prefetcher.values, host);
    plan.source = source.get();
    plan.transforms = {transform.get()};
    plan.transform_names = {"transform/imagenet_turbojpeg"};
    plan.shape = config.input.shape();
    plan.batch_size = workload.batch_size;
    plan.num_classes = config.input.num_classes;
    plan.workers = workload.threads;
    plan.seed = kSeed;
    plan.drop_remainder = false;  // as the bare loop, which leaves out no image
  }

  Registry registry;
  SilentHost host;
  std::unique_ptr<Source> source;
  std::unique_ptr<Transform> transform;
  std::unique_ptr<Prefetcher> prefetcher;
  BatchReaderPlan plan;
};

/// Records of whole epochs, copied into memory, with the crops that slackline draws for them.
struct LoadedRecords {
  std::vector<std::vector<std::byte>> jpegs;
  std::vector<EncodedImage> images;  ///< epoch after epoch; they share the jpegs
};

BareCrop crop_of(const Record& record, const ImagenetExample& example, std::uint32_t epoch) {
  Scratch scratch;
  const auto boxes = imagenet::boxes_of(example, scratch);
  const auto jpeg = std::as_bytes(std::span(example.encoded.data(), example.encoded.size()));
  const imagenet::ImageReader image(jpeg, {}, scratch);
  Philox words = random_words({.seed = kSeed, .sample_id = record.id, .epoch = epoch}, 0);
  const imagenet::Window window =
      imagenet::sample_crop(image.height(), image.width(), boxes, imagenet::CropLimits{}, words);
  const bool flip = uniform_float(words) < 0.5f;
  return {window.y, window.x, window.height, window.width, flip};
}

LoadedRecords load(const Workload& workload, std::int32_t epochs) {
  const Parts parts(workload);
  LoadedRecords out;
  for (std::int32_t epoch = 0; epoch < epochs; ++epoch) {
    parts.source->start_epoch({.seed = kSeed,
                               .epoch = static_cast<std::uint32_t>(epoch),
                               .shard_index = 0,
                               .shard_count = 1});
    Record record;
    for (std::size_t i = 0; parts.source->next(record); ++i) {
      const ImagenetExample example = parse_imagenet_example(record.bytes);
      const auto jpeg = std::as_bytes(std::span(example.encoded.data(), example.encoded.size()));
      if (epoch == 0) out.jpegs.emplace_back(jpeg.begin(), jpeg.end());
      out.images.push_back({.jpeg = out.jpegs[i],
                            .boxes = {},
                            .crop = crop_of(record, example, static_cast<std::uint32_t>(epoch))});
      parts.source->give_back(record);
    }
  }
  return out;
}

std::size_t batch_bytes(const Workload& workload) {
  return static_cast<std::size_t>(workload.batch_size) * kSize * kSize * 3;
}

}  // namespace

Measurement run_slackline(const Workload& workload) {
  Parts parts(workload);
  parts.plan.epochs = static_cast<std::uint32_t>(workload.epochs) + 1;
  BadSampleAccount account(BadSamplePolicy::kFail, 0);

  Measurement out;
  const auto start = Clock::now();
  BatchReader reader(parts.plan, account);
  const auto stream = parts.prefetcher->wrap(reader, {});
  Clock::time_point timed_from;
  double cpu_before_s = 0;
  InputTimes times_before;
  std::uint64_t images = 0;
  while (const Batch* batch = stream->next()) {
    if (out.first_batch_s == 0) out.first_batch_s = seconds_since(start);
    const bool is_warmup = batch->epoch == 0;
    if (!is_warmup) images += static_cast<std::uint64_t>(batch->size);
    stream->give_back(batch);
    if (is_warmup) {
      timed_from = Clock::now();
      cpu_before_s = cpu_seconds();
      times_before = reader.times();
    }
  }
  const double wall_s = seconds_since(timed_from);
  const InputTimes times = reader.times().since(times_before);
  out.images_per_s = static_cast<double>(images) / wall_s;
  out.cpu_s_per_1000 = (cpu_seconds() - cpu_before_s) * 1000 / static_cast<double>(images);
  out.peak_memory_mib = static_cast<double>(peak_memory_bytes()) / (1 << 20);
  out.batching_us_per_batch = std::chrono::duration<double, std::micro>(times.batching).count() /
                              static_cast<double>(std::max<std::uint64_t>(times.batches, 1));
  return out;
}

Measurement run_bare(const Workload& workload) {
  const LoadedRecords records = load(workload, workload.epochs + 1);
  const std::size_t epoch_images = records.jpegs.size();
  const auto threads = static_cast<std::size_t>(workload.threads);
  const auto run = [&](std::span<const EncodedImage> images) {
    std::vector<std::thread> running;
    for (std::size_t t = 0; t < threads; ++t) {
      const std::size_t begin = images.size() * t / threads;
      const std::size_t end = images.size() * (t + 1) / threads;
      running.emplace_back([&, begin, end] {
        std::vector<std::uint8_t> batch(batch_bytes(workload));
        run_bare_loop(images.subspan(begin, end - begin),
                      {.size = kSize, .accurate = workload.pixels == "accurate"}, batch);
      });
    }
    for (std::thread& thread : running) thread.join();
  };
  const std::span<const EncodedImage> all(records.images);
  run(all.first(epoch_images));

  Measurement out;
  const double cpu_before_s = cpu_seconds();
  const auto start = Clock::now();
  run(all.subspan(epoch_images));
  const double wall_s = seconds_since(start);
  const auto images = static_cast<double>(all.size() - epoch_images);
  out.images_per_s = images / wall_s;
  out.cpu_s_per_1000 = (cpu_seconds() - cpu_before_s) * 1000 / images;
  out.peak_memory_mib = static_cast<double>(peak_memory_bytes()) / (1 << 20);
  return out;
}

PixelDifference compare_pixels(const Workload& workload) {
  const LoadedRecords records = load(workload, 1);
  Parts parts(workload);
  BadSampleAccount account(BadSamplePolicy::kFail, 0);
  BatchReader reader(parts.plan, account);
  std::vector<std::uint8_t> expected(batch_bytes(workload));
  PixelDifference out;
  double sum = 0;
  std::uint64_t values = 0;
  std::size_t at = 0;
  while (const Batch* batch = reader.next()) {
    const auto size = static_cast<std::size_t>(batch->size);
    run_bare_loop(std::span(records.images).subspan(at, size),
                  {.size = kSize, .accurate = workload.pixels == "accurate"}, expected);
    for (std::size_t i = 0; i < batch->images.size(); ++i) {
      const int difference = std::abs(int{batch->images[i]} - int{expected[i]});
      out.largest = std::max(out.largest, difference);
      sum += difference;
    }
    values += batch->images.size();
    out.images += size;
    at += size;
    reader.give_back(batch);
  }
  out.mean = values > 0 ? sum / static_cast<double>(values) : 0;
  return out;
}

}  // namespace slackline::bench
