// SPDX-License-Identifier: Apache-2.0
#include "exploration_trace.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "json_line.hpp"
#include "perfetto_fields.hpp"
#include "perfetto_trace.hpp"

namespace interlock::cli {

namespace {

using namespace perfetto;

constexpr std::uint32_t sequence = 1;
constexpr std::uint64_t process_uuid = 1;
constexpr std::uint64_t first_cpu_uuid = 2;
constexpr std::uint64_t first_held_uuid = 1000;
constexpr std::uint64_t tick = 1000;  ///< ns

struct row {
  std::uint64_t step = 0;
  bool is_mark = false;
  bool matters = false;
  unsigned cpu = 0;
  std::string by;  ///< number of the flow
  std::string flow;
  std::string context;
  std::string kind;
  std::string what;
  std::string object;
  std::string key;
  long cause = -1;
  int span = 0;  ///< 1: begins, 2: ends
  std::string function;
  std::string file;
  std::string line;
  // Arrows that begin here or go on, and those that end here.
  std::vector<std::uint64_t> flows;
  std::vector<std::uint64_t> last_flows;

  [[nodiscard]] std::string title() const { return object.empty() ? kind : kind + ' ' + object; }
};

struct execution {
  std::string name;
  std::string token;
  std::string failure;
  std::map<std::string, std::string> objects;
  std::vector<row> rows;
};

bool read(const std::string& path, execution& all) {
  std::ifstream lines{path};
  std::string line;
  json_line fields;
  const auto number = [&fields](const char* key) {
    return std::strtol(value_of(fields, key).c_str(), nullptr, 10);
  };
  while (std::getline(lines, line)) {
    if (!read_json_line(line, fields) || fields.empty()) return false;
    if (fields.front().first == "name") {
      all.name = value_of(fields, "name");
      all.token = value_of(fields, "token");
      all.failure = value_of(fields, "failure");
    } else if (fields.front().first == "object") {
      all.objects[value_of(fields, "object")] = value_of(fields, "is");
    } else {
      row& r = all.rows.emplace_back();
      r.step = static_cast<std::uint64_t>(number("step"));
      r.is_mark = number("mark") != 0;
      r.matters = number("matters") != 0;
      r.cpu = static_cast<unsigned>(number("cpu"));
      r.by = value_of(fields, "by");
      r.flow = value_of(fields, "flow");
      r.context = value_of(fields, "context");
      r.kind = value_of(fields, "kind");
      r.what = value_of(fields, "what");
      r.object = value_of(fields, "object");
      r.key = value_of(fields, "key");
      r.cause = number("cause");
      r.span = static_cast<int>(number("span"));
      r.function = value_of(fields, "function");
      r.file = value_of(fields, "file");
      r.line = value_of(fields, "line");
    }
  }
  return !all.rows.empty();
}

class writer {
 public:
  explicit writer(execution& all) : all_{all} {}

  std::string write() {
    draw_arrows();
    describe_process();
    std::set<unsigned> cpus;
    for (const row& r : all_.rows) cpus.insert(r.cpu);
    for (const unsigned cpu : cpus) write_cpu(cpu);
    write_held();
    add_event(time_of(all_.rows.size()), [&](protozero::pbf_writer& out) {
      out.add_enum(event::type, event::instant);
      out.add_uint64(event::track_uuid, process_uuid);
      out.add_string(event::categories, "failure");
      out.add_string(event::name, all_.failure);
    });
    return std::move(whole_);
  }

 private:
  static std::uint64_t time_of(std::size_t at) { return tick * (at + 1); }

  template <class Fill>
  void add_packet(Fill&& fill) {
    protozero::pbf_writer out{writer_, trace::packet};
    out.add_uint32(packet::sequence_id, sequence);
    if (std::exchange(first_, false))
      out.add_uint32(packet::sequence_flags, packet::incremental_state_cleared);
    fill(out);
  }
  template <class Fill>
  void add_event(std::uint64_t at, Fill&& fill) {
    add_packet([&](protozero::pbf_writer& out) {
      out.add_uint64(packet::timestamp, at);
      protozero::pbf_writer inner{out, packet::track_event};
      fill(inner);
    });
  }
  void describe_process() {
    add_packet([&](protozero::pbf_writer& out) {
      protozero::pbf_writer track{out, packet::track_descriptor};
      track.add_uint64(descriptor::uuid, process_uuid);
      {
        protozero::pbf_writer inner{track, descriptor::process};
        inner.add_int32(process::pid, 1);
        inner.add_string(process::name, all_.name + ' ' + all_.token);
      }
      track.add_enum(descriptor::child_ordering, descriptor::explicit_order);
    });
  }
  void describe_track(std::uint64_t uuid, const std::string& name) {
    add_packet([&](protozero::pbf_writer& out) {
      protozero::pbf_writer track{out, packet::track_descriptor};
      track.add_uint64(descriptor::uuid, uuid);
      track.add_string(descriptor::name, name);
      track.add_uint64(descriptor::parent_uuid, process_uuid);
      track.add_int32(descriptor::sibling_order_rank, static_cast<std::int32_t>(uuid));
    });
  }
  void begin_slice(std::uint64_t track, std::uint64_t at, const char* category,
                   const std::string& name) {
    add_event(at, [&](protozero::pbf_writer& out) {
      out.add_enum(event::type, event::slice_begin);
      out.add_uint64(event::track_uuid, track);
      out.add_string(event::categories, category);
      out.add_string(event::name, name);
    });
  }
  void end_slice(std::uint64_t track, std::uint64_t at) {
    add_event(at, [&](protozero::pbf_writer& out) {
      out.add_enum(event::type, event::slice_end);
      out.add_uint64(event::track_uuid, track);
    });
  }

  static void note(protozero::pbf_writer& out, const char* name, const std::string& text) {
    if (text.empty()) return;
    protozero::pbf_writer inner{out, event::annotations};
    inner.add_string(annotation::name, name);
    inner.add_string(annotation::string_value, text);
  }

  void write_row(std::size_t at) {
    const row& r = all_.rows[at];
    const std::uint64_t track = first_cpu_uuid + r.cpu;
    add_event(time_of(at), [&](protozero::pbf_writer& out) {
      out.add_enum(event::type, r.is_mark ? event::instant : event::slice_begin);
      out.add_uint64(event::track_uuid, track);
      out.add_string(event::categories, r.matters ? r.what : "detail");
      out.add_string(event::name, r.title());
      {
        protozero::pbf_writer inner{out, event::annotations};
        inner.add_string(annotation::name, "step");
        inner.add_int64(annotation::int_value, static_cast<std::int64_t>(r.step));
      }
      note(out, "flow", r.flow);
      note(out, "function", r.function);
      if (!r.file.empty()) note(out, "source", r.file + ':' + r.line);
      if (const auto found = all_.objects.find(r.object); found != all_.objects.end())
        note(out, "object", found->second);
      for (const std::uint64_t id : r.flows) out.add_fixed64(event::flow_ids, id);
      for (const std::uint64_t id : r.last_flows) out.add_fixed64(event::terminating_flow_ids, id);
    });
    if (!r.is_mark) end_slice(track, time_of(at + 1));
  }

  /// What stands on a CPU: a task, on it interrupts, and the softirqs of each.
  void write_cpu(unsigned cpu) {
    const std::uint64_t track = first_cpu_uuid + cpu;
    describe_track(track, "CPU " + std::to_string(cpu));
    struct level {
      std::string by;
      std::string
          inner;  ///< what it runs on itself: softirqs, a task also handlers that it lets in
    };
    std::vector<level> stack;
    std::uint64_t last = 0;  // the end of the row before
    const auto pop_to = [&](std::size_t size) {
      for (; stack.size() > size; stack.pop_back()) end_slice(track, last);
    };
    for (std::size_t i = 0; i < all_.rows.size(); ++i) {
      const row& r = all_.rows[i];
      if (r.cpu != cpu) continue;
      const std::string inner = inner_of(r);
      const auto is_its = [&r](const level& l) { return l.by == r.by && l.inner.empty(); };
      const auto own = std::find_if(stack.begin(), stack.end(), is_its);
      const bool interrupt = is_interrupt(r);
      // It has slept: its CPU was nobody's meanwhile.
      const bool anew = r.kind.rfind("goes on", 0) == 0 && !interrupt;
      // The same level may have been let in once more.
      const bool again = r.kind == "is let in";
      std::size_t keep = 0;
      if (own != stack.end() && !anew && !again) {
        keep = static_cast<std::size_t>(own - stack.begin()) + 1;
        const bool goes_on = !inner.empty() && keep < stack.size() && stack[keep].by == r.by &&
                             stack[keep].inner == inner;
        if (goes_on) ++keep;
      } else if (own != stack.end()) {
        keep = static_cast<std::size_t>(own - stack.begin());
      } else if (interrupt) {
        keep = stack.size();
      }
      pop_to(keep);
      const std::uint64_t at = time_of(i);
      const bool on_stack = std::any_of(stack.begin(), stack.end(), is_its);
      if (!on_stack) {
        begin_slice(track, at, interrupt ? context_of(r) : "task", r.flow);
        stack.push_back({r.by, ""});
      }
      if (!inner.empty() && stack.back().inner != inner) {
        begin_slice(track, at, inner.c_str(), inner);
        stack.push_back({r.by, inner});
      }
      write_row(i);
      last = time_of(i + 1);
    }
    pop_to(0);
  }
  static bool is_interrupt(const row& r) {
    return r.flow.rfind("irq/cpu", 0) == 0 || r.flow.rfind("nmi/cpu", 0) == 0;
  }
  static std::string inner_of(const row& r) {
    const bool own =
        r.context == "device" || r.context == (is_interrupt(r) ? context_of(r) : "task");
    return own ? "" : r.context;
  }
  static const char* context_of(const row& r) {
    return r.flow.rfind("nmi/", 0) == 0 ? "nmi" : "hardirq";
  }

  // --- arrows ---

  void draw_arrows() {
    std::vector<row>& rows = all_.rows;
    std::uint64_t id = 0;
    for (row& r : rows) {
      if (r.cause < 0 || static_cast<std::size_t>(r.cause) >= rows.size()) continue;
      rows[static_cast<std::size_t>(r.cause)].flows.push_back(++id);
      r.last_flows.push_back(id);
    }
    // Along a fence, from where it is made; another may be made at its address later.
    std::map<std::string, std::vector<std::size_t>> lives;
    const auto end_life = [&](std::vector<std::size_t>& life) {
      if (life.size() > 1) {
        ++id;
        for (const std::size_t at : life)
          (at == life.back() ? rows[at].last_flows : rows[at].flows).push_back(id);
      }
      life.clear();
    };
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].what != "fence") continue;
      std::vector<std::size_t>& life = lives[rows[i].key];
      if (rows[i].kind == "makes fence") end_life(life);
      life.push_back(i);
    }
    for (auto& [key, life] : lives) end_life(life);
  }

  // --- what flows hold ---

  struct held {
    std::uint64_t begin;
    std::uint64_t end;
    const row* of;
  };

  void write_held() {
    const std::uint64_t over = time_of(all_.rows.size());
    std::map<std::pair<std::string, std::string>, std::vector<held*>> open;
    std::vector<std::pair<std::string, std::vector<held>>>
        flows;  // in the order in which they begin
    std::map<std::string, std::size_t> places;
    std::size_t count = 0;
    for (const row& r : all_.rows) count += r.span == 1 ? 1 : 0;
    for (std::size_t i = 0; i < all_.rows.size(); ++i) {
      const row& r = all_.rows[i];
      if (r.span == 0) continue;
      std::vector<held*>& mine = open[{r.by, r.key}];
      if (r.span == 2) {
        if (mine.empty()) continue;
        mine.back()->end = time_of(i);
        mine.pop_back();
        continue;
      }
      const auto [place, fresh] = places.emplace(r.by, flows.size());
      if (fresh) {
        flows.emplace_back(r.flow, std::vector<held>{});
        flows.back().second.reserve(count);  // others point into it
      }
      std::vector<held>& all = flows[place->second].second;
      all.push_back({time_of(i), over, &r});
      mine.push_back(&all.back());
    }
    std::uint64_t uuid = first_held_uuid;
    for (const auto& [flow, spans] : flows) write_lanes(flow, spans, uuid);
  }

  /// Slices of a track nest: what does not goes to another.
  void write_lanes(const std::string& flow, std::vector<held> left, std::uint64_t& uuid) {
    while (!left.empty()) {
      const std::uint64_t track = uuid++;
      describe_track(track, flow + " holds");
      std::vector<held> rest;
      std::vector<std::uint64_t> ends;
      const auto close_until = [&](std::uint64_t at) {
        for (; !ends.empty() && ends.back() <= at; ends.pop_back()) end_slice(track, ends.back());
      };
      for (const held& h : left) {
        close_until(h.begin);
        if (!ends.empty() && ends.back() < h.end) {
          rest.push_back(h);
          continue;
        }
        const bool reader = h.of->what == "reader";
        const std::string object = h.of->object.empty() ? "a lock" : h.of->object;
        begin_slice(track, h.begin, reader ? "reader" : "lock", reader ? "RCU reader" : object);
        ends.push_back(h.end);
      }
      close_until(UINT64_MAX);
      left = std::move(rest);
    }
  }

  execution& all_;
  std::string whole_;
  protozero::pbf_writer writer_{whole_};
  bool first_ = true;
};

}  // namespace

maybe_failure write_exploration_trace(const std::string& steps, const std::string& path) {
  execution all;
  if (!read(steps, all)) return fail("the steps of the execution are damaged: is the disk full?");
  return write_trace_file(writer{all}.write(), path);
}

}  // namespace interlock::cli
