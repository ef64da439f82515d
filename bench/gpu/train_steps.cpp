// Training steps of any model plugin under any strategy plugin for one device, on batches from a
// file: each step's loss, and all tensors behind the last one. gradients.py, curve.py and bits.py
// compare that with PyTorch and with itself.

#include <slackline/checkpoint.h>
#include <slackline/error.h>
#include <slackline/file_ops.h>
#include <slackline/registry.h>
#include <slackline/safetensors.h>
#include <slackline/strategy.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace {

using namespace slackline;

struct Arguments {
  std::string model = "resnet_cudnn", strategy = "one_gpu", batches, weights, tensors;
  std::vector<std::string> options;
  std::int32_t classes = 10, steps = 1, threads = 1;
  std::uint64_t seed = 1;
  float rate = 0;
  OptimizerSpec optimizer = {.decay_form = WeightDecay::kTorch, .momentum = 0.9f};
};

/// Plugins' warnings go to stderr, what they report and trace nowhere.
class QuietHost final : public Host {
 public:
  void report(std::string_view, double, std::string_view) override {}
  void warn(std::string_view message) override { std::cerr << "warning: " << message << "\n"; }
  Clock& clock() override { return steady_clock(); }
  TraceTrack& track(std::string_view) override { return track_; }

 private:
  class ClosedTrack final : public TraceTrack {
    bool is_open() const noexcept override { return false; }
    void span(const char*, Clock::Time, Clock::Time, std::uint64_t) noexcept override {}
    void count(const char*, Clock::Time, double) noexcept override {}
  };
  ClosedTrack track_;
};

/// "depth=50" and the like, with values in JSON's words or bare: fp16, true, [58, 58, 58].
OptionValues values_of(const Plugin& plugin, const std::vector<std::string>& options) {
  const auto& descriptor = *plugin.descriptor;
  OptionValues values(descriptor.option_count);
  for (const std::string& option : options) {
    const std::string name = option.substr(0, option.find('='));
    std::size_t i = 0;
    while (i < descriptor.option_count && descriptor.options[i].name != name) ++i;
    if (i == descriptor.option_count || name == option) {
      throw ConfigError(
          text("--option ", option, ": is not NAME=VALUE of an option of ", plugin.id()));
    }
    const std::string given = option.substr(name.size() + 1);
    nlohmann::json value = nlohmann::json::parse(given, nullptr, false);
    if (value.is_discarded()) value = given;
    if (!value.is_array()) value = nlohmann::json::array({value});
    try {
      switch (descriptor.options[i].type) {
        case SLACKLINE_BOOL:
          values.set_ints(i, {value[0].get<bool>() ? 1 : 0});
          break;
        case SLACKLINE_INT:
          values.set_ints(i, value.get<std::vector<std::int64_t>>());
          break;
        case SLACKLINE_FLOAT:
          values.set_floats(i, value.get<std::vector<double>>());
          break;
        default:
          values.set_strings(i, value.get<std::vector<std::string>>());
      }
    } catch (const nlohmann::json::exception& error) {
      throw ConfigError(text("--option ", option, ": ", error.what()));
    }
  }
  return values;
}

/// The batches of a file, each in pages of its own, as they have to be to be pinned; the first
/// again behind the last. `images`: uint8 (batches, N, H, W, 3); `labels`: int64 (batches, N).
class Batches final : public BatchStream {
 public:
  explicit Batches(const std::string& name) {
    const SafetensorsFile file(name);
    const StoredTensor& images = tensor(file, "images", StoredType::kU8, 5);
    const StoredTensor& labels = tensor(file, "labels", StoredType::kI64, 2);
    if (images.shape[4] != 3 || images.shape[0] != labels.shape[0] ||
        images.shape[1] != labels.shape[1]) {
      throw DataError(text(name, ": images ", shape_text(images.shape), " and labels ",
                           shape_text(labels.shape),
                           ", which should be (batches, N, H, W, 3) and (batches, N)"));
    }
    const auto samples = static_cast<std::size_t>(images.shape[1]);
    const ImageShape shape{static_cast<std::int32_t>(images.shape[2]),
                           static_cast<std::int32_t>(images.shape[3]), 3};
    const std::size_t bytes = samples * shape.size();
    for (std::size_t b = 0; b < static_cast<std::size_t>(images.shape[0]); ++b) {
      constexpr std::size_t kPage = 4096;
      Owned& made = owned_.emplace_back();
      made.images.reset(static_cast<std::uint8_t*>(
          std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage)));
      if (made.images == nullptr) throw std::bad_alloc();
      const std::span pixels(made.images.get(), bytes);
      file.read_bytes(images.begin + b * bytes, std::as_writable_bytes(pixels));
      std::vector<std::int64_t> wide(samples);
      file.read_bytes(labels.begin + b * samples * sizeof(std::int64_t),
                      std::as_writable_bytes(std::span(wide)));
      made.labels.assign(wide.begin(), wide.end());
      made.batch.images = pixels;
      made.batch.labels = made.labels;
      made.batch.shape = shape;
      made.batch.size = static_cast<std::int32_t>(samples);
    }
  }

  [[nodiscard]] const Batch& first() const { return owned_.front().batch; }
  const Batch* next() override { return &owned_[next_++ % owned_.size()].batch; }
  void give_back(const Batch*) noexcept override {}
  void cancel() noexcept override {}

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  struct Owned {
    std::unique_ptr<std::uint8_t, Free> images;
    std::vector<std::int32_t> labels;
    Batch batch;
  };

  static const StoredTensor& tensor(const SafetensorsFile& file, const char* name, StoredType type,
                                    std::size_t dimensions) {
    const StoredTensor* const found = file.find(name);
    if (found == nullptr || found->type != type || found->shape.size() != dimensions ||
        found->bytes == 0) {
      throw DataError(text(file.name(), ": has no tensor '", name, "' of ", dimensions,
                           " dimensions and type ", name_of(type)));
    }
    return *found;
  }

  std::deque<Owned> owned_;
  std::size_t next_ = 0;
};

/// Makes the model that the arguments name.
class NamedModel final : public ModelFactory {
 public:
  NamedModel(Registry& registry, const Arguments& a, Host& host)
      : plugin_(registry.load(Model::kKind, a.model)),
        values_(values_of(plugin_, a.options)),
        host_(host) {}
  std::unique_ptr<Model> make_model() override { return make<Model>(plugin_, values_, host_); }

 private:
  const Plugin& plugin_;
  const OptionValues values_;
  Host& host_;
};

/// Steps one ahead of the one that is waited for, as a run's: uploads and computation overlap.
std::vector<double> losses_of(Strategy& strategy, BatchStream& device, const Arguments& a) {
  std::deque<const Batch*> in_flight;
  std::vector<double> losses;
  const auto finish = [&] {
    const StepSums sums = strategy.finish();
    losses.push_back(sums.loss / static_cast<double>(sums.samples));
    device.give_back(in_flight.front());
    in_flight.pop_front();
  };
  for (std::int32_t step = 0; step < a.steps; ++step) {
    const Batch* const batch = device.next();
    strategy.submit({&batch, 1}, {.rule = {.learning_rate = a.rate}});
    in_flight.push_back(batch);
    if (in_flight.size() == 2) finish();
  }
  while (!in_flight.empty()) finish();
  return losses;
}

void write_tensors(TensorStore& store, const std::string& name) {
  std::vector<StoredTensor> tensors;
  for (const TensorInfo& info : store.tensors()) {
    tensors.push_back(
        {.name = info.name, .shape = info.shape, .bytes = info.size() * sizeof(float)});
  }
  std::ofstream file(name, std::ios::binary);
  SafetensorsWriter writer([&](std::string_view bytes) { file << bytes; }, tensors, {});
  std::vector<float> values;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    values.resize(store.tensors()[i].size());
    store.read(i, values);
    writer.append(std::as_bytes(std::span(values)));
  }
  if (!file.flush()) throw IoError(text("write ", name), errno);
}

void train(const Arguments& a) {
  QuietHost host;
  Batches batches(a.batches);
  Registry registry(Registry::default_search_path());
  NamedModel model(registry, a, host);
  const Plugin& plugin = registry.load(Strategy::kKind, a.strategy);
  const auto strategy = make<Strategy>(plugin, values_of(plugin, {}), host);
  strategy->build(model, {.image = batches.first().shape,
                          .max_batch_size = batches.first().size,
                          .num_classes = a.classes,
                          .seed = a.seed,
                          .device = {},
                          .optimizer = a.optimizer,
                          .cpu_threads = a.threads});
  (void)strategy->connect("");
  if (!a.weights.empty()) load_weights(a.weights, strategy->state());
  const std::unique_ptr<BatchStream> uploaded = strategy->upload(batches, 0);
  const std::vector<double> losses =
      losses_of(*strategy, uploaded != nullptr ? *uploaded : static_cast<BatchStream&>(batches), a);
  if (!a.tensors.empty()) write_tensors(strategy->state(), a.tensors);
  std::cout << nlohmann::ordered_json{{"model", a.model},
                                      {"options", a.options},
                                      {"losses", losses}}
                   .dump()
            << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a;
  CLI::App program(
      "trains a model plugin on the batches of a file; prints the loss of each step as one line of "
      "JSON");
  program
      .add_option("--batches", a.batches,
                  "safetensors: images (batches, N, H, W, 3) U8, labels (batches, N) I64")
      ->required();
  program.add_option("--weights", a.weights,
                     "safetensors to begin with; else initial values by --seed");
  program.add_option("--tensors", a.tensors,
                     "file for all tensors behind the last step, its gradients included");
  program.add_option("--model", a.model)->capture_default_str();
  program.add_option("--strategy", a.strategy)->capture_default_str();
  program.add_option("--option", a.options, "of the model: NAME=VALUE")->take_all();
  program.add_option("--classes", a.classes)->capture_default_str();
  program.add_option("--steps", a.steps)->capture_default_str();
  program.add_option("--rate", a.rate)->capture_default_str();
  program.add_option("--momentum", a.optimizer.momentum)->capture_default_str();
  program.add_option("--decay", a.optimizer.weight_decay, "torch.optim.SGD's")
      ->capture_default_str();
  program.add_option("--seed", a.seed, "of initial values")->capture_default_str();
  program.add_option("--threads", a.threads, "of a replica on the CPU")->capture_default_str();
  CLI11_PARSE(program, argc, argv);
  try {
    train(a);
    return 0;
  } catch (const Error& error) {
    std::cerr << "bench_train_steps: " << error.what() << "\n";
    return static_cast<int>(error.exit_code());
  }
}
