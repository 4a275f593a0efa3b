// cfc-native: the processes behind `cfc map` and `cfc run`, on the core alone. Started by `cfc`,
// not by people.
#include <sys/prctl.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "job.h"
#include "shim_options.h"

int main(int count, char** arguments) {
  const char* const role = count > 1 ? arguments[1] : "";
  if (std::strcmp(role, "--version") == 0) {
    std::puts(CFC_VERSION);
    return 0;
  }
  struct Role {
    const char* name;
    int (*run)(const cfc::Job&);
  };
  constexpr Role kRoles[] = {{"keeper", &cfc::RunKeeper},
                             {"coordinator", &cfc::RunCoordinator},
                             {"worker", &cfc::RunWorker}};
  if (std::strcmp(role, "shim") == 0) {
    prctl(PR_SET_NAME, "cfc-shim");
    return cfc::RunShim(count - 2, arguments + 2);
  }
  for (const Role& one : kRoles) {
    if (std::strcmp(role, one.name) != 0) continue;
    // What `ps -o comm` and `top` show.
    prctl(PR_SET_NAME, ("cfc-" + std::string(one.name)).c_str());
    cfc::Job job;
    return job.Parse(count - 2, arguments + 2) ? one.run(job) : cfc::kExitUsage;
  }
  std::fputs("cfc-native belongs to cfc, which starts it: see `cfc --help`\n", stderr);
  return cfc::kExitUsage;
}
