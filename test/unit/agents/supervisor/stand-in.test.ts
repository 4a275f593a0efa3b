import { describe, expect, test } from 'vitest';
import type { Agent } from '../../../../src/agents/agent.js';
import { StandIn } from '../../../../src/agents/supervisor/stand-in.js';
import { CfcError, type CfcErrorCode } from '../../../../src/index.js';

/** An agent with one message, which each try to hand on meets with the next of these answers. */
function agentThat(answers: (number | CfcErrorCode)[]) {
  let left = false;
  let taken = false;
  let tries = 0;
  const agent = {
    name: 'coord-A',
    receive: () => {
      if (taken) return new Promise(() => {});
      taken = true;
      return Promise.resolve({});
    },
    forward: () => {
      const answer = answers[tries] ?? 1;
      tries += 1;
      if (typeof answer === 'string') throw new CfcError(answer);
      return answer;
    },
    forwarded: () => false,
    leave: () => {
      left = true;
      return Promise.resolve();
    },
  };
  return {
    agent: agent as unknown as Agent,
    left: () => left,
    tries: () => tries,
  };
}

describe('StandIn', () => {
  test('tries again where the heir is between two lives, its mailbox or the file system full', async () => {
    const { agent, tries } = agentThat(['ERR_CFC_NO_AGENT', 'ERR_CFC_NO_SPACE', -1, 1]);
    const failures: unknown[] = [];
    const standIn = new StandIn(
      agent,
      () => 'coord-B',
      (error) => failures.push(error),
    );
    while (standIn.moved === 0) await new Promise((resolve) => setTimeout(resolve, 5));

    expect(tries()).toBe(4);
    expect(failures).toEqual([]);
  });

  test('one that cannot go on says so, and lets go of the name', async () => {
    const { agent, left } = agentThat(['ERR_CFC_REGION_CORRUPT']);
    const failure = await new Promise<unknown>((resolve) => {
      new StandIn(agent, () => 'coord-B', resolve);
    });

    expect((failure as CfcError).code).toBe('ERR_CFC_REGION_CORRUPT');
    expect(left()).toBe(true);
  });
});
