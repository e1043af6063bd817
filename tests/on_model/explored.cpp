// SPDX-License-Identifier: Apache-2.0
#include "on_model/explored.hpp"

#include "interlock/model/explore.hpp"
#include "interlock/model/gtest.hpp"

namespace interlock::test {

void explore_test(void (*execution)()) {
  const model::expectations here;
  model::options how;
  how.cpus = 4;
  how.granularity = model::granularity::library;
  how.steps = 200'000;
  how.executions = 100;
  how.time = std::chrono::milliseconds{500};
  how.far = std::chrono::seconds{5};  // so long a unit test waits for what never fails to come
  // Many switches, then few, at places that were not thought of. PCT is not fair: a flow that goes on until another has
  // done something may run for ever in it, which says nothing.
  for (const model::strategy strategy : {model::strategy::random, model::strategy::pct}) {
    how.strategy = strategy;
    const model::report r = model::explore(how, execution);
    if (r.text().starts_with(model::detail::skipped)) GTEST_SKIP() << r.text();
    const bool starved =
        strategy == model::strategy::pct && r.text().starts_with("an execution of more than");
    EXPECT_TRUE(r.passed() || starved) << r;
    if (!r.passed()) return;
  }
}

}  // namespace interlock::test
