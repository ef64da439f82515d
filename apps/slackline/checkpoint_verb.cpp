#include <slackline/checkpoint.h>
#include <slackline/error.h>

#include <filesystem>
#include <iostream>
#include <vector>

#include <nlohmann/json.hpp>

#include "verbs.h"

namespace slackline::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// `path` itself, or the checkpoints of the run, or in the folder, that it names: oldest first.
std::vector<fs::path> files_of(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files = checkpoint_files(path);
  const fs::path whole = path.has_filename() ? path : path.parent_path();
  if (files.empty() && whole.filename() == "checkpoints") {
    files = checkpoint_files(fs::absolute(whole).parent_path());
  }
  if (files.empty()) {
    throw DataError(text(path.string(),
                         ": holds no checkpoint, nor does a folder 'checkpoints' "
                         "in it: they are named step-000000123.safetensors"));
  }
  return {files.rbegin(), files.rend()};
}

Json json_of(const Checkpoint& checkpoint) {
  const CheckpointInfo& info = checkpoint.info();
  const TrainingState& state = info.training;
  Json tensors = Json::array();
  for (const StoredTensor& tensor : checkpoint.file().tensors()) {
    tensors.push_back(
        {{"name", tensor.name}, {"type", name_of(tensor.type)}, {"shape", tensor.shape}});
  }
  return {{"file", checkpoint.file().name()},
          {"bytes", checkpoint.file().size()},
          {"configuration", info.configuration},
          {"slackline", info.version},
          {"written_at", info.written_at},
          {"seed", info.seed},
          {"steps", state.steps},
          {"epoch", state.epoch},
          {"batch_in_epoch", state.batch_in_epoch},
          {"position", {{"epoch", state.position.epoch}, {"records", state.position.records}}},
          {"samples", state.digest.order.length()},
          {"toml", info.toml},
          {"tensors", tensors}};
}

}  // namespace

ExitCode verify_checkpoint_verb(const std::string& path) {
  ExitCode code = ExitCode::kOk;
  for (const fs::path& file : files_of(path)) {
    try {
      const Checkpoint checkpoint(file);
      std::cout << file.string() << ": ok, step " << checkpoint.info().training.steps << ", "
                << checkpoint.file().tensors().size() << " tensors, " << checkpoint.file().size()
                << " bytes\n";
    } catch (const DataError& error) {
      std::cout << std::flush;
      std::cerr << "slackline: " << error.what() << "\n";
      code = ExitCode::kBadData;
    }
  }
  return code;
}

ExitCode checkpoint_info_verb(const std::string& file, bool json) {
  const Checkpoint checkpoint(file);
  if (json) {
    std::cout << json_of(checkpoint).dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
    return ExitCode::kOk;
  }
  const CheckpointInfo& info = checkpoint.info();
  const TrainingState& state = info.training;
  std::cout << "configuration  " << info.configuration << ", seed " << info.seed << "\n"
            << "written        " << info.written_at << " by slackline " << info.version << "\n"
            << "trained        " << state.steps << " steps, " << state.digest.order.length()
            << " samples; epoch " << state.epoch << ", " << state.batch_in_epoch << " steps of it\n"
            << "data go on     in epoch " << state.position.epoch << " behind record "
            << state.position.records << "\n"
            << "tensors\n";
  for (const StoredTensor& tensor : checkpoint.file().tensors()) {
    std::cout << "  " << tensor.name << "  " << name_of(tensor.type) << " "
              << shape_text(tensor.shape) << "\n";
  }
  return ExitCode::kOk;
}

}  // namespace slackline::app
