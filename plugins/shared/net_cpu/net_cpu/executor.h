#pragma once

#include <slackline/model.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "net/program.h"
#include "net/reference.h"

namespace slackline::net::cpu {

/// How activations and the weights of convolutions are stored while a step runs. Parameters,
/// gradients and statistics are float32 in any case, and so are the dense layer and the loss.
enum class Precision : std::uint8_t { kFloat32, kBfloat16 };

struct ExecutorSpec {
  Precision precision = Precision::kFloat32;
  int threads = 1;
  Normalisation normalisation;
};

/// Executes a program on the CPU. Everything is planned for the program's batch size when it is
/// constructed; a smaller batch size is planned when it first comes. Otherwise a step allocates
/// nothing of ours.
///
/// Convolutions choose their layouts, one for all activations, so that none is reordered in a step;
/// parameters lie as the forward convolutions want them, and gradients as the parameters do, so
/// that an update needs no layout at all.
///
/// Threads    one caller at a time, whose OpenMP threads are used, as many as ExecutorSpec says.
/// For
///            one number of threads results have the same bits in every run.
/// Errors     ConfigError if this CPU cannot compute with the precision; DeviceError with oneDNN's
///            own words and the operation.
class Executor {
 public:
  Executor(Program program, const ExecutorSpec& spec);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  [[nodiscard]] const Program& program() const;

  /// As those of Reference, without its tensors.
  void train(const StepInput& input, StepSums& sums);
  void evaluate(const StepInput& input, StepSums& sums);

  /// All parameters, gradients or statistics, flat, each tensor at a place of its own with a little
  /// padding that stays zero. Parameters and gradients lie alike: parameter i and its gradient
  /// have the same offset.
  [[nodiscard]] std::span<float> parameters();
  [[nodiscard]] std::span<float> gradients();
  [[nodiscard]] std::span<float> statistics();

  /// The part of `array`, which is one of those above or lies like them, that is tensor `id`'s.
  [[nodiscard]] std::span<float> part(std::span<float> array, TensorId id) const;

  /// Copies tensor `id` out of `array`, or into it, dense and in its logical order on our side.
  void read(std::span<float> array, TensorId id, std::span<float> values);
  void write(std::span<float> array, TensorId id, std::span<const float> values);

  /// The same for any tensor, activations too, which are only there while they live. For tests.
  void read(TensorId id, std::span<float> values);
  void write(TensorId id, std::span<const float> values);
  /// One operation of the program alone. `input` is as for a whole step.
  void run(std::size_t op, Mode mode, const StepInput& input, StepSums& sums);

  /// Where a step's time goes, since the first call of profile(). Costs two clock readings for each
  /// operation.
  struct OpTime {
    std::string name;  ///< the operation's label_of()
    std::string implementation;
    double seconds = 0;
    std::int64_t calls = 0;
    std::int64_t flop = 0;  ///< of one call with the program's batch size
  };
  void profile();
  [[nodiscard]] std::vector<OpTime> op_times() const;

  /// Of the arena that activations share, and of what they would need without sharing.
  [[nodiscard]] std::size_t arena_bytes() const;

  /// Names of the operations for which oneDNN has nothing but its slow reference code here.
  [[nodiscard]] std::vector<std::string> slow_operations() const;

  class Impl;  ///< in executor.cpp

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace slackline::net::cpu
