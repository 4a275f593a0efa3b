// A small team in one file: a coordinator asks two reviewers, waits for both, and sums up.
//
//   npm run build && npx tsx examples/code-review.ts
//
// Each agent is its own process in real life; here they share one so that the example stays short.
import { type Agent, Fabric } from 'cfc';

const name = `code-review-${process.pid}`;
const fabric = await Fabric.open(name, { create: true, profile: 'small' });

async function reviewer(agent: Agent, look: (code: string) => string[]): Promise<void> {
  for await (const message of agent.messages()) {
    agent.counter('reviews').add();
    await message.reply(look(message.text()));
    message.ack(); // after the reply: a reviewer that dies before this is asked again
  }
}

const style = await fabric.join('style', { role: 'reviewer', team: 'review' });
const safety = await fabric.join('safety', { role: 'reviewer', team: 'review' });
const working = Promise.all([
  reviewer(style, (code) => (code.includes('\t') ? ['tabs'] : [])),
  reviewer(safety, (code) => (code.includes('eval(') ? ['eval'] : [])),
]);

const coordinator = await fabric.join('coordinator', { role: 'coordinator', team: 'review' });
const files = ['const a = 1;', 'eval(input);', '\treturn eval(x);'];
const found: string[][] = [];
for (const file of files) {
  const answers = await Promise.all([
    coordinator.ask('style', file),
    coordinator.ask('safety', file),
  ]);
  found.push(answers.flatMap((answer) => answer.json<string[]>()));
}
console.log(found);

const reviews = fabric.snapshot().reduce((sum, agent) => sum + (agent.counters.reviews ?? 0), 0);
console.log(`${reviews} reviews`);

await fabric.close();
await working;
await Fabric.destroy(name);
if (JSON.stringify(found) !== '[[],["eval"],["tabs","eval"]]' || reviews !== 6)
  process.exitCode = 1;
