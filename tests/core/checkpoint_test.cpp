#include <slackline/checkpoint.h>
#include <slackline/crc32c.h>
#include <slackline/error.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "file_ops_models.h"
#include "temporary_folder.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing_support::FailingFileOps;
using testing_support::PowerLossDisk;

/// Tensors in memory: a little convolution with a batch norm behind it.
class FakeStore final : public TensorStore {
 public:
  explicit FakeStore(std::vector<TensorInfo> tensors = small()) : tensors_(std::move(tensors)) {
    float next = 0.1f;
    for (const TensorInfo& tensor : tensors_) {
      std::vector<float>& values = all.emplace_back();
      for (std::size_t i = 0; i < tensor.size(); ++i) values.push_back(next += 0.37f);
    }
  }

  static std::vector<TensorInfo> small() {
    return {
        {.name = "conv1.weight", .shape = {2, 1, 1, 2}},
        {.name = "bn1.weight", .shape = {2}},
        {.name = "bn1.running_mean", .shape = {2}, .role = TensorRole::kStatistic},
        {.name = "bn1.running_var", .shape = {2}, .role = TensorRole::kStatistic},
        {.name = "momentum.conv1.weight", .shape = {2, 1, 1, 2}, .role = TensorRole::kSlot},
        {.name = "gradient.conv1.weight", .shape = {2, 1, 1, 2}, .role = TensorRole::kGradient}};
  }

  std::span<const TensorInfo> tensors() const override { return tensors_; }
  void read(std::size_t index, std::span<float> values) override {
    std::copy(all[index].begin(), all[index].end(), values.begin());
  }
  void write(std::size_t index, std::span<const float> values) override {
    all[index].assign(values.begin(), values.end());
  }
  void clear() {
    for (std::vector<float>& values : all) values.assign(values.size(), 0.0f);
  }

  std::vector<std::vector<float>> all;

 private:
  std::vector<TensorInfo> tensors_;
};

CheckpointInfo info_at(std::uint64_t steps) {
  return {.training = {.steps = steps,
                       .epoch = 3,
                       .batch_in_epoch = 4,
                       .position = {.epoch = 3, .records = 77},
                       .rank_positions = {{.epoch = 3, .records = 77}, {.epoch = 4, .records = 1}},
                       .digest = {.order = {0x123456789abcdef0, 320}, .pixels = {15, 320}},
                       .epoch_sums = {.loss = 0.1 + 0.2, .correct = 5, .samples = 6},
                       .steps_per_epoch = 25},
          .seed = 9,
          .configuration = "small",
          .toml = "[run]\nseed = 9  # \"quoted\"\n",
          .version = "0.1.0",
          .written_at = "2026-01-31T23:59:59Z"};
}

class CheckpointTest : public testing::Test {
 protected:
  /// A folder as a run has it, with these checkpoints of store_.
  void save(const std::vector<std::uint64_t>& steps, std::int32_t keep = 2) {
    LineFile lines(system_file_ops(), dir_ / "steps.jsonl");
    CheckpointFolder folder(system_file_ops(), dir_, keep, lines);
    for (const std::uint64_t step : steps) folder.save(info_at(step), store_);
  }

  [[nodiscard]] fs::path file_at(std::uint64_t steps) const {
    const std::string digits = std::to_string(steps);
    return dir_ / "checkpoints" /
           ("step-" + std::string(9 - digits.size(), '0') + digits + ".safetensors");
  }

  static std::string contents(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void overwrite(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  /// Why a file of these bytes is no checkpoint; "good" if it is one.
  std::string judge(const std::string& bytes) {
    const fs::path file = dir_ / "judged.safetensors";
    overwrite(file, bytes);
    return judge_file(file);
  }
  static std::string judge_file(const fs::path& file) {
    try {
      const Checkpoint checkpoint(file);
      return "good";
    } catch (const DataError& error) {
      return error.what();
    }
  }

  std::vector<std::string> files() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(dir_ / "checkpoints")) {
      out.push_back(entry.path().filename().string());
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  testing_support::TemporaryFolder folder_;
  const fs::path dir_ = folder_.path();
  FakeStore store_;
};

TEST_F(CheckpointTest, WhatWasSavedIsRestoredToTheBit) {
  save({123});
  const Checkpoint checkpoint(file_at(123));
  FakeStore restored;
  restored.clear();
  checkpoint.restore(restored);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(restored.all[i], store_.all[i]) << i;
  EXPECT_EQ(restored.all[5], std::vector<float>(4, 0.0f)) << "gradients are not saved";

  const CheckpointInfo& info = checkpoint.info();
  const CheckpointInfo expected = info_at(123);
  EXPECT_EQ(info.training.steps, 123u);
  EXPECT_EQ(info.training.epoch, 3u);
  EXPECT_EQ(info.training.batch_in_epoch, 4);
  EXPECT_EQ(info.training.position.epoch, 3u);
  EXPECT_EQ(info.training.position.records, 77u);
  ASSERT_EQ(info.training.rank_positions.size(), 2u);
  EXPECT_EQ(info.training.rank_positions[1].epoch, 4u);
  EXPECT_EQ(info.training.rank_positions[1].records, 1u);
  EXPECT_EQ(info.training.digest, expected.training.digest);
  EXPECT_EQ(info.training.epoch_sums.loss, 0.1 + 0.2);
  EXPECT_EQ(info.training.epoch_sums.correct, 5);
  EXPECT_EQ(info.training.epoch_sums.samples, 6);
  EXPECT_EQ(info.training.steps_per_epoch, 25u);
  EXPECT_EQ(info.seed, 9);
  EXPECT_EQ(info.configuration, expected.configuration);
  EXPECT_EQ(info.toml, expected.toml);
  EXPECT_EQ(info.version, expected.version);
  EXPECT_EQ(info.written_at, expected.written_at);
}

TEST_F(CheckpointTest, TensorsHaveTheNamesThatPyTorchExpects) {
  save({123});
  const SafetensorsFile file(file_at(123));
  std::vector<std::string> names;
  for (const StoredTensor& tensor : file.tensors()) names.push_back(tensor.name);
  EXPECT_THAT(names, ElementsAre("bn1.num_batches_tracked", "conv1.weight", "bn1.weight",
                                 "bn1.running_mean", "bn1.running_var",
                                 "slackline.momentum.conv1.weight", "slackline.checksum"));
  std::int64_t batches = 0;
  ASSERT_EQ(file.find("bn1.num_batches_tracked")->type, StoredType::kI64);
  file.read_bytes(file.find("bn1.num_batches_tracked")->begin,
                  std::as_writable_bytes(std::span(&batches, 1)));
  EXPECT_EQ(batches, 123);
}

TEST_F(CheckpointTest, EveryFlippedByteIsRefused) {
  save({123});
  const std::string good = contents(file_at(123));
  ASSERT_EQ(judge(good), "good");
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const int flip : {0x01, 0x80, 0xff, 0x00}) {
      std::fstream file(dir_ / "judged.safetensors",
                        std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(i));
      file.put(static_cast<char>(good[i] ^ flip));
      file.close();
      const bool is_good = judge_file(dir_ / "judged.safetensors") == "good";
      ASSERT_EQ(is_good, flip == 0) << "byte " << i << " of " << good.size() << " xor " << flip;
    }
  }
}

TEST_F(CheckpointTest, AFileCutAnywhereOrWithAByteTooManyIsRefused) {
  save({123});
  const std::string good = contents(file_at(123));
  ASSERT_EQ(judge(good), "good");
  for (std::size_t length = good.size(); length-- > 0;) {
    fs::resize_file(dir_ / "judged.safetensors", length);
    ASSERT_NE(judge_file(dir_ / "judged.safetensors"), "good") << length << " of " << good.size();
  }
  EXPECT_THAT(judge(good + '\0'), HasSubstr("its tensors end at byte"));
}

TEST_F(CheckpointTest, DamageIsNamedWithFileAndReason) {
  save({123});
  std::string bytes = contents(file_at(123));
  bytes[bytes.size() - 8] ^= 1;
  EXPECT_THAT(judge(bytes), testing::MatchesRegex(
                                ".*judged.safetensors: is damaged: its checksum is [0-9a-f]{8}, "
                                "and [0-9a-f]{8} was written"));
}

/// A file with this metadata whose checksum is right.
std::string with_metadata(const SafetensorsMetadata& metadata) {
  std::string bytes;
  SafetensorsWriter writer([&](std::string_view piece) { bytes += piece; },
                           {{.name = "slackline.checksum", .type = StoredType::kU32, .shape = {}}},
                           metadata);
  const std::uint32_t checksum = writer.crc32c();
  writer.append(std::as_bytes(std::span(&checksum, 1)));
  return bytes;
}

TEST_F(CheckpointTest, MetadataThatMakeNoSenseAreRefusedByTheirKey) {
  save({123});
  const SafetensorsMetadata good = SafetensorsFile(file_at(123)).metadata();
  ASSERT_EQ(judge(with_metadata(good)), "good");
  for (const auto& [key, value] : good) {
    if (key == "slackline.steps_per_epoch" || key == "slackline.ranks") continue;  // may be missing
    SafetensorsMetadata without = good;
    without.erase(key);
    EXPECT_THAT(judge(with_metadata(without)), HasSubstr("its metadata has no " + key));
  }
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"steps", "-1"},         {"steps", "1e3"},
      {"steps", ""},           {"steps", "18446744073709551616"},
      {"epoch", "4294967296"}, {"seed", "nine"},
      {"data.order", "0x1"},   {"epoch_sums.loss", "0.3x"},
      {"ranks", "two"},        {"position.rank1.epoch", "-4"}};
  for (const auto& [key, value] : bad) {
    SafetensorsMetadata changed = good;
    changed["slackline." + key] = value;
    EXPECT_THAT(judge(with_metadata(changed)),
                HasSubstr("slackline." + key + " is '" + value + "', which is no such number"));
  }
  SafetensorsMetadata newer = good;
  newer["slackline.format"] = "2";
  EXPECT_THAT(judge(with_metadata(newer)),
              HasSubstr("is a checkpoint of format 2, and this version reads 1"));
}

TEST_F(CheckpointTest, AnotherProgramsFileIsNoCheckpoint) {
  EXPECT_THAT(judge_file(fs::path(SLACKLINE_TEST_SOURCE_DIR) /
                         "tests/golden/safetensors/numbers.safetensors"),
              HasSubstr("is no checkpoint: its last tensor is not slackline.checksum"));
}

TEST_F(CheckpointTest, TheNewestAreKeptAndOldOnesGo) {
  save({1, 2, 3, 10});
  EXPECT_THAT(files(), ElementsAre("step-000000003.safetensors", "step-000000010.safetensors"));
  save({11}, 3);
  EXPECT_EQ(files().size(), 3u) << "those of an earlier process count";
  save({11}, 1);
  EXPECT_THAT(files(), ElementsAre("step-000000011.safetensors"));
}

TEST_F(CheckpointTest, WhatAKilledRunLeftHalfWrittenIsRemovedAndNothingElse) {
  save({1});
  overwrite(file_at(2).string() + ".tmp", "half");
  overwrite(dir_ / "checkpoints" / "notes.tmp", "of the user");
  save({});
  EXPECT_THAT(files(), ElementsAre("notes.tmp", "step-000000001.safetensors"));
}

TEST_F(CheckpointTest, ADamagedNewestFallsBackToTheOneBefore) {
  save({1, 2, 3}, 3);
  EXPECT_EQ(newest_checkpoint(dir_).checkpoint->info().training.steps, 3u);
  std::string bytes = contents(file_at(3));
  bytes[bytes.size() / 2] ^= 4;
  overwrite(file_at(3), bytes);
  overwrite(file_at(2), "");
  const FoundCheckpoint found = newest_checkpoint(dir_);
  EXPECT_EQ(found.checkpoint->info().training.steps, 1u);
  ASSERT_EQ(found.damaged.size(), 2u);
  EXPECT_EQ(found.damaged[0].file, file_at(3));
  EXPECT_THAT(found.damaged[0].reason, HasSubstr("000000003.safetensors: "));
  EXPECT_THAT(found.damaged[1].reason, HasSubstr("it has 0 bytes"));
  overwrite(file_at(1), "x");
  EXPECT_FALSE(newest_checkpoint(dir_).checkpoint.has_value());
  EXPECT_FALSE(newest_checkpoint(dir_ / "absent").checkpoint.has_value());
}

TEST_F(CheckpointTest, TensorsThatDoNotFitAreAllNamedAndNothingIsWritten) {
  save({1});
  auto tensors = FakeStore::small();
  tensors[0].shape = {2, 1, 1, 3};
  tensors[1].name = "bn2.weight";
  FakeStore other(tensors);
  const auto before = other.all;
  try {
    Checkpoint(file_at(1)).restore(other);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(
        error.what(),
        AllOf(HasSubstr("3 tensors do not fit the model:"),
              HasSubstr("\n  conv1.weight is [2, 1, 1, 2], and the model's is [2, 1, 1, 3]"),
              HasSubstr("\n  bn2.weight [2] is missing"),
              HasSubstr("\n  bn1.weight [2] is not in the model")));
  }
  EXPECT_EQ(other.all, before);
}

// Disks that fail.

TEST_F(CheckpointTest, AnyOperationOfASaveMayFailAndTheOldCheckpointStillLoads) {
  const std::set<std::string> every_kind = {"sync",   "open",           "write", "close",
                                            "rename", "sync_directory", "remove"};
  for (const int error_number : {ENOSPC, EIO}) {
    for (const auto then : {FailingFileOps::Then::kRecovers, FailingFileOps::Then::kStaysBroken}) {
      std::set<std::string> failed;
      std::size_t k = 0;
      for (;; ++k) {
        fs::remove_all(dir_ / "checkpoints");
        fs::remove(dir_ / "steps.jsonl");
        FailingFileOps ops;
        LineFile lines(ops, dir_ / "steps.jsonl");
        CheckpointFolder folder(ops, dir_, 1, lines);
        folder.save(info_at(1), store_);
        ops.fail_at(k, error_number, then);
        std::string message;
        try {
          folder.save(info_at(2), store_);
        } catch (const IoError& error) {
          EXPECT_EQ(error.exit_code(), ExitCode::kIo);
          EXPECT_EQ(error.error_number(), error_number);
          message = error.what();
        }
        if (!ops.has_failed) break;
        failed.insert(ops.names[k]);
        EXPECT_THAT(message,
                    AllOf(HasSubstr(ops.names[k] + " was made to fail"), HasSubstr(dir_.string())));
        const FoundCheckpoint found = newest_checkpoint(dir_);
        ASSERT_TRUE(found.checkpoint.has_value()) << ops.names[k] << ", operation " << k;
        EXPECT_TRUE(found.damaged.empty()) << "no half file under a good name";
        // The next start finds its way and leaves no half file.
        LineFile next_lines(system_file_ops(), dir_ / "steps.jsonl", FileOps::Open::kAppend);
        CheckpointFolder next(system_file_ops(), dir_, 1, next_lines);
        EXPECT_EQ(fs::exists(file_at(2).string() + ".tmp"), false);
        next.save(info_at(3), store_);
        EXPECT_EQ(newest_checkpoint(dir_).checkpoint->info().training.steps, 3u);
      }
      EXPECT_EQ(failed, every_kind);
      EXPECT_GE(k, 8u);
    }
  }
}

// Machines that lose power.

struct PowerLosses {
  int states = 0;
  std::string violation;  ///< the first, where one was found; then no more are looked for
};

/// A run of four checkpoints that loses its power at every moment and in every way.
PowerLosses lose_power(PowerLossDisk::Syncs syncs, std::int32_t keep,
                       const testing_support::TemporaryFolder& folder) {
  PowerLossDisk disk(syncs);
  {
    FakeStore store;
    LineFile lines(disk, "/run/steps.jsonl");
    CheckpointFolder checkpoints(disk, "/run", keep, lines);
    for (std::uint64_t step = 1; step <= 4; ++step) {
      lines.append("{}\n");
      checkpoints.save(info_at(step), store);
      disk.acknowledge(step);
    }
  }
  PowerLosses out;
  disk.power_losses([&](const PowerLossDisk::State& state) {
    ++out.states;
    const fs::path dir = folder.path() / "state";
    fs::remove_all(dir);
    fs::create_directories(dir / "checkpoints");
    std::string lines;
    for (const auto& [path, bytes] : state.files) {
      std::ofstream(dir / fs::path(path).lexically_relative("/run"), std::ios::binary) << bytes;
      if (path == "/run/steps.jsonl") lines = bytes;
    }
    const FoundCheckpoint found = newest_checkpoint(dir);
    const std::uint64_t steps =
        found.checkpoint.has_value() ? found.checkpoint->info().training.steps : 0;
    const auto lines_there =
        static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
    std::string problem;
    if (steps < state.acknowledged) problem = "the acknowledged checkpoint is gone";
    if (!found.damaged.empty()) problem = "there is a damaged checkpoint under a good name";
    if (lines_there < steps) problem = "lines of trained steps are gone";
    if (!problem.empty()) out.violation = state.what + ": " + problem;
    return problem.empty();
  });
  return out;
}

TEST_F(CheckpointTest, WhateverALossOfPowerLeavesTheAcknowledgedCheckpointIsThere) {
  for (const std::int32_t keep : {1, 2}) {
    const PowerLosses losses = lose_power({}, keep, folder_);
    EXPECT_EQ(losses.violation, "");
    EXPECT_GT(losses.states, 100);
    std::cout << losses.states << " states, keeping " << keep << "\n";
  }
}

TEST_F(CheckpointTest, WithoutSyncingTheSameLossesOfPowerDoHarm) {
  // The control of the test above: it can see what it looks for.
  EXPECT_NE(lose_power({.files = false}, 2, folder_).violation, "");
  EXPECT_NE(lose_power({.directories = false}, 2, folder_).violation, "");
}

// Weights of others.

/// A safetensors file with these tensors, filled with 0.5.
fs::path write_weights(const fs::path& file, std::vector<StoredTensor> tensors) {
  std::ofstream out(file, std::ios::binary);
  SafetensorsWriter writer(
      [&](std::string_view piece) {
        out.write(piece.data(), static_cast<std::streamsize>(piece.size()));
      },
      tensors, {});
  const std::vector<float> half(writer.missing_bytes() / 4, 0.5f);
  writer.append(std::as_bytes(std::span(half)));
  return file;
}

TEST_F(CheckpointTest, WeightsAreTakenByNameFromAnyFile) {
  const fs::path file = write_weights(dir_ / "w", {{.name = "bn1.running_var", .shape = {2}},
                                                   {.name = "bn1.running_mean", .shape = {2}},
                                                   {.name = "bn1.weight", .shape = {2}},
                                                   {.name = "conv1.weight", .shape = {2, 1, 1, 2}},
                                                   {.name = "bn1.num_batches_tracked"},
                                                   {.name = "slackline.anything", .shape = {7}}});
  const auto before = store_.all;
  check_weights(file, store_);
  EXPECT_EQ(store_.all, before);
  load_weights(file, store_);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(store_.all[i], std::vector<float>(before[i].size(), 0.5f)) << i;
  }
  EXPECT_EQ(store_.all[4], before[4]) << "slots begin anew";
}

TEST_F(CheckpointTest, ACheckpointGivesWeightsTooAndItsChecksumCounts) {
  save({1});
  FakeStore other;
  other.clear();
  load_weights(file_at(1), other);
  EXPECT_EQ(other.all[0], store_.all[0]);
  EXPECT_EQ(other.all[3], store_.all[3]);
  std::string bytes = contents(file_at(1));
  bytes[bytes.size() - 8] ^= 1;
  overwrite(file_at(1), bytes);
  EXPECT_THROW(load_weights(file_at(1), other), DataError);
}

TEST_F(CheckpointTest, WeightsThatDoNotFitAreNamed) {
  const fs::path file = write_weights(dir_ / "w", {{.name = "bn1.running_var", .shape = {2}},
                                                   {.name = "bn1.weight", .shape = {3}},
                                                   {.name = "conv1.weight", .shape = {2, 1, 1, 2}},
                                                   {.name = "fc.weight", .shape = {4}}});
  const auto before = store_.all;
  try {
    load_weights(file, store_);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("/w: 3 tensors do not fit the model:"),
                                    HasSubstr("\n  bn1.weight is [3], and the model's is [2]"),
                                    HasSubstr("\n  bn1.running_mean [2] is missing"),
                                    HasSubstr("\n  fc.weight [4] is not in the model"),
                                    Not(HasSubstr("momentum"))));
  }
  EXPECT_EQ(store_.all, before);
}

}  // namespace
}  // namespace slackline
