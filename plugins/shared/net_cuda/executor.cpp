#include "net_cuda/executor.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <initializer_list>
#include <utility>
#include <variant>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "net/training.h"
#include "net_cuda/tune.h"

namespace slackline::net::cuda {
namespace {

std::size_t at(TensorId id) { return static_cast<std::size_t>(id); }

std::vector<MemoryRange> existing(std::initializer_list<MemoryRange> ranges) {
  std::vector<MemoryRange> found(ranges);
  std::erase_if(found, [](const MemoryRange& range) { return range.bytes == 0; });
  return found;
}

}  // namespace

Executor::Place Executor::place(TensorId id, std::int64_t batch) const {
  if (id == kNone) return {};
  const std::size_t values = layout_.size(program_, id, batch), offset = layout_.offset(id);
  const auto floats = [&](const DeviceBuffer<float>& array) -> Place {
    return {array.data() + offset, values * sizeof(float)};
  };
  switch (program_.tensor(id).kind) {
    case TensorKind::kParameter:
      return floats(values_);
    case TensorKind::kGradient:
      return floats(gradients_);
    case TensorKind::kStatistic:
      return floats(statistics_);
    case TensorKind::kChannel:
      return {arena_.data() + offset, values * sizeof(float)};
    case TensorKind::kIndex:
      return {arena_.data() + offset, values};
    case TensorKind::kActivation:
      break;
  }
  return {arena_.data() + offset, values * bytes_of(spec_.precision)};
}

Executor::Place Executor::place_for_cudnn(TensorId id, std::int64_t batch) const {
  const Tensor& tensor = program_.tensor(id);
  if (spec_.precision == Precision::kFloat32 || !tensor.is_kernel) return place(id, batch);
  const std::size_t bytes = bytes_of(spec_.precision);
  const DeviceBuffer<std::byte>& array = tensor.kind == TensorKind::kGradient ? raw_ : copies_;
  return {array.data() + layout_.offset(id) * bytes, layout_.size(program_, id, batch) * bytes};
}

Executor::Executor(Program program, const ExecutorSpec& spec, const cudnn::Target& target,
                   Runtime& runtime, cudaStream_t stream)
    : program_(std::move(program)),
      spec_(spec),
      target_(target),
      runtime_(runtime),
      stream_(stream),
      layout_(make_layout(program_, spec.precision, spec.optimizer)) {
  const bool has_copies = spec.precision != Precision::kFloat32;
  const std::size_t parameters = layout_.parameter_values;
  values_ = {runtime, parameters};
  gradients_ = {runtime, parameters};
  velocities_ = {runtime, parameters};
  statistics_ = {runtime, layout_.statistic_values};
  copies_ = {runtime, has_copies ? parameters * bytes_of(spec.precision) : 0};
  raw_ = {runtime, has_copies ? parameters * bytes_of(spec.precision) : 0};
  arena_ = {runtime, layout_.arena_bytes};
  std::int64_t most_channels = 8;  // the least that a batch norm has, if there is any
  std::size_t most_values = 1;
  for (const TensorKind kind : {TensorKind::kParameter, TensorKind::kStatistic}) {
    for (const TensorId id : program_.all(kind)) {
      most_values = std::max(most_values, values_of(layout_.extents[at(id)]));
      if (kind == TensorKind::kStatistic) {
        most_channels = std::max(most_channels, layout_.extents[at(id)][0]);
      }
    }
  }
  scratch_ = {runtime, batch_norm_scratch_bytes(most_channels)};
  trained_ = {runtime, layout_.trained.size()};
  pieces_ = {runtime, layout_.pieces.size()};
  piece_sums_ = {runtime, 3 * layout_.pieces.size()};
  penalty_ = {runtime, 1};
  rates_ = {runtime, layout_.trained.size()};
  const auto batch = static_cast<std::size_t>(layout_.batch_size);
  labels_ = {runtime, batch};
  sums_ = {runtime, 1};
  per_sample_ = {runtime, batch};
  loss_scale_ = {runtime, 1};
  schedule_ = {runtime, 1};
  rate_table_ = {runtime, spec.rate_table.size()};
  staging_ = {runtime, most_values * sizeof(float)};

  set<TrainedTensor>(trained_, layout_.trained);
  set<Piece>(pieces_, layout_.pieces);
  set<LossScale>(loss_scale_, std::array{LossScale{.scale = spec.loss_scale}});
  set<Schedule>(schedule_, std::array{Schedule{}});
  if (has_rate_table()) set<float>(rate_table_, spec.rate_table);
  for (const DeviceBuffer<float>* array : {&values_, &gradients_, &velocities_, &statistics_}) {
    if (array->size() > 0) runtime.fill(array->data(), 0, array->bytes(), stream);
  }
  for (const DeviceBuffer<std::byte>* array : {&copies_, &raw_}) {
    if (has_copies) runtime.fill(array->data(), 0, array->bytes(), stream);
  }
  make_update_actions();
  const auto full = static_cast<std::int32_t>(layout_.batch_size);
  prepare(Mode::kTraining, full, full);
}

template <class T>
void Executor::set(DeviceBuffer<T>& buffer, std::span<const T> values) {
  const slackline::cuda::PinnedBuffer<T> staged(runtime_, values.size());
  std::ranges::copy(values, staged.data());
  runtime_.copy(buffer.data(), staged.data(), staged.bytes(), stream_);
  runtime_.synchronize(stream_);
}

void Executor::enqueue(const Action& action) {
  runtime_.enqueue({action.name, action.reads, action.writes}, stream_, action.call);
}

void Executor::ingest(const DeviceBatch& batch) {
  assert(batch.size > 0 && batch.size <= layout_.batch_size);
  if (needs_refresh_) enqueue(refresh_);
  needs_refresh_ = false;
  const TensorId y = std::get<Ingest>(program_.ops.front()).y;
  const Extents& e = layout_.extents[at(y)];
  const IngestArgs args{.images = batch.images,
                        .pixels = batch.size * e[2] * e[3],
                        .normalisation = spec_.normalisation,
                        .y = arena_.data() + layout_.offset(y)};
  const std::array reads{MemoryRange{batch.images, static_cast<std::size_t>(args.pixels * 3)}};
  const std::array writes{
      MemoryRange{args.y, layout_.size(program_, y, batch.size) * bytes_of(spec_.precision)}};
  runtime_.enqueue({"ingest", reads, writes}, stream_,
                   [&](cudaStream_t stream) { net::cuda::ingest(spec_.precision, args, stream); });
  take_labels(batch);
}

void Executor::take_labels(const DeviceBatch& batch) {
  runtime_.copy(labels_.data(), batch.labels,
                static_cast<std::size_t>(batch.size) * sizeof(std::int32_t), stream_);
}

const cudnn::Plan& Executor::plan(const cudnn::Graph& graph,
                                  std::span<const cudnn::Binding> bindings) {
  const auto known = plans_.find(graph.signature());
  if (known != plans_.end()) return known->second;
  return plans_.emplace(graph.signature(), new_plan(graph, bindings)).first->second;
}

cudnn::Plan Executor::new_plan(const cudnn::Graph& graph,
                               std::span<const cudnn::Binding> bindings) {
  constexpr std::size_t kCandidates = 12;
  cudnn::PlanCache* const cache = spec_.plan_cache;
  // Behind the first instance a batch is under way, which measuring would overwrite; and what is
  // measured then is in no file, so that the next run might take other engines.
  const bool is_first_instance = instances_.empty();
  if (cache == nullptr || !is_first_instance) {
    return cudnn::choose(graph, target_, spec_.policy).plan;
  }
  if (auto found = cache->find(graph, target_, spec_.policy)) return *std::move(found);
  const cudnn::Candidates candidates = cudnn::candidates(graph, target_, spec_.policy, kCandidates);
  if (candidates.plans.empty()) return cudnn::choose(graph, target_, spec_.policy).plan;  // throws
  const Fastest fastest = fastest_of(candidates.plans, target_, bindings, runtime_, stream_);
  for (const std::string& failure : fastest.failures) {
    failed_plans_.push_back(text(graph.signature(), ": ", failure));
  }
  const cudnn::Plan& best = candidates.plans[fastest.place];
  cache->put(graph, target_, spec_.policy, best, fastest.microseconds);
  return best;
}

Executor::Key Executor::key_of(Mode mode, std::int32_t size, std::int32_t global_batch_size) {
  return {mode, size, mode == Mode::kTraining ? global_batch_size : 0};  // evaluation has no use
}

void Executor::prepare(Mode mode, std::int32_t size, std::int32_t global_batch_size) {
  assert(size > 0 && size <= layout_.batch_size);
  const Key key = key_of(mode, size, global_batch_size);
  if (!instances_.contains(key)) instances_.emplace(key, build(key));
}

void Executor::run(Mode mode, std::int32_t size, std::int32_t global_batch_size) {
  prepare(mode, size, global_batch_size);
  for (const Action& action : instances_.at(key_of(mode, size, global_batch_size)).actions) {
    enqueue(action);
  }
  if (mode == Mode::kTraining) enqueue(gather_);
}

void Executor::run(std::int32_t size, std::int32_t global_batch_size, GradientExchange& exchange) {
  prepare(Mode::kTraining, size, global_batch_size);
  const std::vector<GradientPart>& parts = layout_.parts;
  std::size_t next = 0;
  for (const Action& action :
       instances_.at(key_of(Mode::kTraining, size, global_batch_size)).actions) {
    while (next < parts.size() && parts[next].last_op < action.op) begin_exchange(next++, exchange);
    enqueue(action);
  }
  while (next < parts.size()) begin_exchange(next++, exchange);
  exchange.finish();
}

void Executor::begin_exchange(std::size_t part, GradientExchange& exchange) {
  enqueue(gather_parts_[part]);
  exchange.begin(gradients_.span().subspan(layout_.parts[part].begin, layout_.parts[part].size));
}

void Executor::exchange_zeros(GradientExchange& exchange) {
  runtime_.fill(gradients_.data(), 0, gradients_.bytes(), stream_);
  for (const GradientPart& part : layout_.parts) {
    exchange.begin(gradients_.span().subspan(part.begin, part.size));
  }
  exchange.finish();
}

void Executor::update() { enqueue(update_); }

ParameterArgs Executor::parameter_args() {
  const OptimizerSpec& optimizer = spec_.optimizer;
  const bool has_penalty = optimizer.decay_form == WeightDecay::kL2Loss;
  return {.tensors = trained_.data(),
          .tensor_count = static_cast<std::int32_t>(trained_.size()),
          .pieces = pieces_.data(),
          .piece_count = static_cast<std::int32_t>(pieces_.size()),
          .values = values_.data(),
          .gradients = gradients_.data(),
          .velocities = velocities_.data(),
          .copies = copies_.data(),
          .raw = raw_.data(),
          .piece_sums = piece_sums_.data(),
          .rates = rates_.data(),
          .optimizer = optimizer.kind,
          .momentum = optimizer.momentum,
          .lars_trust = optimizer.lars_trust,
          .loss_scale = loss_scale_.data(),
          .is_dynamic = spec_.is_loss_scale_dynamic,
          .schedule = schedule_.data(),
          .rate_table = rate_table_.data(),
          .rate_table_size = static_cast<std::int64_t>(rate_table_.size()),
          .weight_decay = has_penalty ? static_cast<double>(optimizer.weight_decay) : 0,
          .penalty = penalty_.data()};
}

Action Executor::gather_action(const GradientPart& part) {
  const Precision precision = spec_.precision;
  ParameterArgs args = parameter_args();
  args.pieces += part.first_piece;
  args.piece_count = static_cast<std::int32_t>(part.piece_count);
  const MemoryRange gradients{gradients_.data() + part.begin, part.size * sizeof(float)};
  const std::size_t bytes = raw_.size() == 0 ? 0 : bytes_of(precision);
  return {.name = "gather gradients",
          .reads = existing({{raw_.data() + part.begin * bytes, part.size * bytes},
                             gradients,
                             loss_scale_.range(),
                             trained_.range(),
                             pieces_.range()}),
          .writes = {gradients},
          .call = [precision, args](cudaStream_t stream) {
            gather_gradients(precision, args, stream);
          }};
}

void Executor::make_update_actions() {
  const Precision precision = spec_.precision;
  const ParameterArgs args = parameter_args();
  gather_ = gather_action({.size = gradients_.size(), .piece_count = pieces_.size()});
  for (const GradientPart& part : layout_.parts) gather_parts_.push_back(gather_action(part));
  update_ = {.name = "update",
             .reads = existing({gradients_.range(), values_.range(), velocities_.range(),
                                trained_.range(), pieces_.range(), schedule_.range()}),
             .writes = existing({values_.range(), velocities_.range(), copies_.range(),
                                 piece_sums_.range(), rates_.range(), loss_scale_.range(),
                                 schedule_.range(), penalty_.range()}),
             .call = [precision, args](cudaStream_t stream) {
               net::cuda::update(precision, args, stream);
             }};
  refresh_ = {.name = "refresh",
              .reads = existing({values_.range(), trained_.range(), pieces_.range()}),
              .writes = existing({copies_.range(), piece_sums_.range(), penalty_.range()}),
              .call = [precision, args](cudaStream_t stream) {
                net::cuda::refresh(precision, args, stream);
              }};
}

void Executor::run(std::size_t op, Mode mode, std::int32_t size, std::int32_t global_batch_size) {
  prepare(mode, size, global_batch_size);
  for (const Action& action : instances_.at(key_of(mode, size, global_batch_size)).actions) {
    if (action.op == op) enqueue(action);
  }
}

void Executor::set_initial_values(std::uint64_t seed) {
  for (const TensorId id : program_.all(TensorKind::kParameter)) {
    write(values_.span(), id, initial_values(program_, id, seed));
  }
  for (const TensorId id : program_.all(TensorKind::kStatistic)) {
    write(statistics_.span(), id, initial_values(program_, id, seed));
  }
}

void Executor::read(std::span<float> array, TensorId id, std::span<float> values) {
  const Extents& device = layout_.extents[at(id)];
  const std::size_t size = values_of(device);
  const std::span<float> staged{reinterpret_cast<float*>(staging_.data()), size};
  runtime_.copy(staged.data(), array.data() + layout_.offset(id), staged.size_bytes(), stream_);
  runtime_.synchronize(stream_);
  from_device_order(program_.tensor(id).extents, device[1], staged, values);
}

void Executor::write(std::span<float> array, TensorId id, std::span<const float> values) {
  const Extents& device = layout_.extents[at(id)];
  const std::size_t size = values_of(device);
  const std::span<float> staged{reinterpret_cast<float*>(staging_.data()), size};
  to_device_order(program_.tensor(id).extents, device[1], values, staged);
  needs_refresh_ |= array.data() == values_.data();
  runtime_.copy(array.data() + layout_.offset(id), staged.data(), staged.size_bytes(), stream_);
  runtime_.synchronize(stream_);
}

// --- for tests --------------------------------------------------------------------------------

namespace {

float to_float(const std::byte* from, Precision precision) {
  switch (precision) {
    case Precision::kFloat16:
      return __half2float(*reinterpret_cast<const __half*>(from));
    case Precision::kBfloat16:
      return __bfloat162float(*reinterpret_cast<const __nv_bfloat16*>(from));
    case Precision::kFloat32:
      break;
  }
  return *reinterpret_cast<const float*>(from);
}

void from_float(float value, Precision precision, std::byte* to) {
  switch (precision) {
    case Precision::kFloat16:
      *reinterpret_cast<__half*>(to) = __float2half_rn(value);
      return;
    case Precision::kBfloat16:
      *reinterpret_cast<__nv_bfloat16*>(to) = __float2bfloat16_rn(value);
      return;
    case Precision::kFloat32:
      break;
  }
  *reinterpret_cast<float*>(to) = value;
}

}  // namespace

Executor::Place Executor::place_for_tests(TensorId id, Precision& precision) const {
  const Tensor& tensor = program_.tensor(id);
  precision = tensor.kind == TensorKind::kActivation || tensor.is_kernel ? spec_.precision
                                                                         : Precision::kFloat32;
  assert(tensor.kind != TensorKind::kIndex);
  return place_for_cudnn(id, layout_.batch_size);
}

void Executor::read(TensorId id, std::span<float> values) {
  Precision precision{};
  const Place place = place_for_tests(id, precision);
  const slackline::cuda::PinnedBuffer<std::byte> staged(runtime_, place.bytes);
  runtime_.copy(staged.data(), place.data, place.bytes, stream_);
  runtime_.synchronize(stream_);
  std::vector<float> device(place.bytes / bytes_of(precision));
  for (std::size_t i = 0; i < device.size(); ++i) {
    device[i] = to_float(staged.data() + i * bytes_of(precision), precision);
  }
  from_device_order(program_.tensor(id).extents, layout_.extents[at(id)][1], device, values);
}

void Executor::write(TensorId id, std::span<const float> values) {
  Precision precision{};
  const Place place = place_for_tests(id, precision);
  std::vector<float> device(place.bytes / bytes_of(precision));
  to_device_order(program_.tensor(id).extents, layout_.extents[at(id)][1], values, device);
  const slackline::cuda::PinnedBuffer<std::byte> staged(runtime_, place.bytes);
  for (std::size_t i = 0; i < device.size(); ++i) {
    from_float(device[i], precision, staged.data() + i * bytes_of(precision));
  }
  runtime_.copy(place.data, staged.data(), place.bytes, stream_);
  runtime_.synchronize(stream_);
}

}  // namespace slackline::net::cuda
