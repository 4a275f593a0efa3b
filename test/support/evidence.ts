import { appendFileSync } from 'node:fs';
import { onTestFinished } from 'vitest';

/**
 * What a test has to show for a fault of docs/proof.md: how often it was injected, and how often
 * that met something at work. Written as a line of JSON to the file that `CFC_EVIDENCE` names, when
 * the test is done; `npm run faults` adds the lines up. A test that fails counts as a violation.
 */
export class Evidence {
  injected = 0;
  hit = 0;

  /** The fault was injected `count` times more, and each time it met something. */
  met(count = 1): void {
    this.injected += count;
    this.hit += count;
  }
}

/** @param fault the row, such as `F9` */
export function evidenceOf(fault: string): Evidence {
  const evidence = new Evidence();
  onTestFinished(({ task }) => {
    const file = process.env.CFC_EVIDENCE;
    if (file === undefined) return;
    const { injected, hit } = evidence;
    const violations = task.result?.state === 'fail' ? 1 : 0;
    appendFileSync(
      file,
      `${JSON.stringify({ fault, test: task.name, injected, hit, violations })}\n`,
    );
  });
  return evidence;
}
