# What the agents of the team share. Each is a shell script that drives `cfc`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Installed, `cfc` is in PATH; in a clone it is what was built.
if type -P cfc >/dev/null; then program=(cfc); else program=(node "$here/../../dist/cli/main.js"); fi
cfc() { "${program[@]}" "$@"; }
exec_cfc() { exec "${program[@]}" "$@"; } # so that $! is the program itself

# field NAME: of the line of JSON on stdin.
field() { node -pe 'JSON.parse(require("fs").readFileSync(0, "utf8"))[process.argv[1]]' "$1"; }

# serve NAME FUNCTION: is the agent NAME until somebody says stop. Calls FUNCTION with the name of each
# file that comes, and sends what it prints to the coordinator.
serve() {
  local name=$1 look=$2 messages receiver message file
  exec {messages}< <(exec_cfc recv --agent "$name" --follow --json)
  receiver=$!
  while read -r -u "$messages" message; do
    [ "$(field type <<<"$message")" = stop ] && break
    file=$(field body <<<"$message")
    cfc send coordinator "$file: $("$look" "$file")" --type "$name" >/dev/null
  done
  kill -INT "$receiver" # it gives its name back, and ends
}
