// SPDX-License-Identifier: Apache-2.0
#include "input_file.hpp"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace interlock::cli {

maybe_failure input_file::open(const std::string& path) {
  const bool standard = path == "-";
  name_ = standard ? "standard input" : path;
  fd_ = owned_fd{standard ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
  if (!fd_) return fail("cannot read '{}': {}", name_, describe_error(static_cast<error>(errno)));

  struct stat about {};
  if (::fstat(fd_.get(), &about) != 0) {
    return fail("cannot read {}: {}", name_, describe_error(static_cast<error>(errno)));
  }
  if (S_ISDIR(about.st_mode)) return fail("cannot read '{}': it is a directory", name_);
  const int access = ::fcntl(fd_.get(), F_GETFL);
  if (access < 0 || (access & O_ACCMODE) == O_WRONLY) {
    return fail("cannot read {}: it is open for writing only", name_);
  }
  if (standard && ::isatty(STDIN_FILENO) != 0) {
    return fail("refusing to read from a terminal; name a file, or pipe something in");
  }
  if (S_ISREG(about.st_mode)) {
    mode_ = about.st_mode & 0777;
    // Standard input may stand in the middle of a file: it is read on from there, as a stream.
    if (about.st_size > 0 && (!standard || ::lseek(fd_.get(), 0, SEEK_CUR) == 0)) {
      size_ = static_cast<std::uint64_t>(about.st_size);
    }
  }
  return {};
}

std::optional<std::uint64_t> input_file::size_now() const noexcept {
  struct stat about {};
  if (!size_ || ::fstat(fd_.get(), &about) != 0) return std::nullopt;
  return static_cast<std::uint64_t>(about.st_size);
}

bool input_file::is_same_file(const std::string& path) const noexcept {
  struct stat mine {
  }, other{};
  return ::fstat(fd_.get(), &mine) == 0 && ::stat(path.c_str(), &other) == 0 &&
         mine.st_dev == other.st_dev && mine.st_ino == other.st_ino;
}

std::string default_input() {
  if (::access(INTERLOCK_DEFAULT_INPUT, R_OK) == 0) return INTERLOCK_DEFAULT_INPUT;
  // The compiler that built the tool is gone; another may be there.
  std::string found;
  ::glob_t matches{};
  for (const char* const pattern : {"/usr/lib/gcc/*/*/cc1plus", "/usr/libexec/gcc/*/*/cc1plus",
                                    "/usr/local/libexec/gcc/*/*/cc1plus", "/usr/lib/gcc/*/*/cc1"}) {
    if (::glob(pattern, 0, nullptr, &matches) == 0) {
      for (std::size_t i = 0; i < matches.gl_pathc; ++i) {
        if (::access(matches.gl_pathv[i], R_OK) == 0) found = matches.gl_pathv[i];
      }
    }
    ::globfree(&matches);
    matches = {};
    if (!found.empty()) break;
  }
  return found;
}

}  // namespace interlock::cli
