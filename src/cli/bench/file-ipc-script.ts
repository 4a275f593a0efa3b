// Made from bench/baseline/file-ipc.sh by bench/baseline/embed.mjs: edit it there.
export const fileIpcScript = `#!/usr/bin/env bash
# Messages as files: one file a message in a directory below /dev/shm, the way of working that cfc
# is measured against. The functions are the algorithm; the drivers below them belong to the bench.
#
#   export BASE=$(mktemp -d /dev/shm/file-ipc-XXXXXX) CAP=100
#   bash file-ipc.sh init alice
#   bash file-ipc.sh init bob
#   bash file-ipc.sh send alice bob task '{"id":1}'
#   bash file-ipc.sh receive bob
#
# What it promises is what it does: a full inbox loses its oldest message, two messages of one
# second may have one name and then one of them is gone, and nobody is told.

LC_ALL=C
umask 022

fail() {
  printf 'file-ipc: %s\\n' "$1" >&2
  return 1
}

# init AGENT
init() {
  mkdir -p "$BASE/$1/inbox" "$BASE/$1/outbox"
}

# count AGENT
count() {
  find "$BASE/$1/inbox" -maxdepth 1 -name '*.json' | wc -l
}

evict_oldest() {
  local oldest
  oldest=$(find "$1" -maxdepth 1 -name '*.json' -printf '%T@ %p\\n' |
    sort -n | head -n 1 | cut -d ' ' -f 2-)
  if [ -n "$oldest" ]; then rm -f "$oldest"; fi
}

message_id() {
  printf 'msg-%s-%03d\\n' "$(date +%s)" $((RANDOM % 1000))
}

# Counts messages from one agent to another; after three time-outs it answers nothing.
next_sequence() {
  local directory=$BASE/$1/.sequences counter wait_s
  counter=$directory/$2
  mkdir -p "$directory"
  if [ ! -f "$counter" ]; then echo 0 >"$counter"; fi
  for wait_s in 10 20 40; do
    (
      flock -x -w "$wait_s" 9 || exit 1
      number=$(($(cat "$counter") + 1))
      echo "$number" >"$counter"
      sync
      echo "$number"
    ) 9>"$counter.lock" && return 0
    sleep 0.1
  done
}

# send FROM TO TYPE PAYLOAD: prints the id. The payload goes in as it is.
send() {
  local from=\${1:-} to=\${2:-} type=\${3:-} payload=\${4:-} id timestamp sequence text inbox
  if [ -z "$from" ] || [ -z "$to" ] || [ -z "$type" ]; then
    fail 'a message has a sender, a recipient and a type'
    return 1
  fi
  inbox=$BASE/$to/inbox
  if [ ! -d "$inbox" ]; then
    fail "$to has no inbox"
    return 1
  fi
  if [ "$(count "$to")" -ge "$CAP" ]; then evict_oldest "$inbox"; fi

  id=$(message_id)
  timestamp=$(date +%s)
  sequence=$(next_sequence "$from" "$to")
  text=$(
    cat <<JSON
{
  "version": "1.0",
  "msg_id": "$id",
  "from": "$from",
  "to": "$to",
  "timestamp": $timestamp,
  "sequence": $sequence,
  "type": "$type",
  "payload": $payload,
  "requires_ack": false
}
JSON
  )
  (
    flock -x 8
    printf '%s\\n' "$text" >"$inbox/$id.json.tmp"
    sync
    mv -f "$inbox/$id.json.tmp" "$inbox/$id.json"
    sync
  ) 8>"$inbox/.lock"
  if [ -d "$BASE/$from/outbox" ]; then
    cp "$inbox/$id.json" "$BASE/$from/outbox/$id.json"
    sync
  fi
  echo "$id"
}

# "timestamp sequence path" of each message, oldest first.
in_order() {
  local file timestamp sequence _
  for file in "$1"/*.json; do
    [ -f "$file" ] || continue
    read -r timestamp sequence _ < <(sed -n -e 's/^  "timestamp": \\([0-9]*\\),$/\\1/p' \\
      -e 's/^  "sequence": \\([0-9]*\\),$/\\1/p' "$file" 2>/dev/null | tr '\\n' ' ')
    printf '%s %s %s\\n' "\${timestamp:-0}" "\${sequence:-0}" "$file"
  done | sort -s -n -k 1,1 -k 2,2
}

# receive AGENT: prints all its messages as a JSON array, and leaves them where they are.
receive() {
  local inbox=$BASE/$1/inbox separator='' file _
  if [ ! -d "$inbox" ]; then
    fail "$1 has no inbox"
    return 1
  fi
  printf '['
  while read -r _ _ file; do
    printf '%s\\n' "$separator"
    cat "$file" 2>/dev/null
    separator=,
  done < <(in_order "$inbox")
  printf ']\\n'
}

# clear AGENT: whatever is there, read or not.
clear() {
  rm -f "$BASE/$1/inbox"/*.json
}

# ---- drivers of the bench: nothing of the algorithm below

# A consumer looks ten times a second, and removes what it has read.
poll_s=0.1

remove_read() {
  local id
  while read -r id; do
    rm -f "$BASE/$1/inbox/$id.json"
  done < <(sed -n 's/^  "msg_id": "\\(.*\\)",$/\\1/p' <<<"$2")
}

# Ends with the bench, which removes the directories.
await_mail() {
  until [ "$(count "$1")" -gt 0 ]; do
    if [ ! -d "$BASE/$1" ]; then exit 1; fi
    sleep "$poll_s"
  done
}

# bench_send COUNT FILLER: numbered messages; the last is of type stop. Prints when it began.
bench_send() {
  local i type=task
  echo "$EPOCHREALTIME"
  for ((i = 0; i < $1; i++)); do
    if ((i == $1 - 1)); then type=stop; fi
    send sender receiver "$type" "{\\"n\\":$i,\\"fill\\":\\"$2\\"}" >/dev/null || return 1
  done
}

# bench_receive: prints each array that it got and a line with the time, until it read the stop.
bench_receive() {
  local messages
  while :; do
    await_mail receiver
    messages=$(receive receiver)
    printf '%s\\n#%s\\n' "$messages" "$EPOCHREALTIME"
    remove_read receiver "$messages"
    if [[ $messages == *'"type": "stop"'* ]]; then return 0; fi
  done
}

# bench_answer: sends every payload back, until it reads the stop.
bench_answer() {
  local messages
  while :; do
    await_mail receiver
    messages=$(receive receiver)
    remove_read receiver "$messages"
    if [[ $messages == *'"type": "stop"'* ]]; then return 0; fi
    send receiver sender response "$(sed -n 's/^  "payload": \\(.*\\),$/\\1/p' <<<"$messages")" \\
      >/dev/null || return 1
  done
}

# bench_ask COUNT FILLER: one question at a time; prints when each began and ended.
bench_ask() {
  local i messages began
  for ((i = 0; i < $1; i++)); do
    began=$EPOCHREALTIME
    send sender receiver task "{\\"n\\":$i,\\"fill\\":\\"$2\\"}" >/dev/null || return 1
    await_mail sender
    messages=$(receive sender)
    echo "$began $EPOCHREALTIME"
    if [[ $messages != *"{\\"n\\":$i,"* ]]; then
      fail "another answer than to $i"
      return 1
    fi
    remove_read sender "$messages"
  done
  send sender receiver stop '{}' >/dev/null
}

# bench_worker AGENT: answers what is in its inbox, and ends.
bench_worker() {
  local messages from payload
  messages=$(receive "$1")
  while read -r from && read -r payload; do
    send "$1" "$from" response "{\\"status\\":\\"ok\\",\\"ids\\":[$payload]}" >/dev/null
  done < <(sed -n -e 's/^  "from": "\\(.*\\)",$/\\1/p' -e 's/^  "payload": {"id":\\(.*\\)},$/\\1/p' \\
    <<<"$messages")
  remove_read "$1" "$messages"
}

# ask_team PARENT TYPE FIRST NAME…: sends each name a message, numbered from FIRST on, starts a
# worker for each, and prints the ids that came back, until all have or every worker has ended.
ask_team() {
  local parent=$1 type=$2 first=$3 i messages found got=0 running=1
  shift 3
  for ((i = 1; i <= $#; i++)); do
    send "$parent" "\${!i}" "$type" "{\\"id\\":$((first + i))}" >/dev/null
  done
  for i in "$@"; do bench_worker "$i" & done
  while [ "$running" -ne 0 ]; do
    running=$(jobs -r | wc -l)
    messages=$(receive "$parent")
    found=$(sed -n 's/^  "payload": {"status":"ok","ids":\\[\\(.*\\)\\]},$/\\1/p' <<<"$messages")
    remove_read "$parent" "$messages"
    if [ -n "$found" ]; then
      printf '%s\\n' "$found"
      got=$((got + $(tr ',' '\\n' <<<"$found" | wc -l)))
    fi
    if [ "$got" -ge $# ]; then break; fi
    sleep "$poll_s"
  done
  wait
}

# bench_flat COUNT: prints when it began, the ids that came back, and when the last of them did.
bench_flat() {
  local i workers=()
  for ((i = 1; i <= $1; i++)); do workers+=("worker-$i"); done
  for i in master "\${workers[@]}"; do init "$i"; done
  echo "$EPOCHREALTIME"
  ask_team master task 0 "\${workers[@]}"
  echo "$EPOCHREALTIME"
}

# bench_coordinator AGENT INDEX WORKERS: asks its team, and tells the master whose answers it has.
bench_coordinator() {
  local i ids workers=()
  for ((i = 1; i <= $3; i++)); do workers+=("worker-$2-$i"); done
  ids=$(ask_team "$1" work $(($2 * $3)) "\${workers[@]}" | paste -s -d ,)
  send "$1" master response "{\\"status\\":\\"ok\\",\\"ids\\":[$ids]}" >/dev/null
}

# bench_hybrid COORDINATORS WORKERS: the same with WORKERS below each of so many coordinators.
bench_hybrid() {
  local i j messages found answers=0 running=1
  init master
  for ((i = 0; i < $1; i++)); do
    init "coord-$i"
    for ((j = 1; j <= $2; j++)); do init "worker-$i-$j"; done
  done
  echo "$EPOCHREALTIME"
  for ((i = 0; i < $1; i++)); do
    send master "coord-$i" task "{\\"team\\":$i}" >/dev/null
  done
  for ((i = 0; i < $1; i++)); do
    messages=$(receive "coord-$i")
    remove_read "coord-$i" "$messages"
    if [ "$messages" != '[]' ]; then bench_coordinator "coord-$i" "$i" "$2" & fi
  done
  while [ "$running" -ne 0 ] && [ "$answers" -lt "$1" ]; do
    sleep "$poll_s"
    running=$(jobs -r | wc -l)
    messages=$(receive master)
    found=$(sed -n 's/^  "payload": {"status":"ok","ids":\\[\\(.*\\)\\]},$/\\1/p' <<<"$messages")
    remove_read master "$messages"
    if [ -n "$found" ]; then
      printf '%s\\n' "$found"
      answers=$((answers + $(wc -l <<<"$found")))
    fi
  done
  echo "$EPOCHREALTIME"
  wait
}

# Run rather than sourced: does what its arguments say.
if [ "\${BASH_SOURCE[0]:-$0}" = "$0" ] && [ $# -gt 0 ]; then "$@"; fi
`;
