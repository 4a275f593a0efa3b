// Command: runs a program once, with what it says collected, and leaves nothing of it behind.
//
// The program gets an argument array (no shell), a process group of its own and /dev/null or the
// given bytes as its input. It dies with this process. Once it has exited, whatever it left running
// in the background is ended too, so that a task is over when its result is there.
//
// Threads: one, the only one of the process (it waits for any child).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/region.h"

namespace cfc {

struct CommandResult {
  int exit_code = 0;  // 128 + signal where one ended it; 126, 127: it could not be executed
  bool started = false;
  bool out_cut = false;
  bool err_cut = false;
  bool abandoned = false;  // our parent died meanwhile: the program was killed
  uint64_t duration_us = 0;
  std::string out;
  std::string err;
};

class Command {
 public:
  // program: its file; arguments: its name and its arguments. keep_bytes: of each stream; what
  // comes after that is read and thrown away.
  Command(std::string program, std::vector<std::string> arguments, size_t keep_bytes);

  // With `argument` as one more argument.
  CommandResult RunWithArgument(std::string_view argument);
  // With `input` on its standard input.
  CommandResult RunWithInput(std::string_view input);

  // abandon: asked whenever a signal came in; true ends the program at once.
  bool (*abandon)() = nullptr;

 private:
  CommandResult Run(const std::vector<std::string>& arguments, const std::string_view* input);
  CommandResult RunOnce(const std::vector<std::string>& arguments, const std::string_view* input,
                        bool* ran);
  pid_t Start(const std::vector<std::string>& arguments, bool with_input, Descriptor* in,
              Descriptor* out, Descriptor* err);

  std::string program_;
  std::vector<std::string> arguments_;
  size_t keep_bytes_;
  Descriptor null_;
};

}  // namespace cfc
