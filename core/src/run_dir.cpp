#include "run_dir.h"

#include <slackline/checkpoint.h>
#include <slackline/error.h>

#include <cerrno>
#include <string>

#include "results.h"

namespace slackline {
namespace {

namespace fs = std::filesystem;

bool has_no_locks(const IoError& error) {
  const int number = error.error_number();
  return number == ENOLCK || number == ENOSYS || number == EOPNOTSUPP;
}

}  // namespace

fs::path make_run_dir(const Config& config, const RunControl& control,
                      std::chrono::system_clock::time_point now) {
  fs::path wanted = control.dir.empty() ? fs::path(config.run.dir.value) : control.dir;
  if (!wanted.empty()) {
    make_directories(control.files, wanted);
    return wanted;
  }
  const fs::path first = fs::path("runs") / (config.name() + "-" + utc_text(now));
  make_directories(control.files, first.parent_path());
  fs::path dir = first;
  // Of runs that begin in the same second each makes another one.
  for (int i = 2; !control.files.make_directory(dir); ++i) {
    dir = first.string() + "-" + std::to_string(i);
  }
  control.files.sync_directory(first.parent_path());
  return dir;
}

void require_no_results(const fs::path& dir) {
  if (fs::exists(dir / "result.json")) {
    throw ConfigError("dir", text(dir.string(),
                                  ": holds the results of a run already; give "
                                  "another directory, or none for a new one"));
  }
  if (!checkpoint_files(dir).empty()) {
    throw ConfigError("dir",
                      text(dir.string(),
                           ": holds checkpoints of a run already; go on with it by --resume, "
                           "or give another directory"));
  }
}

DirectoryLock::DirectoryLock(FileOps& files, const fs::path& dir, Notes& notes)
    : files_(files), file_(dir / ".lock"), descriptor_(files.open(file_, FileOps::Open::kAppend)) {
  bool is_alone = true;
  try {
    is_alone = files_.lock(descriptor_, file_);
  } catch (const IoError& error) {
    if (!has_no_locks(error)) {
      close();
      throw;
    }
    notes.warn("run", text(error.what(), ": nothing keeps another run out of the directory"));
  }
  if (is_alone) return;
  close();
  throw ConfigError("dir", text(dir.string(), ": a run is at work there; wait until it has ended"));
}

DirectoryLock::~DirectoryLock() { close(); }

void DirectoryLock::close() {
  try {
    files_.close(descriptor_, file_);
  } catch (const IoError&) {
    // Nothing was written, and the lock is gone in any case.
  }
}

}  // namespace slackline
