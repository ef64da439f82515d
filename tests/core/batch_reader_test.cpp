// A Source and a Transform that follow a script; the reader between them is the real one.

#include <slackline/batch_reader.h>
#include <slackline/error.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace slackline {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Records 0..count-1, each holding its number; those in `damaged` are DataErrors.
class NumberSource final : public Source {
 public:
  RecordFormat format() const override { return RecordFormat::kPixels; }
  void start_epoch(const EpochPlan& plan) override {
    plans.push_back(plan);
    next_ = 0;
  }
  bool next(Record& record) override {
    if (next_ == io_error_at) throw IoError("shard: cannot read", EIO);
    if (next_ == count) return false;
    const std::uint64_t number = next_++;
    record.file = "shard";
    record.offset = 100 * number;
    if (damaged.contains(number)) throw DataError("data", "shard: checksum does not match");
    auto* bytes = new std::uint64_t(number);
    record.bytes = std::as_bytes(std::span(bytes, 1));
    record.id = number;
    record.lease = bytes;
    ++lent;
    return true;
  }
  void give_back(const Record& record) noexcept override {
    delete static_cast<std::uint64_t*>(record.lease);
    --lent;
  }

  std::uint64_t count = 10;
  std::set<std::uint64_t> damaged;
  std::uint64_t io_error_at = ~std::uint64_t{0};
  std::vector<EpochPlan> plans;
  std::atomic<int> lent{0};

 private:
  std::uint64_t next_ = 0;
};

/// Writes the record's number, plus 100 for each epoch, into pixel and label.
class NumberTransform final : public Transform {
 public:
  std::span<const RecordFormat> decodes() const noexcept override { return formats_; }
  void prepare(const ImageShape& /*shape*/) override {}
  void apply(const Record& record, SampleSlot& slot, TransformContext& context) const override {
    std::uint64_t number = 0;
    std::memcpy(&number, record.bytes.data(), sizeof number);
    EXPECT_EQ(number, context.sample.sample_id);
    if (undecodable.contains(number)) throw DataError("image/encoded", "not a picture");
    if (broken.contains(number)) throw std::runtime_error("index out of range");
    std::memset(slot.pixels.data(), static_cast<int>(number) + brighter, slot.pixels.size());
    slot.label = static_cast<std::int32_t>(number + 100 * context.sample.epoch);
  }
  std::set<std::uint64_t> undecodable, broken;
  int brighter = 0;

 private:
  RecordFormat formats_[1] = {RecordFormat::kPixels};
};

class BatchReaderTest : public testing::Test {
 protected:
  BatchReaderTest() {
    plan.source = &source;
    plan.transforms = {&transform};
    plan.transform_names = {"transform/number"};
    plan.shape = {2, 3, 3};
    plan.batch_size = 4;
    plan.num_classes = 1000;
    plan.workers = 3;
  }
  ~BatchReaderTest() override { EXPECT_EQ(source.lent, 0) << "records were not given back"; }

  void policy(BadSamplePolicy policy, std::int64_t limit = 0) {
    account = BadSampleAccount(policy, limit);
  }

  /// The batches of the whole stream as "0 1 2 3|4 5 6 7", ending with the error if there is one.
  /// Pixels must agree with labels.
  std::string read_all() {
    BatchReader reader(plan, account);
    std::string out;
    bool is_first = true;
    try {
      while (const Batch* batch = reader.next()) {
        if (!std::exchange(is_first, false)) out += "|";
        ends.push_back(std::to_string(batch->end.epoch) + ":" + std::to_string(batch->end.records));
        digest.append(batch->digest);
        for (int i = 0; i < batch->size; ++i) {
          const auto label = batch->labels[static_cast<std::size_t>(i)];
          for (std::size_t p = 0; p < 18; ++p) {
            EXPECT_EQ(batch->images[static_cast<std::size_t>(i) * 18 + p],
                      label % 100 + transform.brighter);
          }
          out += (i == 0 ? "" : " ") + std::to_string(label);
        }
        EXPECT_EQ(batch->labels.size(), static_cast<std::size_t>(batch->size));
        EXPECT_EQ(batch->images.size(), static_cast<std::size_t>(batch->size) * 18);
        reader.give_back(batch);
      }
      EXPECT_EQ(reader.next(), nullptr) << "the end must stay the end";
    } catch (const std::exception& error) {
      out += "!" + std::string(error.what());
      EXPECT_EQ(reader.next(), nullptr) << "nothing follows an error";
    }
    return out;
  }

  NumberSource source;
  NumberTransform transform;
  BatchReaderPlan plan;
  BadSampleAccount account{BadSamplePolicy::kFail, 0};
  // Of all batches of read_all() so far.
  std::vector<std::string> ends;  ///< "epoch:records"
  BatchDigest digest;
};

TEST_F(BatchReaderTest, KeepsTheOrderOfTheSourceForAnyNumberOfWorkers) {
  for (const int workers : {1, 2, 4, 7}) {
    plan.workers = workers;
    source.count = 16;
    EXPECT_EQ(read_all(), "0 1 2 3|4 5 6 7|8 9 10 11|12 13 14 15") << workers << " workers";
  }
}

TEST_F(BatchReaderTest, TheRestIsDroppedOrKeptAsAsked) {
  EXPECT_EQ(read_all(), "0 1 2 3|4 5 6 7");
  plan.drop_remainder = false;
  EXPECT_EQ(read_all(), "0 1 2 3|4 5 6 7|8 9");
}

TEST_F(BatchReaderTest, EpochsFollowEachOtherAndShareNoBatch) {
  source.count = 6;
  plan.epochs = 4;
  plan.begin = {.epoch = 1, .records = 0};
  plan.seed = 7;
  plan.shard_index = 2;
  plan.shard_count = 5;
  plan.drop_remainder = false;
  EXPECT_EQ(read_all(), "100 101 102 103|104 105|200 201 202 203|204 205|300 301 302 303|304 305");
  ASSERT_EQ(source.plans.size(), 3u);
  EXPECT_EQ(source.plans[2].epoch, 3u);
  EXPECT_EQ(source.plans[2].seed, 7u);
  EXPECT_EQ(source.plans[2].shard_index, 2u);
  EXPECT_EQ(source.plans[2].shard_count, 5u);
}

/// The lists of tests/golden/tfdata.json, which TensorFlow made.
nlohmann::json golden(const char* list) {
  std::ifstream file(std::string(SLACKLINE_TEST_SOURCE_DIR) + "/tests/golden/tfdata.json");
  return nlohmann::json::parse(file).at(list);
}

/// [[0, 1], [2]] as read_all() writes it, each epoch's numbers shifted by 100 where `per_epoch`
/// samples make an epoch.
std::string shown(const nlohmann::json& batches, int per_epoch) {
  std::string out;
  int seen = 0;
  for (const auto& batch : batches) {
    if (!out.empty()) out += "|";
    for (std::size_t i = 0; i < batch.size(); ++i, ++seen) {
      const int number = int(batch[i]) + seen / per_epoch * 100;
      out += (i == 0 ? "" : " ") + std::to_string(number);
    }
  }
  return out;
}

TEST_F(BatchReaderTest, BatchesAreThoseOfTensorFlow) {
  int cases = 0;
  for (const auto& each : golden("batch")) {
    source.count = each["elements"];
    plan.batch_size = each["batch_size"];
    plan.drop_remainder = each["drop_remainder"];
    EXPECT_EQ(read_all(), shown(each["batches"], 1000)) << each;
    ++cases;
  }
  EXPECT_GE(cases, 8);
}

TEST_F(BatchReaderTest, BatchesThatSpanEpochsAreThoseOfRepeatBeforeBatch) {
  plan.batches_span_epochs = true;
  int cases = 0;
  for (const auto& each : golden("repeat")) {
    if (each["times"] == 0) continue;  // an epoch less than one is a configuration error
    const bool is_batched = each["then_batch_size"] != 0;
    source.count = each["elements"];
    plan.epochs = each["times"];
    plan.batch_size = is_batched ? int(each["then_batch_size"]) : 1;
    plan.drop_remainder = each["drop_remainder"];
    nlohmann::json expected = each["order"];
    if (!is_batched) {
      for (auto& element : expected) element = nlohmann::json::array({element});
    }
    EXPECT_EQ(read_all(), shown(expected, std::max(1, int(each["elements"])))) << each;
    ++cases;
  }
  EXPECT_GE(cases, 5);
}

TEST_F(BatchReaderTest, AnEpochsLastStepIsFilledUpWithEmptyBatchesForTheOtherDevices) {
  plan.batches_per_step = 3;
  plan.epochs = 2;
  plan.drop_remainder = false;
  source.count = 17;
  EXPECT_EQ(read_all(),
            "0 1 2 3|4 5 6 7|8 9 10 11|12 13 14 15|16|"
            "|100 101 102 103|104 105 106 107|108 109 110 111|112 113 114 115|116|");
  // With drop_remainder the cut batch is empty too; the step itself is for others to leave out.
  plan.drop_remainder = true;
  plan.epochs = 1;
  EXPECT_EQ(read_all(), "0 1 2 3|4 5 6 7|8 9 10 11|12 13 14 15||");
}

TEST_F(BatchReaderTest, BatchesThatTheEndOfTheDataCutShortAreMarked) {
  plan.batches_per_step = 2;
  plan.drop_remainder = false;
  source.count = 9;
  BatchReader reader(plan, account);
  std::string marks;
  while (const Batch* batch = reader.next()) {
    marks += batch->is_rest ? "r" : ".";
    reader.give_back(batch);
  }
  EXPECT_EQ(marks, "..rr");
}

TEST_F(BatchReaderTest, AStepForSeveralDevicesKeepsABatchOfWhichNoSampleIsLeft) {
  plan.batches_per_step = 2;
  source.count = 16;
  policy(BadSamplePolicy::kSkip);
  transform.undecodable = {4, 5, 6, 7};
  EXPECT_EQ(read_all(), "0 1 2 3||8 9 10 11|12 13 14 15");
}

TEST_F(BatchReaderTest, EveryBatchSaysWhereTheDataGoOn) {
  plan.epochs = 2;
  plan.drop_remainder = false;
  source.damaged = {5};
  policy(BadSamplePolicy::kSkip);
  EXPECT_EQ(read_all(), "0 1 2 3|4 6 7|8 9|100 101 102 103|104 106 107|108 109");
  EXPECT_THAT(ends, ElementsAre("0:4", "0:8", "1:0", "1:4", "1:8", "2:0"));
}

TEST_F(BatchReaderTest, GoesOnWhereAnyBatchEnded) {
  plan.epochs = 3;
  source.damaged = {5};
  policy(BadSamplePolicy::kSkip);
  for (const bool spans : {false, true}) {
    plan.batches_span_epochs = spans;
    plan.begin = {};
    ends.clear();
    const std::string all = read_all();
    const std::vector<std::string> all_ends = ends;
    std::string::size_type rest = 0;
    for (const std::string& end : all_ends) {
      rest = all.find('|', rest);
      if (rest == std::string::npos) break;
      const auto colon = end.find(':');
      plan.begin.epoch = static_cast<std::uint32_t>(std::stoul(end.substr(0, colon)));
      plan.begin.records = std::stoull(end.substr(colon + 1));
      EXPECT_EQ(read_all(), all.substr(++rest)) << "behind " << end;
    }
  }
}

TEST_F(BatchReaderTest, WhereNothingIsLeftThereIsNoBatch) {
  plan.epochs = 2;
  plan.begin = {.epoch = 1, .records = 10};
  EXPECT_EQ(read_all(), "");
  plan.begin = {.epoch = 2, .records = 0};
  EXPECT_EQ(read_all(), "");
}

TEST_F(BatchReaderTest, DataThatEndBeforeThePlaceToGoOnAreOtherData) {
  plan.begin = {.epoch = 0, .records = 11};
  EXPECT_EQ(read_all(),
            "!the data of epoch 0 end after 10 records, and the run that is resumed had read 11: "
            "these are other data");
}

TEST_F(BatchReaderTest, TheDigestDependsOnTheSamplesAloneAndNotOnHowTheyAreCut) {
  source.count = 24;
  const auto digest_of = [this](int workers, int batch_size, int batches_per_step) {
    plan.workers = workers;
    plan.batch_size = batch_size;
    plan.batches_per_step = batches_per_step;
    digest = {};
    static_cast<void>(read_all());
    return digest;
  };
  const BatchDigest expected = digest_of(1, 24, 1);
  EXPECT_EQ(expected.order.length(), 24u);
  EXPECT_EQ(digest_of(4, 8, 1), expected);
  EXPECT_EQ(digest_of(3, 4, 2), expected);
  EXPECT_EQ(digest_of(2, 3, 4), expected);

  plan.begin = {.epoch = 0, .records = 12};
  const BatchDigest second_half = digest_of(2, 4, 1);
  plan.begin = {};
  source.count = 12;
  BatchDigest together = digest_of(2, 4, 1);
  together.append(second_half);
  EXPECT_EQ(together, expected);
}

TEST_F(BatchReaderTest, TheDigestTellsOrderFromPixels) {
  source.count = 4;
  static_cast<void>(read_all());
  const BatchDigest before = std::exchange(digest, {});
  transform.brighter = 1;
  static_cast<void>(read_all());
  EXPECT_EQ(digest.order, before.order);
  EXPECT_NE(digest.pixels, before.pixels);
  transform.brighter = 0;
  digest = {};
  plan.begin = {.epoch = 1, .records = 0};
  plan.epochs = 2;
  static_cast<void>(read_all());
  EXPECT_NE(digest.order, before.order) << "of another epoch";
  EXPECT_EQ(digest.pixels, before.pixels);
}

TEST_F(BatchReaderTest, ASubstitutedSampleCountsAsTheOneThatTookItsPlace) {
  source.count = 4;
  policy(BadSamplePolicy::kSubstitute);
  source.damaged = {2};
  EXPECT_EQ(read_all(), "0 1 1 3");
  BatchDigest expected;
  for (const std::uint64_t id : {0, 1, 1, 3}) {
    expected.order.append(order_item(0, id, static_cast<std::int32_t>(id)));
  }
  EXPECT_EQ(digest.order, expected.order);
}

TEST_F(BatchReaderTest, AnEmptyEpochGivesNoBatch) {
  source.count = 0;
  plan.epochs = 2;
  EXPECT_EQ(read_all(), "");
}

TEST_F(BatchReaderTest, FailEndsTheRunAtTheFirstBadRecordAndNamesIt) {
  transform.undecodable = {5, 6};
  EXPECT_EQ(read_all(), "0 1 2 3!shard: record at byte 500: image/encoded: not a picture");
}

TEST_F(BatchReaderTest, FailEndsTheRunAtADamagedRecordOfTheSource) {
  source.damaged = {2};
  EXPECT_EQ(read_all(), "!shard: checksum does not match");
}

TEST_F(BatchReaderTest, ABadRecordInTheDroppedRestIsNotPassedOver) {
  transform.undecodable = {9};
  EXPECT_EQ(read_all(), "0 1 2 3|4 5 6 7!shard: record at byte 900: image/encoded: not a picture");
}

TEST_F(BatchReaderTest, SkipLeavesBadSamplesOutOfTheirBatchAndAccountsForEach) {
  policy(BadSamplePolicy::kSkip);
  transform.undecodable = {0, 6};
  source.damaged = {2};
  EXPECT_EQ(read_all(), "1 3|4 5 7");
  ASSERT_EQ(account.all().size(), 3u);
  EXPECT_EQ(account.all()[0].file, "shard");
  EXPECT_EQ(account.all()[0].offset, 0u);
  EXPECT_EQ(account.all()[0].key, "image/encoded");
  EXPECT_EQ(account.all()[1].key, "data");
  EXPECT_EQ(account.all()[1].offset, 200u);
  EXPECT_EQ(account.all()[2].reason, "shard: record at byte 600: image/encoded: not a picture");
}

TEST_F(BatchReaderTest, SkipDeliversNoEmptyBatch) {
  policy(BadSamplePolicy::kSkip);
  transform.undecodable = {0, 1, 2, 3};
  EXPECT_EQ(read_all(), "4 5 6 7");
  EXPECT_EQ(account.all().size(), 4u);
}

TEST_F(BatchReaderTest, SubstituteKeepsSizeAndOrderAndEveryOtherSample) {
  policy(BadSamplePolicy::kSubstitute);
  transform.undecodable = {0, 1, 6};
  EXPECT_EQ(read_all(), "2 2 2 3|4 5 5 7");
  EXPECT_EQ(account.all().size(), 3u);
}

TEST_F(BatchReaderTest, SubstituteNeedsOneGoodSample) {
  policy(BadSamplePolicy::kSubstitute);
  transform.undecodable = {4, 5, 6, 7};
  EXPECT_THAT(read_all(), HasSubstr("no other sample of its batch is good"));
}

TEST_F(BatchReaderTest, MoreBadSamplesThanTheBudgetEndTheRun) {
  policy(BadSamplePolicy::kSkip, 2);
  transform.undecodable = {0, 5};
  EXPECT_EQ(read_all(), "1 2 3|4 6 7");
  policy(BadSamplePolicy::kSkip, 2);
  transform.undecodable = {0, 5, 7};
  EXPECT_THAT(read_all(), HasSubstr("bad sample 3, and [input] max_bad_samples allows 2"));
}

TEST_F(BatchReaderTest, ALabelOutsideTheClassesMakesABadSample) {
  plan.num_classes = 6;
  EXPECT_EQ(read_all(),
            "0 1 2 3!shard: record at byte 600: label: class 6 is not in 0..5 ([input] "
            "num_classes is 6)");
}

TEST_F(BatchReaderTest, AnIoErrorArrivesInItsPlaceWhateverThePolicy) {
  policy(BadSamplePolicy::kSkip);
  source.io_error_at = 5;
  EXPECT_EQ(read_all(), "0 1 2 3!shard: cannot read: Input/output error");
}

TEST_F(BatchReaderTest, AStrangeExceptionOfATransformNamesThePlugin) {
  policy(BadSamplePolicy::kSkip);
  transform.broken = {4};
  EXPECT_EQ(read_all(), "0 1 2 3!transform/number: index out of range");
}

TEST_F(BatchReaderTest, AllocatesNoMoreThanIsLentAndAhead) {
  source.count = 400;
  plan.batches_ahead = 3;
  BatchReader reader(plan, account);
  const Batch* held = reader.next();
  while (const Batch* batch = reader.next()) reader.give_back(batch);
  EXPECT_LE(reader.times().buffers, 3 + 2);
  EXPECT_EQ(held->labels[0], 0) << "a lent batch was written to";
  reader.give_back(held);
}

TEST_F(BatchReaderTest, CountsWhatItDid) {
  source.count = 16;
  BatchReader reader(plan, account);
  while (const Batch* batch = reader.next()) reader.give_back(batch);
  const InputTimes times = reader.times();
  EXPECT_EQ(times.samples, 16u);
  EXPECT_EQ(times.record_bytes, 16u * 8);
  EXPECT_EQ(times.batches, 4u);
  EXPECT_GT(times.cpu.count(), 0);
  EXPECT_GE(reader.times().cpu, times.cpu) << "what ended workers used is not forgotten";
  EXPECT_EQ(times.since(times).samples, 0u);
}

TEST_F(BatchReaderTest, CancelEndsAWaitingNext) {
  // The reader cannot complete a batch while this record is held back.
  class Gate final : public Transform {
   public:
    std::span<const RecordFormat> decodes() const noexcept override { return {}; }
    void prepare(const ImageShape& /*shape*/) override {}
    void apply(const Record&, SampleSlot& slot, TransformContext&) const override {
      slot.label = 0;
      const std::lock_guard wait(shut);
    }
    mutable std::mutex shut;
  } gate;
  plan.transforms = {&gate};
  gate.shut.lock();
  BatchReader reader(plan, account);
  std::thread canceller([&] { reader.cancel(); });
  EXPECT_EQ(reader.next(), nullptr);
  canceller.join();
  gate.shut.unlock();
}

TEST_F(BatchReaderTest, CanBeDestroyedWithBatchesReady) {
  source.count = 1000;
  BatchReader reader(plan, account);
  const Batch* batch = reader.next();
  ASSERT_NE(batch, nullptr);
  reader.give_back(batch);
}

}  // namespace
}  // namespace slackline
