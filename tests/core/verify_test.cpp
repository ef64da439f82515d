#include <slackline/error.h>
#include <slackline/verify.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "temporary_folder.h"

namespace slackline {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

/// 16 digits that stand for what a word says.
std::string digest(const std::string& word) {
  std::string out = "0000000000000000";
  for (std::size_t i = 0; i < word.size(); ++i) out[i] = "0123456789abcdef"[word[i] % 16];
  return out;
}

/// What a test says of one step; the rest is the same in all.
struct Step {
  int step = 0;
  std::string order = "o", pixels = "p";
  int images = 32;
  std::string loss = "2.5";
};

/// Two run directories.
class VerifyTest : public testing::Test {
 protected:
  /// Writes a run directory. `order` and `pixels` are of the whole run.
  void run(const std::string& name, const std::vector<Step>& steps, const std::string& order = "O",
           const std::string& pixels = "P", const std::string& toml = "[run]\nseed = 1\n") {
    std::string lines;
    std::int64_t samples = 0;
    for (const Step& step : steps) {
      lines += text(R"({"step":)", step.step, R"(,"epoch":)", step.step / 2, R"(,"images":)",
                    step.images, R"(,"loss":)", step.loss, R"(,"correct":3,"order":")",
                    digest(step.order), R"(","pixels":")", digest(step.pixels), "\"}\n");
      samples += step.images;
    }
    folder_.write(name + "/steps.jsonl", lines);
    folder_.write(name + "/result.json",
                  text(R"({"format": 1, "data": {"samples": )", samples, R"(, "order": ")",
                       digest(order), R"(", "pixels": ")", digest(pixels), "\"}}\n"));
    folder_.write(name + "/resolved.toml", toml);
  }

  DataComparison compare() {
    DataComparison out =
        compare_data(read_run_data(folder_.path() / "a"), read_run_data(folder_.path() / "b"));
    out.text = shortened(out.text);
    return out;
  }

  /// What reading directory a says, with the folder's name taken out.
  template <class Error>
  std::string error_of_a() {
    try {
      (void)read_run_data(folder_.path() / "a");
      return "";
    } catch (const Error& error) {
      return shortened(error.what());
    }
  }

  [[nodiscard]] std::string shortened(const std::string& text) const {
    return testing_support::replaced(text, folder_.path().string() + "/", "");
  }

  testing_support::TemporaryFolder folder_;
};

TEST_F(VerifyTest, RunsOverTheSameDataAreIdentical) {
  run("a", {{0}, {1}, {2}});
  run("b", {{0}, {1}, {2}});
  const DataComparison compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kIdentical);
  EXPECT_EQ(compared.text, "identical: 3 steps, 96 samples, order " + digest("O") + " pixels " +
                               digest("P") +
                               "\nlosses: equal in all 3 steps\nconfiguration: the same\n");
}

TEST_F(VerifyTest, TheFirstStepWithAnotherOrderIsNamed) {
  run("a", {{0}, {1}, {2}, {3}});
  run("b", {{0}, {1}, {2, "x", "y"}, {3, "z", "z"}}, "other");
  const DataComparison compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kDifferent);
  EXPECT_THAT(compared.text, StartsWith("different: first at step 2 (epoch 1): the order differs\n"
                                        "  samples 32 order " +
                                        digest("o") + " pixels " + digest("p") +
                                        "  a\n"
                                        "  samples 32 order " +
                                        digest("x") + " pixels " + digest("y") + "  b\n"));
}

TEST_F(VerifyTest, OtherPixelsInTheSameOrderAreSaidToBeThat) {
  run("a", {{0}, {1}});
  run("b", {{0}, {1, "o", "x"}}, "O", "other");
  const DataComparison compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kDifferent);
  EXPECT_THAT(compared.text,
              StartsWith("different: first at step 1 (epoch 0): only the pixels differ\n"));
}

TEST_F(VerifyTest, ARunThatEndedEarlierIsAPrefix) {
  const std::string says = "identical as far as ";
  run("a", {{0}, {1}, {2}});
  run("b", {{0}, {1}}, "shorter");
  DataComparison compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kPrefix);
  EXPECT_THAT(compared.text, StartsWith(says + "b goes: it is the first 2 steps of a; "
                                               "a has steps 0 to 2, b has steps 0 to 1\n"));
  run("b", {{0}, {1}, {2}, {3}}, "longer");
  compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kPrefix);
  EXPECT_THAT(compared.text, StartsWith(says + "a goes: it is the first 3 steps of b; "));
}

TEST_F(VerifyTest, ADifferenceComesBeforeThePrefix) {
  run("a", {{0}, {1}, {2}});
  run("b", {{0}, {1, "x"}}, "shorter");
  EXPECT_EQ(compare().verdict, DataVerdict::kDifferent);
}

TEST_F(VerifyTest, ARunThatBeganLaterIsNoPrefix) {
  run("a", {{0}, {1}, {2}});
  run("b", {{1}, {2}}, "later");
  DataComparison compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kDifferent);
  EXPECT_THAT(compared.text,
              StartsWith("different: they begin at different steps; the 2 steps that are in both "
                         "are identical; a has steps 0 to 2, b has steps 1 to 2\n"));
  std::filesystem::rename(folder_.path() / "a", folder_.path() / "c");
  std::filesystem::rename(folder_.path() / "b", folder_.path() / "a");
  std::filesystem::rename(folder_.path() / "c", folder_.path() / "b");
  EXPECT_EQ(compare().verdict, DataVerdict::kDifferent);
  run("a", {{0}, {1}, {2}});
  run("b", {{1, "x"}, {2}}, "later");
  EXPECT_THAT(compare().text, StartsWith("different: first at step 1 (epoch 0): the order"));
}

TEST_F(VerifyTest, RunsWithoutACommonStepAreDifferent) {
  run("a", {{0}, {1}});
  run("b", {{5}});
  EXPECT_EQ(compare().verdict, DataVerdict::kDifferent);
  EXPECT_THAT(compare().text, StartsWith("different: no step is in both; a has steps 0 to 1, "
                                         "b has steps 5 to 5\n"));
  run("b", {});
  EXPECT_EQ(compare().verdict, DataVerdict::kDifferent);
  EXPECT_THAT(compare().text, HasSubstr("b has no steps"));
  run("a", {});
  EXPECT_EQ(compare().verdict, DataVerdict::kIdentical);  // nothing is nothing
}

TEST_F(VerifyTest, AnotherBatchSizeLeavesTheWholeRunsToCompare) {
  run("a", {{0}, {1}, {2}, {3}});
  run("b", {{0, "x", "y", 64}, {1, "x", "y", 64}});
  DataComparison compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kIdentical);
  EXPECT_THAT(compared.text,
              StartsWith("identical as a whole: 128 samples, order " + digest("O") + " pixels " +
                         digest("P") +
                         "\nthe steps cannot be compared: step 0 (epoch 0) has 32 samples in a and "
                         "64 in b\n"));
  run("b", {{0, "x", "y", 64}, {1, "x", "y", 64}}, "O", "other");
  compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kDifferent);
  EXPECT_THAT(compared.text, StartsWith("different as a whole: only the pixels differ\n"));
}

TEST_F(VerifyTest, OtherSizesAndOtherTotalsAreDifferent) {
  run("a", {{0}, {1}});
  run("b", {{0}, {1, "o", "p", 31}});  // a bad sample was skipped
  const DataComparison compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kDifferent);
  EXPECT_THAT(compared.text, StartsWith("different: step 1 (epoch 0) has 32 samples in a and 31 in "
                                        "b; the whole runs 64 and 63\n"));
}

TEST_F(VerifyTest, StepsThatDoNotBelongToTheirResultAreNotIdentical) {
  run("a", {{0}, {1}});
  run("b", {{0}, {1}}, "other");
  const DataComparison compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kDifferent);
  EXPECT_THAT(compared.text,
              StartsWith("different as a whole, although all 2 steps are identical"));
}

TEST_F(VerifyTest, LossesAreToldAndDoNotCount) {
  run("a", {{0}, {1}, {2}});
  run("b", {{0}, {1, "o", "p", 32, "2.5000000000000004"}, {2, "o", "p", 32, "9"}});
  DataComparison compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kIdentical);
  EXPECT_THAT(compared.text,
              HasSubstr("losses: first differ at step 1 (epoch 0): 2.5 and 2.5000000000000004\n"));
  // A loss that was not finite stands there as null.
  run("a", {{0, "o", "p", 32, "null"}});
  run("b", {{0, "o", "p", 32, "null"}});
  EXPECT_THAT(compare().text, HasSubstr("losses: equal in all 1 steps\n"));
  run("b", {{0}});
  EXPECT_THAT(compare().text, HasSubstr("losses: first differ at step 0 (epoch 0): nan and 2.5\n"));
}

TEST_F(VerifyTest, ConfigurationsAreToldAndDoNotCount) {
  run("a", {{0}}, "O", "P", "[prefetcher]\nplugin = \"plain\"\n");
  run("b", {{0}}, "O", "P", "[prefetcher]\nplugin = \"delay\"\ndelay = \"11ms\"\n");
  const DataComparison compared = compare();
  EXPECT_EQ(compared.verdict, DataVerdict::kIdentical);
  EXPECT_THAT(compared.text, HasSubstr("configuration: 2 keys differ\n"
                                       "  prefetcher.delay: not there | \"11ms\"\n"
                                       "  prefetcher.plugin: \"plain\" | \"delay\"\n"));
}

TEST_F(VerifyTest, AMissingFileIsNamed) {
  EXPECT_EQ(error_of_a<IoError>(), "a/steps.jsonl: cannot read: No such file or directory");
  for (const char* file : {"steps.jsonl", "result.json", "resolved.toml"}) {
    run("a", {{0}});
    std::filesystem::remove(folder_.path() / "a" / file);
    EXPECT_EQ(error_of_a<IoError>(), text("a/", file, ": cannot read: No such file or directory"));
  }
}

TEST_F(VerifyTest, ADirectoryInPlaceOfAFileIsNoEmptyFile) {
  run("a", {{0}});
  std::filesystem::remove(folder_.path() / "a/steps.jsonl");
  std::filesystem::create_directory(folder_.path() / "a/steps.jsonl");
  EXPECT_EQ(error_of_a<IoError>(), "a/steps.jsonl: cannot read: Is a directory");
}

TEST_F(VerifyTest, ADamagedLineIsNamed) {
  const std::string good = R"({"step":0,"epoch":0,"images":1,"loss":1.5,"order":")" + digest("o") +
                           R"(","pixels":")" + digest("p") + "\"}\n";
  const auto error_of_second_line = [&](const std::string& line) {
    run("a", {{0}});
    folder_.write("a/steps.jsonl", good + line);
    return error_of_a<DataError>();
  };
  const auto changed = [&](const std::string& part, const std::string& by) {
    return testing_support::replaced(testing_support::replaced(good, "\"step\":0", "\"step\":1"),
                                     part, by);
  };
  EXPECT_EQ(error_of_second_line(changed("x", "x")), "");
  EXPECT_EQ(error_of_second_line("{\"step\":1,\"epo"), "a/steps.jsonl:2: no JSON at byte 15 of 14");
  EXPECT_EQ(error_of_second_line("\n"), "a/steps.jsonl:2: no JSON at byte 1 of 0");
  EXPECT_EQ(error_of_second_line("[1]\n"), "a/steps.jsonl:2: it is no JSON object");
  EXPECT_EQ(error_of_second_line(good),
            "a/steps.jsonl:2: step 0 stands behind step 0, and step 1 should");
  EXPECT_EQ(error_of_second_line(changed("\"epoch\":0,", "")),
            "a/steps.jsonl:2: there is no 'epoch'");
  EXPECT_EQ(error_of_second_line(changed("\"images\":1", "\"images\":-1")),
            "a/steps.jsonl:2: 'images' is -1, and should be a whole number from 0");
  EXPECT_EQ(error_of_second_line(changed("1.5", "\"low\"")),
            "a/steps.jsonl:2: 'loss' is \"low\", and should be a number");
  for (const std::string wrong : {"xyz", "abc", "00000000000000000", "000000000000000G"}) {
    EXPECT_EQ(error_of_second_line(changed("\"order\":\"" + digest("o"), "\"order\":\"" + wrong)),
              text("a/steps.jsonl:2: 'order' is '", wrong,
                   "', and a digest has 16 hexadecimal digits in lower case"));
  }
}

TEST_F(VerifyTest, ADamagedResultIsNamed) {
  run("a", {{0}});
  folder_.write("a/result.json", "{\n\"data\": ");
  EXPECT_EQ(error_of_a<DataError>(), "a/result.json: no JSON at byte 11 of 10");
  folder_.write("a/result.json", "{}");
  EXPECT_EQ(error_of_a<DataError>(), "a/result.json: there is no 'data'");
  folder_.write("a/result.json", R"({"data": 5})");
  EXPECT_EQ(error_of_a<DataError>(), "a/result.json: 'data' is 5, and should be an object");
}

TEST_F(VerifyTest, ADamagedConfigurationIsNamed) {
  run("a", {{0}});
  run("b", {{0}}, "O", "P", "[run\n");
  try {
    (void)compare();
    FAIL() << "it is no TOML";
  } catch (const DataError& error) {
    EXPECT_THAT(shortened(error.what()), StartsWith("b/resolved.toml:1:"));
  }
}

}  // namespace
}  // namespace slackline
