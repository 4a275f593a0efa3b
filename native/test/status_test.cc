#include "core/status.h"

#include <doctest/doctest.h>

#include <set>
#include <string>

namespace cfc {
namespace {

TEST_CASE("Status: each has a text of its own, and what is no status says so") {
  std::set<std::string> texts;
  uint32_t count = 0;
#define CFC_TEST_STATUS(name, text)                     \
  CHECK(std::string(StatusText(Status::name)) == text); \
  texts.insert(StatusText(Status::name));               \
  ++count;
  CFC_STATUS_LIST(CFC_TEST_STATUS)
#undef CFC_TEST_STATUS
  CHECK(texts.size() == count);
  CHECK(std::string(StatusText(static_cast<Status>(255))) == "unknown status");
}

}  // namespace
}  // namespace cfc
