// SPDX-License-Identifier: Apache-2.0
#include "output_file.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace interlock::cli {

namespace {

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

failure cannot_write(const std::string& name, int code) {
  return fail("cannot write '{}': {}", name, describe_error(static_cast<error>(code)));
}

mode_t mask_of_process() noexcept {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return mask;
}

}  // namespace

maybe_failure output_file::open(const std::string& path, bool replace, mode_t mode) {
  name_ = path;
  replace_ = replace;
  struct stat about {};
  const bool exists = path == "-" || ::stat(path.c_str(), &about) == 0;
  if (path == "-" || (exists && !S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode))) {
    return open_stream(replace);
  }
  if (exists && S_ISDIR(about.st_mode)) return fail("cannot write '{}': it is a directory", name_);
  if (exists && !replace) return fail("'{}' exists already; -f replaces it", name_);

  const mode_t wanted = mode & ~mask_of_process();
  fd_ = owned_fd{
      ::open(directory_of(path).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, wanted | S_IWUSR)};
  if (fd_) return {};
  if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)
    return open_hidden(wanted | S_IWUSR);
  return cannot_write(name_, errno);
}

maybe_failure output_file::open_stream(bool replace) {
  stream_ = true;
  if (name_ == "-") {
    name_ = "standard output";
    fd_ = owned_fd{STDOUT_FILENO};
    if (::isatty(STDOUT_FILENO) != 0 && !replace) {
      return fail(
          "refusing to write compressed data to a terminal; -o FILE names a file, -f insists");
    }
    return {};
  }
  fd_ = owned_fd{::open(name_.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY)};
  if (!fd_) return cannot_write(name_, errno);
  return {};
}

maybe_failure output_file::open_hidden(mode_t mode) {
  std::string pattern = hidden_name() + "XXXXXX";
  fd_ = owned_fd{::mkostemp(pattern.data(), O_CLOEXEC)};
  if (!fd_) return cannot_write(name_, errno);
  hidden_ = pattern;
  (void)::fchmod(fd_.get(), mode);  // at worst it stays private
  return {};
}

std::string output_file::hidden_name() const {
  const std::size_t slash = name_.rfind('/');
  const std::string base = slash == std::string::npos ? name_ : name_.substr(slash + 1);
  return directory_of(name_) + "/." + base + ".unfinished-";
}

maybe_failure output_file::commit() {
  if (stream_) return {};
  if (hidden_.empty()) {
    const std::string nameless = "/proc/self/fd/" + std::to_string(fd_.get());
    if (!replace_) {
      // Refuses, by itself, a file that has appeared meanwhile.
      if (::linkat(AT_FDCWD, nameless.c_str(), AT_FDCWD, name_.c_str(), AT_SYMLINK_FOLLOW) == 0) {
        return {};
      }
      return cannot_write(name_, errno);
    }
    // A link cannot replace: it takes a hidden name first.
    const std::string name = hidden_name() + std::to_string(::getpid());
    if (::linkat(AT_FDCWD, nameless.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      return cannot_write(name_, errno);
    }
    hidden_ = name;
  }
  if (!rename_hidden()) {
    const int code = errno;
    discard();
    return cannot_write(name_, code);
  }
  hidden_.clear();
  return {};
}

/// False: see errno. Unless it may replace, it refuses by itself a file that has appeared meanwhile.
bool output_file::rename_hidden() noexcept {
  if (!replace_) {
    if (::renameat2(AT_FDCWD, hidden_.c_str(), AT_FDCWD, name_.c_str(), RENAME_NOREPLACE) == 0) {
      return true;
    }
    // File systems that know no such flag can look only.
    if (errno != EINVAL && errno != ENOSYS) return false;
    if (::access(name_.c_str(), F_OK) == 0) {
      errno = EEXIST;
      return false;
    }
  }
  return ::rename(hidden_.c_str(), name_.c_str()) == 0;
}

void output_file::discard() noexcept {
  if (!hidden_.empty()) ::unlink(hidden_.c_str());
}

output_file::~output_file() { discard(); }

}  // namespace interlock::cli
