#include "library_file.h"

#include <slackline/error.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <system_error>
#include <vector>

#include <cxxabi.h>
#include <elf.h>
#include <sys/stat.h>

namespace slackline {
namespace {

namespace fs = std::filesystem;

#if defined(__x86_64__)
constexpr std::uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr std::uint16_t kMachine = EM_AARCH64;
#else
#error "add the ELF number of this machine"
#endif

bool anyone_can_write(const fs::path& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && (info.st_mode & S_IWOTH) != 0;
}

/// Plugins run with all rights of the user, so none is loaded that somebody else may have put
/// there.
std::string problem_of_permissions(const fs::path& file) {
  std::error_code failed;
  const fs::path real = fs::canonical(file, failed);  // of a link, the file that it leads to
  if (failed) return {};
  if (anyone_can_write(real)) {
    return text("anyone can write to it, so it is not loaded: chmod o-w ", real.string());
  }
  for (const fs::path& folder :
       {real.parent_path(), file.parent_path(), file.parent_path().parent_path()}) {
    if (anyone_can_write(folder)) {
      return text("anyone can write to its directory, so it is not loaded: chmod o-w ",
                  folder.string());
    }
  }
  return {};
}

template <class T>
bool read_at(std::ifstream& in, std::uint64_t offset, T* into, std::size_t count) {
  in.seekg(static_cast<std::streamoff>(offset));
  in.read(reinterpret_cast<char*>(into), static_cast<std::streamsize>(count * sizeof(T)));
  return static_cast<std::size_t>(in.gcount()) == count * sizeof(T);
}

std::string problem_of_contents(const fs::path& file, std::uint64_t size) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return text("cannot be read: ", std::strerror(errno));
  Elf64_Ehdr header{};
  const bool is_whole = read_at(in, 0, &header, 1);
  if (size < SELFMAG || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return "is not an ELF file, so it is no shared library";
  }
  const auto cut_off = [&](std::uint64_t needed) {
    return text("is cut off: it has ", size, " bytes of at least ", needed);
  };
  if (!is_whole) return cut_off(sizeof header);
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != kMachine) {
    return text("is for another machine (ELF machine ", header.e_machine, ", this one is ",
                kMachine, ")");
  }
  if (header.e_type != ET_DYN) return "is an ELF file, but no shared library";

  std::vector<Elf64_Phdr> segments(header.e_phnum);
  in.clear();
  if (header.e_phentsize != sizeof(Elf64_Phdr) ||
      !read_at(in, header.e_phoff, segments.data(), segments.size())) {
    return cut_off(header.e_phoff + header.e_phnum * sizeof(Elf64_Phdr));
  }
  std::uint64_t needed = header.e_shoff + std::uint64_t{header.e_shnum} * header.e_shentsize;
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_LOAD) needed = std::max(needed, segment.p_offset + segment.p_filesz);
  }
  return needed > size ? cut_off(needed) : "";
}

}  // namespace

std::string problem_of_library(const fs::path& file) {
  std::error_code failed;
  if (!fs::is_regular_file(file, failed)) return "is not a regular file";
  const std::uint64_t size = fs::file_size(file, failed);
  if (failed) return text("cannot be read: ", failed.message());
  if (size == 0) return "is empty";
  if (std::string problem = problem_of_permissions(file); !problem.empty()) return problem;
  return problem_of_contents(file, size);
}

std::string readable_loader_text(const fs::path& file, std::string words) {
  const std::string prefix = file.string() + ": ";
  if (words.starts_with(prefix)) words.erase(0, prefix.size());
  std::istringstream in(words);
  std::string out;
  for (std::string word; in >> word;) {
    // Only whole C++ names: the demangler would also read "i" as a type.
    if (word.starts_with("_Z")) {
      int status = -1;
      const std::unique_ptr<char, decltype(&std::free)> name(
          abi::__cxa_demangle(word.c_str(), nullptr, nullptr, &status), &std::free);
      if (status == 0) word = name.get();
    }
    out += (out.empty() ? "" : " ") + word;
  }
  return out;
}

}  // namespace slackline
