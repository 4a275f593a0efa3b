// Children: processes of ours that run under a name each and are started again when they die.
//
// A child that dies is started anew at once; one that can't even begin to work waits longer and
// longer, so that nothing loops hot. What a dead child leaves behind becomes ours (we are a
// subreaper) and is killed. Living workers whose coordinator died are spared: they are in our own
// process group, which no command ever is.
//
// Not all start at once: so many are on their way into the fabric at a time, and one that has
// joined makes place for the next.
//
// Nothing here sleeps: FillPoll says what to wait for, and how long at most; Tend does what is due.
//
// Threads: one, the only one of the process.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/fabric.h"
#include "core/region.h"

namespace cfc {

class Children {
 public:
  // Outlived by the fabric, in which the children join under their names. at_once: how many may be
  // on their way into it at a time; with thousands that all begin to run, none gets far.
  Children(Fabric* fabric, uint32_t at_once);

  // Names a child; Tend starts it, unless an earlier life of that name runs and can be watched.
  void Add(std::string name, std::vector<std::string> arguments);
  size_t count() const noexcept { return children_.size(); }
  const std::string& NameOf(size_t index) const noexcept { return children_[index].name; }
  bool Runs(size_t index) const noexcept { return children_[index].pid != 0; }

  // Reaps, kills what the dead left, starts what is due. Returns the indexes of those that died.
  std::vector<size_t> Tend();
  // Adds the descriptors whose readiness calls for Tend.
  void FillPoll(std::vector<pollfd>* fds) const;
  // Until the next start or look is due; kBackstopNs at most.
  int64_t NextLookNs() const noexcept;

  // From now on nobody is started again, and all are asked to end in good order.
  void Stop();
  bool AllGone() const noexcept;
  // None runs, and each failed to begin many times. why: what the last one met.
  bool GaveUp(std::string* why) const;

 private:
  struct Child {
    std::string name;
    std::vector<std::string> arguments;
    pid_t pid = 0;
    bool adopted = false;  // it runs, but is no child of this process:
    Descriptor pidfd;      // tells of its end,
    uint64_t holder = 0;   // or, where there are no pidfds, its lease does
    int64_t started_ns = 0;
    int64_t start_at_ns = 0;
    uint32_t failures = 0;  // in a row, to begin
    uint32_t burst = 0;     // starts within the second that began at burst_ns
    int64_t burst_ns = 0;
    std::string why;
  };

  bool Adopt(Child* child);
  bool AdoptedEnded(const Child& child) const noexcept;
  void Start(Child* child);
  void Died(size_t index, int status, bool known_status);
  void KillLeftovers();
  bool Joined(const Child& child) const;
  // Forgets of those on their way who arrived, ended, or took too long to be waited for.
  void LookWhoArrived();

  Fabric* fabric_;
  uint32_t at_once_;
  Descriptor null_;
  std::vector<size_t> coming_;  // indexes of those on their way
  std::vector<Child> children_;
  std::vector<size_t> died_;
  bool stopping_ = false;
  bool begun_ = false;
};

}  // namespace cfc
