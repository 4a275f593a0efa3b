#!/usr/bin/env bash
# The team of code-review.ts as shell scripts, each a process of its own: a coordinator hands files to
# two reviewers and a tester, waits for every verdict, and sums up.
#
#   npm run build && bash examples/code-review.sh
source "$(dirname "$0")/code-review/common.sh"
cd "$here/../.."

export CFC_FABRIC=code-review-$$
work=$(mktemp -d)
finish() {
  [ -z "$(jobs -p)" ] || kill $(jobs -p) 2>/dev/null || true
  wait
  cfc destroy >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

printf 'const a = 1;\n' >"$work/good.js"
printf 'eval(input);\n' >"$work/risky.js"
printf '\treturn eval(x;\n' >"$work/broken.js"

cfc topo examples/code-review/team.yaml # is it what it should be? draws it, too
cfc create --profile small >/dev/null

bash examples/code-review/reviewer.sh style '\t' tabs &
bash examples/code-review/reviewer.sh safety 'eval(' eval &
bash examples/code-review/tester.sh &
exec_cfc recv --agent coordinator --count 9 --timeout 60s --json >"$work/verdicts" &
coordinator=$!
for name in coordinator style safety tester; do cfc wait "$name" --for alive --timeout 60s; done

for file in "$work"/*.js; do
  for name in style safety tester; do cfc send "$name" "$file" >/dev/null; done
done
wait "$coordinator"
verdicts=$(node -e '
  const lines = require("fs").readFileSync(0, "utf8").trim().split("\n").map((line) => JSON.parse(line));
  console.log(lines.map(({ type, body }) => `${body.replace(/.*\//, "")} (${type})`).sort().join("\n"));
  ' <"$work/verdicts")
echo "$verdicts"

for name in style safety tester; do cfc send "$name" stop --type stop >/dev/null; done
wait

[ "$verdicts" = "broken.js: eval (safety)
broken.js: fails (tester)
broken.js: tabs (style)
good.js: fine (safety)
good.js: fine (style)
good.js: passes (tester)
risky.js: eval (safety)
risky.js: fine (style)
risky.js: passes (tester)" ]
cfc status --json | node -e '
  const { messages } = JSON.parse(require("fs").readFileSync(0, "utf8"));
  if (messages.accepted !== 21 || messages.acked !== 21) throw new Error(JSON.stringify(messages));
  console.log(`${messages.acked} messages, each accepted and acked`);'
