// The core as another program uses it: one header for all.
//
//   cfc::Failure failure;
//   std::unique_ptr<cfc::Fabric> fabric;
//   cfc::Fabric::OpenOrCreate("default", "", {}, &fabric, &failure);
//   cfc::Participant me;             // this thread: a slot, a lease, a doorbell
//   me.Register(fabric.get(), &failure);
//   cfc::Agent bob;                  // a name, a mailbox
//   bob.Join(&me, {.name = "bob"}, &failure);
//   bob.Send("alice", {.body = "hello"}, cfc::Deadline::After(1'000'000'000));
//
//   cfc::Delivery delivery;
//   if (bob.Receive(&delivery, cfc::Deadline::After(-1)) == cfc::Status::kOk) {
//     …                              // CopyBody, then
//     bob.Ack(delivery.token);
//   }
//
// Every call that can fail says so by a Status; nothing throws.
#pragma once

#include "agent.h"
#include "directory.h"
#include "fabric_files.h"
#include "participant.h"
#include "reaper.h"
#include "topic.h"
