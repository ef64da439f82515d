#include <slackline/checkpoint.h>
#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <iomanip>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "hex.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kFormat = 1;
constexpr std::string_view kOwn = "slackline.";
constexpr const char* kChecksum = "slackline.checksum";
constexpr std::string_view kVariance = "running_var";
constexpr std::string_view kBatches = "num_batches_tracked";
constexpr const char* kExtension = ".safetensors";
constexpr std::string_view kPrefix = "step-";

std::string file_name(std::uint64_t steps) {
  std::ostringstream out;
  out << kPrefix << std::setw(9) << std::setfill('0') << steps << kExtension;
  return out.str();
}

template <class Number>
std::optional<Number> number_in(std::string_view digits) {
  Number value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

/// The number in the name of a checkpoint; nothing for other files.
std::optional<std::uint64_t> steps_of(const fs::path& file) {
  const std::string stem = file.stem().string();
  if (file.extension() != kExtension || !stem.starts_with(kPrefix)) return std::nullopt;
  return number_in<std::uint64_t>(std::string_view(stem).substr(kPrefix.size()));
}

/// Double to text that reads back as the same bits.
std::string exact(double value) {
  std::array<char, 64> digits{};
  return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr};
}

/// What a tensor of a model is called in a file; empty for one that is not saved.
std::string stored_name(const TensorInfo& tensor) {
  switch (tensor.role) {
    case TensorRole::kParameter:
    case TensorRole::kStatistic:
      return tensor.name;
    case TensorRole::kSlot:
      return std::string(kOwn) + tensor.name;
    case TensorRole::kGradient:
      break;
  }
  return "";
}

/// PyTorch's count beside running statistics: "bn1.num_batches_tracked" for "bn1.running_var";
/// empty for any other name.
std::string batch_count_beside(std::string_view name) {
  const bool has_layer = name.ends_with("." + std::string(kVariance));
  if (!has_layer && name != kVariance) return "";
  return std::string(name.substr(0, name.size() - kVariance.size())) + std::string(kBatches);
}

bool is_batch_count(std::string_view name) {
  return name == kBatches || name.ends_with("." + std::string(kBatches));
}

SafetensorsMetadata metadata_of(const CheckpointInfo& info) {
  const TrainingState& state = info.training;
  SafetensorsMetadata out = {
      {"slackline.format", std::to_string(kFormat)},
      {"slackline.version", info.version},
      {"slackline.written_at", info.written_at},
      {"slackline.configuration", info.configuration},
      {"slackline.toml", info.toml},
      {"slackline.seed", std::to_string(info.seed)},
      {"slackline.steps", std::to_string(state.steps)},
      {"slackline.epoch", std::to_string(state.epoch)},
      {"slackline.batch_in_epoch", std::to_string(state.batch_in_epoch)},
      {"slackline.position.epoch", std::to_string(state.position.epoch)},
      {"slackline.position.records", std::to_string(state.position.records)},
      {"slackline.data.samples", std::to_string(state.digest.order.length())},
      {"slackline.data.order", hex(state.digest.order.value())},
      {"slackline.data.pixels", hex(state.digest.pixels.value())},
      {"slackline.epoch_sums.loss", exact(state.epoch_sums.loss)},
      {"slackline.epoch_sums.penalty", exact(state.epoch_sums.penalty)},
      {"slackline.epoch_sums.samples", std::to_string(state.epoch_sums.samples)},
      {"slackline.epoch_sums.correct", std::to_string(state.epoch_sums.correct)},
      {"slackline.epoch_sums.correct_top5", std::to_string(state.epoch_sums.correct_top5)},
  };
  const std::size_t ranks = state.rank_positions.size();
  if (ranks > 0) out["slackline.ranks"] = std::to_string(ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const std::string of = text("slackline.position.rank", rank);
    out[of + ".epoch"] = std::to_string(state.rank_positions[rank].epoch);
    out[of + ".records"] = std::to_string(state.rank_positions[rank].records);
  }
  if (state.steps_per_epoch.has_value()) {
    out["slackline.steps_per_epoch"] = std::to_string(*state.steps_per_epoch);
  }
  return out;
}

/// The metadata of a checkpoint, value by value.
class MetadataReader {
 public:
  explicit MetadataReader(const SafetensorsFile& file) : file_(file) {}

  [[nodiscard]] bool has(const std::string& key) const {
    return file_.metadata().contains("slackline." + key);
  }

  [[nodiscard]] const std::string& string(const std::string& key) const {
    const auto found = file_.metadata().find("slackline." + key);
    if (found == file_.metadata().end()) {
      throw DataError(
          text(file_.name(), ": is no checkpoint: its metadata has no slackline.", key));
    }
    return found->second;
  }

  template <class Number>
  [[nodiscard]] Number number(const std::string& key) const {
    const std::string& digits = string(key);
    const auto value = number_in<Number>(digits);
    if (!value.has_value()) throw_bad(key, digits);
    return *value;
  }

  [[nodiscard]] SequenceDigest digest(const std::string& key, std::uint64_t samples) const {
    try {
      return {from_hex(string(key)), samples};
    } catch (const std::invalid_argument&) {
      throw_bad(key, string(key));
    }
  }

 private:
  [[noreturn]] void throw_bad(const std::string& key, const std::string& value) const {
    throw DataError(text(file_.name(), ": slackline.", key, " is '", value.substr(0, 100),
                         "', which is no such number"));
  }

  const SafetensorsFile& file_;
};

CheckpointInfo info_of(const SafetensorsFile& file) {
  const MetadataReader read(file);
  if (const auto format = read.number<std::uint64_t>("format"); format != kFormat) {
    throw DataError(text(file.name(), ": is a checkpoint of format ", format,
                         ", and this version reads ", kFormat));
  }
  const auto samples = read.number<std::uint64_t>("data.samples");
  CheckpointInfo out{
      .training = {.steps = read.number<std::uint64_t>("steps"),
                   .epoch = read.number<std::uint32_t>("epoch"),
                   .batch_in_epoch = read.number<std::int64_t>("batch_in_epoch"),
                   .position = {.epoch = read.number<std::uint32_t>("position.epoch"),
                                .records = read.number<std::uint64_t>("position.records")},
                   .rank_positions = {},
                   .digest = {.order = read.digest("data.order", samples),
                              .pixels = read.digest("data.pixels", samples)},
                   .epoch_sums = {},
                   .steps_per_epoch = {}},
      .seed = read.number<std::int64_t>("seed"),
      .configuration = read.string("configuration"),
      .toml = read.string("toml"),
      .version = read.string("version"),
      .written_at = read.string("written_at")};
  StepSums& sums = out.training.epoch_sums;
  sums.loss = read.number<double>("epoch_sums.loss");
  sums.penalty = read.number<double>("epoch_sums.penalty");
  sums.samples = read.number<std::int64_t>("epoch_sums.samples");
  sums.correct = read.number<std::int64_t>("epoch_sums.correct");
  sums.correct_top5 = read.number<std::int64_t>("epoch_sums.correct_top5");
  const std::size_t ranks = read.has("ranks") ? read.number<std::size_t>("ranks") : 0;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const std::string of = text("position.rank", rank);
    out.training.rank_positions.push_back({.epoch = read.number<std::uint32_t>(of + ".epoch"),
                                           .records = read.number<std::uint64_t>(of + ".records")});
  }
  if (read.has("steps_per_epoch")) {
    out.training.steps_per_epoch = read.number<std::uint64_t>("steps_per_epoch");
  }
  return out;
}

/// Throws DataError unless the last tensor is the checksum of everything before it.
void check_checksum(const SafetensorsFile& file) {
  const StoredTensor* const tensor = file.find(kChecksum);
  if (tensor == nullptr || tensor != &file.tensors().back() || !tensor->shape.empty() ||
      tensor->type != StoredType::kU32) {
    throw DataError(text(file.name(), ": is no checkpoint: its last tensor is not ", kChecksum,
                         ", a U32 of shape []"));
  }
  std::uint32_t stored = 0;
  file.read_bytes(tensor->begin, std::as_writable_bytes(std::span(&stored, 1)));
  const std::uint32_t computed = file.crc32c_of_first(tensor->begin);
  if (stored != computed) {
    throw DataError(text(file.name(), ": is damaged: its checksum is ", hex(computed).substr(8),
                         ", and ", hex(stored).substr(8), " was written"));
  }
}

/// One that is in both, by its place in the store.
struct MatchedTensor {
  std::size_t index = 0;
  const StoredTensor* stored = nullptr;
};

/// Lists what does not fit, at most a dozen of it.
class Mismatches {
 public:
  void add(const std::string& what) {
    constexpr std::size_t kMost = 12;
    if (++count_ <= kMost) lines_ += "\n  " + what;
  }
  void throw_if_any(const std::string& file) const {
    if (count_ == 0) return;
    const std::size_t listed =
        static_cast<std::size_t>(std::count(lines_.begin(), lines_.end(), '\n'));
    throw DataError(text(file, ": ", count_, count_ == 1 ? " tensor does" : " tensors do",
                         " not fit the model:", lines_,
                         count_ > listed ? text("\n  and ", count_ - listed, " more") : ""));
  }

 private:
  std::size_t count_ = 0;
  std::string lines_;
};

/// Pairs the tensors of a store with those of a file; DataError names all that do not fit.
/// `is_allowed` says which of the file's may be left over.
template <class Allowed>
std::vector<MatchedTensor> match(const SafetensorsFile& file, const TensorStore& store,
                                 bool with_slots, const Allowed& is_allowed) {
  Mismatches wrong;
  std::vector<MatchedTensor> out;
  std::vector<std::string_view> wanted;
  const auto tensors = store.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::string name = stored_name(tensors[i]);
    if (name.empty() || (tensors[i].role == TensorRole::kSlot && !with_slots)) continue;
    const StoredTensor* const stored = file.find(name);
    if (stored == nullptr) {
      wrong.add(text(name, " ", shape_text(tensors[i].shape), " is missing"));
      continue;
    }
    wanted.push_back(stored->name);
    if (stored->shape != tensors[i].shape) {
      wrong.add(text(name, " is ", shape_text(stored->shape), ", and the model's is ",
                     shape_text(tensors[i].shape)));
      continue;
    }
    out.push_back({i, stored});
  }
  std::sort(wanted.begin(), wanted.end());
  for (const StoredTensor& stored : file.tensors()) {
    if (std::binary_search(wanted.begin(), wanted.end(), std::string_view(stored.name))) continue;
    if (is_allowed(stored.name)) continue;
    wrong.add(text(stored.name, " ", shape_text(stored.shape), " is not in the model"));
  }
  wrong.throw_if_any(file.name());
  return out;
}

/// Of a checkpoint nothing may be left over but what save() adds to the model's.
std::vector<MatchedTensor> match_checkpoint(const SafetensorsFile& file, const TensorStore& store) {
  std::vector<std::string> counts;
  for (const TensorInfo& tensor : store.tensors()) {
    if (tensor.role == TensorRole::kStatistic) counts.push_back(batch_count_beside(tensor.name));
  }
  return match(file, store, true, [&](const std::string& name) {
    return name == kChecksum || std::find(counts.begin(), counts.end(), name) != counts.end();
  });
}

std::vector<MatchedTensor> match_weights(const SafetensorsFile& file, const TensorStore& store) {
  return match(file, store, false, [](const std::string& name) {
    return is_batch_count(name) || name.starts_with(kOwn);
  });
}

void write_to(TensorStore& store, const SafetensorsFile& file,
              const std::vector<MatchedTensor>& matched) {
  std::vector<float> values;
  for (const MatchedTensor& each : matched) {
    values.resize(each.stored->values());
    file.read(*each.stored, values);
    store.write(each.index, values);
  }
}

}  // namespace

Checkpoint::Checkpoint(const fs::path& file) : file_(file) {
  check_checksum(file_);
  info_ = info_of(file_);
}

void Checkpoint::check_tensors(const TensorStore& store) const {
  static_cast<void>(match_checkpoint(file_, store));
}

void Checkpoint::restore(TensorStore& store) const {
  write_to(store, file_, match_checkpoint(file_, store));
}

CheckpointFolder::CheckpointFolder(FileOps& files, const fs::path& run_dir, std::int32_t keep,
                                   LineFile& lines)
    : files_(files),
      folder_(run_dir / "checkpoints"),
      keep_(static_cast<std::size_t>(keep)),
      lines_(lines) {
  assert(keep >= 1);
  files_.make_directory(folder_);
  files_.sync_directory(run_dir);  // also for steps.jsonl, and if the folder was there already
  saved_ = checkpoint_files(run_dir);
  std::reverse(saved_.begin(), saved_.end());
  std::error_code failed;
  std::vector<fs::path> stale;
  for (fs::directory_iterator entry(folder_, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    const fs::path target = fs::path(entry->path()).replace_extension();  // without ".tmp"
    if (entry->path().extension() == ".tmp" && steps_of(target)) stale.push_back(target);
  }
  for (const fs::path& target : stale) remove_stale_temporary(files_, target);
}

void CheckpointFolder::save(const CheckpointInfo& info, TensorStore& store) {
  lines_.sync();
  struct Saved {
    std::size_t index;
    std::uint64_t bytes;
  };
  std::vector<StoredTensor> header;
  std::vector<Saved> saved;
  const auto tensors = store.tensors();
  // Integers first: so every value stands on a multiple of its size.
  for (const TensorInfo& tensor : tensors) {
    const std::string count =
        tensor.role == TensorRole::kStatistic ? batch_count_beside(tensor.name) : "";
    if (!count.empty()) header.push_back({.name = count, .type = StoredType::kI64, .shape = {}});
  }
  const std::size_t counts = header.size();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::string name = stored_name(tensors[i]);
    if (name.empty()) continue;
    header.push_back({.name = name, .type = StoredType::kF32, .shape = tensors[i].shape});
    saved.push_back({i, tensors[i].size()});
  }
  header.push_back({.name = kChecksum, .type = StoredType::kU32, .shape = {}});

  const fs::path path = folder_ / file_name(info.training.steps);
  AtomicFile file(files_, path);
  SafetensorsWriter writer([&](std::string_view bytes) { file.write(bytes); }, std::move(header),
                           metadata_of(info));
  const auto steps = static_cast<std::int64_t>(info.training.steps);
  for (std::size_t i = 0; i < counts; ++i) writer.append(std::as_bytes(std::span(&steps, 1)));
  for (const auto& [index, size] : saved) {
    values_.resize(size);
    store.read(index, values_);
    writer.append(std::as_bytes(std::span<const float>(values_)));
  }
  const std::uint32_t checksum = writer.crc32c();
  writer.append(std::as_bytes(std::span(&checksum, 1)));
  assert(writer.missing_bytes() == 0);
  file.commit();

  std::erase(saved_, path);
  saved_.push_back(path);
  while (saved_.size() > keep_) {
    const fs::path oldest = saved_.front();
    saved_.erase(saved_.begin());
    files_.remove(oldest);
  }
}

std::vector<fs::path> checkpoint_files(const fs::path& run_dir) {
  const fs::path folder = run_dir / "checkpoints";
  std::error_code failed;
  std::vector<std::pair<std::uint64_t, fs::path>> found;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    if (const auto steps = steps_of(entry->path())) found.emplace_back(*steps, entry->path());
  }
  if (failed && failed != std::errc::no_such_file_or_directory) {
    throw IoError(text(folder.string(), ": cannot list"), failed.value());
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<fs::path> out;
  out.reserve(found.size());
  for (auto& [steps, file] : found) out.push_back(std::move(file));
  return out;
}

FoundCheckpoint newest_checkpoint(const fs::path& run_dir) {
  FoundCheckpoint out;
  for (const fs::path& file : checkpoint_files(run_dir)) {
    try {
      out.checkpoint.emplace(file);
      break;
    } catch (const DataError& error) {
      out.damaged.push_back({file, error.what()});
    } catch (const IoError& error) {
      out.damaged.push_back({file, error.what()});
    }
  }
  return out;
}

void load_weights(const fs::path& file, TensorStore& store) {
  const SafetensorsFile weights(file);
  if (weights.find(kChecksum) != nullptr) check_checksum(weights);
  write_to(store, weights, match_weights(weights, store));
}

void check_weights(const fs::path& file, const TensorStore& store) {
  static_cast<void>(match_weights(SafetensorsFile(file), store));
}

}  // namespace slackline
