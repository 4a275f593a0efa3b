// ShimStream: one output of a command, on its way into the ring of last lines, a file, and ours.
//
// A file system that is full costs what would have gone into the file, and never holds the command
// up. A reader of ours that is slow does, as it would without a shim; one that has gone closes the
// pipe, so that the command learns of it.
//
// Threads: one.
#pragma once

#include <poll.h>

#include <string>

#include "core/line_ring.h"
#include "core/region.h"

namespace cfc {

class ShimStream {
 public:
  // file: appended to; empty: none. pass_fd: -1: none. False, with errno.
  bool Open(const std::string& file, int pass_fd) noexcept;
  // What the command writes to; closed once it has it.
  Descriptor& write_end() noexcept { return write_end_; }
  bool AtEnd() const noexcept { return !read_end_.valid() && pending_.empty(); }
  // What to wait for, if anything.
  void FillPoll(pollfd* out) const noexcept;
  // Moves what can be moved without waiting.
  void Move(LineRing* lines);
  // The command is gone: the rest, as far as it goes.
  void Finish(LineRing* lines);

 private:
  // A terminal of our own in the place of the pipe. False: there is none to be had.
  bool OpenTerminal(int like_fd) noexcept;
  bool Read(LineRing* lines);
  bool Pass() noexcept;

  Descriptor read_end_;
  Descriptor write_end_;
  Descriptor file_;
  int pass_fd_ = -1;
  std::string pending_;  // for pass_fd_
};

}  // namespace cfc
