// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The unit tests on the simulated machine. This header stands before everything else of a source of tests/unit and gives
/// TEST, TEST_F and TEST_P another meaning: fixture and body are made, run and destroyed in each execution of an
/// exploration, and the test has passed if no execution has failed.
///
/// GoogleTest itself sees an `explored_test` only, so it calls no SetUpTestSuite of a fixture.

#include <gtest/gtest.h>

#include <memory>

namespace interlock::test {

/// Explores `execution` in the ways that fit what was not written for it. Context: the host.
void explore_test(void (*execution)());

/// What GoogleTest runs.
class explored_test : public ::testing::Test {
 public:
  explicit explored_test(void (*execution)()) : execution_{execution} {}

 private:
  void TestBody() override { explore_test(execution_); }

  void (*execution_)();
};

/// What it runs for each value of a parameter, which it puts where a fixture with such a parameter looks for it.
template <void (*Execution)(), class Parameter>
class explored_test_with : public ::testing::TestWithParam<Parameter> {
  void TestBody() override { explore_test(Execution); }
};

inline bool register_explored(const char* suite, const char* name, const char* file, int line,
                              void (*execution)()) {
  ::testing::RegisterTest(suite, name, nullptr, nullptr, file, line,
                          [execution]() -> explored_test* { return new explored_test{execution}; });
  return true;
}

}  // namespace interlock::test

#define INTERLOCK_EXPLORED_TEST(suite, name, parent)                   \
  class suite##_##name##_Test : public parent {                        \
   public:                                                             \
    static void run_execution() {                                      \
      const auto explored = std::make_unique<suite##_##name##_Test>(); \
      explored->SetUp();                                               \
      explored->TestBody();                                            \
      explored->TearDown();                                            \
    }                                                                  \
                                                                       \
   private:                                                            \
    void TestBody() override;                                          \
    static const bool registered;                                      \
  };

#define INTERLOCK_EXPLORED_PLAIN(suite, name, parent)                                  \
  INTERLOCK_EXPLORED_TEST(suite, name, parent)                                         \
  const bool suite##_##name##_Test::registered = ::interlock::test::register_explored( \
      #suite, #name, __FILE__, __LINE__, &suite##_##name##_Test::run_execution);       \
  void suite##_##name##_Test::TestBody()

#undef TEST
#define TEST(suite, name) INTERLOCK_EXPLORED_PLAIN(suite, name, ::testing::Test)

#undef TEST_F
#define TEST_F(fixture, name) INTERLOCK_EXPLORED_PLAIN(fixture, name, fixture)

// As GoogleTest's own, but for the class.
#undef TEST_P
#define TEST_P(fixture, name)                                                                  \
  INTERLOCK_EXPLORED_TEST(fixture, name, fixture)                                              \
  const bool fixture##_##name##_Test::registered =                                             \
      (::testing::UnitTest::GetInstance()                                                      \
           ->parameterized_test_registry()                                                     \
           .GetTestSuitePatternHolder<fixture>(                                                \
               #fixture, ::testing::internal::CodeLocation(__FILE__, __LINE__))                \
           ->AddTestPattern(                                                                   \
               #fixture, #name,                                                                \
               new ::testing::internal::TestMetaFactory<::interlock::test::explored_test_with< \
                   &fixture##_##name##_Test::run_execution, fixture::ParamType>>(),            \
               ::testing::internal::CodeLocation(__FILE__, __LINE__)),                         \
       true);                                                                                  \
  void fixture##_##name##_Test::TestBody()
