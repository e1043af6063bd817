// SPDX-License-Identifier: Apache-2.0
#include "junit.hpp"

#include <cerrno>
#include <pugixml.hpp>

namespace interlock::cli {

namespace {

pugi::xml_node add_case(pugi::xml_node& suite, const std::string& name, double seconds) {
  pugi::xml_node test = suite.append_child("testcase");
  const std::size_t dot = name.find('.');
  const bool in_suite = dot != std::string::npos;
  test.append_attribute("classname") =
      in_suite ? name.substr(0, dot).c_str() : suite.attribute("name").value();
  test.append_attribute("name") = in_suite ? name.substr(dot + 1).c_str() : name.c_str();
  test.append_attribute("time") = fmt::format("{:.6f}", seconds).c_str();
  return test;
}

void add_failure(pugi::xml_node& test, const std::string& message, const std::string& text) {
  pugi::xml_node failed = test.append_child("failure");
  failed.append_attribute("message") = message.c_str();
  failed.text() = text.c_str();
}

}  // namespace

maybe_failure write_junit(const std::string& path, const exploration_run& run,
                          const exploration_outcome& outcome) {
  pugi::xml_document document;
  pugi::xml_node all = document.append_child("testsuites");
  pugi::xml_node suite = all.append_child("testsuite");
  suite.append_attribute("name") = run.binary.substr(run.binary.rfind('/') + 1).c_str();
  std::size_t failures = 0;
  double seconds = 0;
  for (const exploration_result& r : outcome.results) {
    pugi::xml_node test = add_case(suite, r.name, r.seconds);
    seconds += r.seconds;
    if (r.passed) continue;
    ++failures;
    add_failure(test, r.failure, r.token.empty() ? "" : replay_command(run, r));
  }
  for (const bad_end& end : outcome.bad_ends) {
    pugi::xml_node test = add_case(suite, end.test.empty() ? "program" : end.test, 0);
    add_failure(test, describe_end(end), run.binary);
    ++failures;
  }
  suite.append_attribute("tests") = outcome.results.size() + outcome.bad_ends.size();
  suite.append_attribute("failures") = failures;
  suite.append_attribute("time") = fmt::format("{:.6f}", seconds).c_str();
  errno = 0;
  if (!document.save_file(path.c_str(), "  ")) {
    return fail("cannot write '{}': {}", path,
                describe_error(static_cast<error>(errno != 0 ? errno : EIO)));
  }
  return {};
}

}  // namespace interlock::cli
