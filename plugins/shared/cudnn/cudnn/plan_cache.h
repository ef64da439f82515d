#pragma once

#include <slackline/file_ops.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "cudnn/choose.h"

namespace slackline::cudnn {

/// Which engine was measured to be the fastest, for each graph, device and policy: a file that
/// spares the next run the measuring.
///
/// The file is JSON with a line for each entry, in a fixed order, so that it can be reviewed and
/// compared. Entries hold engines and knobs, not cuDNN's serialised plans: those have a copy of the
/// graph with its tensors' numbers inside, which nothing would hold against the graph at hand.
///
/// Threads    one caller.
class PlanCache {
 public:
  PlanCache() = default;

  /// A file that is not there has no entries.
  /// Errors     DataError with file, place and what is wrong; IoError.
  [[nodiscard]] static PlanCache load(const std::filesystem::path& file);
  /// Adds what was put() to what is in the file by now, or leaves it as it was. Processes that
  /// share the file take turns, by a lock on `<file>.lock`, which stays.
  /// Errors     as load().
  void save(FileOps& ops, const std::filesystem::path& file) const;

  /// The plan of an entry for the same graph, policy, device and cuDNN, made anew. Nothing without
  /// one, nor if it is stale: see Account.
  [[nodiscard]] std::optional<Plan> find(const Graph& graph, const Target& target,
                                         const Policy& policy);
  /// Replaces the entry for the same graph, policy, device and cuDNN.
  void put(const Graph& graph, const Target& target, const Policy& policy, const Plan& plan,
           double microseconds);

  /// How find() went so far.
  struct Account {
    std::size_t found = 0, absent = 0;
    /// A line for each entry that was there and could not be used: it is another cuDNN's, or cuDNN
    /// does not make the same plan of it any more.
    std::vector<std::string> stale;
  };
  [[nodiscard]] const Account& account() const { return account_; }

  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  struct Key {
    std::string device;
    int sm = 0;
    std::string graph;   ///< its signature
    std::string policy;  ///< its text
    std::size_t cudnn = 0;
    [[nodiscard]] auto fields() const { return std::tie(device, sm, graph, policy, cudnn); }
    bool operator<(const Key& other) const { return fields() < other.fields(); }
  };
  struct Entry {
    EngineChoice choice;
    std::size_t workspace_bytes = 0;
    double microseconds = 0;
    bool is_new = false;  ///< put() here, and not loaded
  };
  [[nodiscard]] std::string json() const;  ///< what load() reads
  [[nodiscard]] static Key key_of(const Graph& graph, const Target& target, const Policy& policy);

  std::map<Key, Entry> entries_;
  Account account_;
};

}  // namespace slackline::cudnn
