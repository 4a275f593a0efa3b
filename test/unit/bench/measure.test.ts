import { describe, expect, test } from 'vitest';
import type { Case, Run } from '../../../bench/lib/case.js';
import { measure } from '../../../bench/lib/measure.js';
import { render } from '../../../bench/lib/print.js';

const whole: Run = { samples: [10], sent: 100, lost: 0, outOfOrder: 0 };

function caseOf(ours: Partial<Run>, theirs: Partial<Run> = {}, log: string[] = []): Case {
  const runs = (name: string, run: Run) => () => {
    log.push(name);
    return Promise.resolve(run);
  };
  return {
    name: 'one way',
    unit: 'messages/s',
    placement: 'free',
    ours: { name: 'cfc', run: runs('ours', { ...whole, ...ours }) },
    rivals: [{ name: 'rival', run: runs('rival', { ...whole, ...theirs }), targetRatio: 2 }],
  };
}

describe('measure', () => {
  test('runs ours and the rival by turns', async () => {
    const log: string[] = [];
    await measure(caseOf({}, {}, log), 2, () => {});
    expect(log).toEqual(['ours', 'rival', 'ours', 'rival']);
  });

  test('fails where ours lost a message or changed the order', async () => {
    await expect(measure(caseOf({ lost: 1 }), 1, () => {})).rejects.toThrow('1 lost');
    await expect(measure(caseOf({ outOfOrder: 1 }), 1, () => {})).rejects.toThrow('out of order');
  });

  test("prints a rival's loss beside its figure, and whether the target is met", async () => {
    const row = await measure(caseOf({ samples: [30] }, { lost: 25 }), 5, () => {});
    const text = render(row);
    expect(text).toContain('lost 25.0 %');
    expect(text).toContain('3.00 (3.00 to 3.00)   meets >= 2');
  });

  test('says so where the target is missed', async () => {
    const row = await measure(caseOf({}), 1, () => {});
    expect(render(row)).toContain('1.00 (1.00 to 1.00)   MISSES >= 2');
  });
});
