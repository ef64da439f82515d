#include "net/trivial.h"

#include <string>
#include <utility>

#include "nn/parameters.h"

namespace slackline::net {
namespace {

class Builder {
 public:
  explicit Builder(const TrivialSpec& spec) : spec_(spec) {}

  Program build() {
    const TensorId pixels =
        add({.name = "images", .extents = {spec_.batch_size, 3, spec_.height, spec_.width}});
    program_.ops.emplace_back(Ingest{.y = pixels});
    const TensorId hidden = dense(pixels, 3 * spec_.height * spec_.width, 1, "fc1");
    const TensorId logits = dense(hidden, 1, spec_.classes, "fc2");
    const TensorId dlogits = activation("d logits", spec_.classes);
    program_.ops.emplace_back(SoftmaxLoss{.logits = logits, .dlogits = dlogits});
    program_.forward_ops = program_.ops.size();
    append_backward(program_, Fusion::kSeparate);
    return std::move(program_);
  }

 private:
  TensorId add(Tensor tensor) {
    program_.tensors.push_back(std::move(tensor));
    return static_cast<TensorId>(program_.tensors.size()) - 1;
  }
  TensorId activation(const std::string& name, std::int64_t channels) {
    return add({.name = name, .extents = {spec_.batch_size, channels, 1, 1}});
  }
  TensorId parameter(const std::string& name, const Extents& extents, bool is_kernel) {
    const TensorId gradient = add({.name = "gradient." + name,
                                   .kind = TensorKind::kGradient,
                                   .extents = extents,
                                   .is_kernel = is_kernel});
    return add({.name = name,
                .kind = TensorKind::kParameter,
                .extents = extents,
                .is_kernel = is_kernel,
                .is_decayed = true,
                .gradient = gradient});
  }
  TensorId dense(TensorId x, std::int64_t inputs, std::int64_t outputs, const std::string& name) {
    const TensorId weight = parameter(name + ".weight", {outputs, inputs, 1, 1}, true);
    const TensorId bias = parameter(name + ".bias", {outputs, 1, 1, 1}, false);
    const TensorId y = activation(name, outputs);
    program_.ops.emplace_back(Dense{.x = x, .weight = weight, .bias = bias, .y = y});
    return y;
  }

  const TrivialSpec& spec_;
  Program program_;
};

}  // namespace

Program build_trivial(const TrivialSpec& spec) { return Builder(spec).build(); }

std::vector<float> trivial_initial_values(const Program& program, TensorId id, std::uint64_t seed) {
  const Tensor& tensor = program.tensor(id);
  std::vector<float> values(values_of(tensor.extents));
  if (!tensor.is_kernel) return values;
  nn::fill_glorot_uniform(values, static_cast<std::size_t>(tensor.extents[1]),
                          static_cast<std::size_t>(tensor.extents[0]), seed,
                          tensor.name == "fc1.weight" ? 0 : 1);
  return values;
}

Normalisation trivial_normalisation() { return {.mean = {123.68f, 116.78f, 103.94f}}; }

}  // namespace slackline::net
