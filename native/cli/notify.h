// Notify: the socket of sd_notify, for programs that know nothing of cfc.
//
// A datagram socket in the abstract namespace: no file to clean up, and no path that could be too
// long. Programs find it in NOTIFY_SOCKET. What another user sends is thrown away; an agent in a
// network namespace of its own can't reach it.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/region.h"

namespace cfc {

struct Notice {
  bool ready = false;
  bool stopping = false;
  bool alive = false;    // WATCHDOG=1
  bool trouble = false;  // WATCHDOG=trigger
  bool has_status = false;
  int64_t watchdog_usec = -1;  // WATCHDOG_USEC=, 0 turns it off
  std::string status;
};

// Lines of KEY=VALUE; what is unknown is passed over.
Notice ParseNotice(std::string_view text);

class NotifySocket {
 public:
  // False, with errno: there is none to be had, and programs do without.
  bool Open(std::string_view token) noexcept;
  int fd() const noexcept { return socket_.get(); }
  // What NOTIFY_SOCKET says.
  const std::string& address() const noexcept { return address_; }
  // False: nothing waits.
  bool Next(Notice* out);

 private:
  Descriptor socket_;
  std::string address_;
};

}  // namespace cfc
