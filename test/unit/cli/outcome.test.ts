import { expect, test } from 'vitest';
import { exitCodeOf, explain, Outcome } from '../../../src/cli/outcome.js';
import { CfcError, type CfcErrorCode, errorCodes } from '../../../src/index.js';

test('each error code has its exit code; those that are not listed exit 1', () => {
  const listed: Partial<Record<CfcErrorCode, number>> = {
    ERR_CFC_USAGE: 2,
    ERR_CFC_CONFIG_INVALID: 2,
    ERR_CFC_NO_FABRIC: 3,
    ERR_CFC_NO_AGENT: 3,
    ERR_CFC_TIMED_OUT: 4,
    ERR_CFC_MAILBOX_FULL: 5,
    ERR_CFC_TOPIC_FULL: 5,
    ERR_CFC_FORBIDDEN: 6,
    ERR_CFC_NO_READER: 7,
    ERR_CFC_PARTLY_DELIVERED: 8,
  };
  for (const code of errorCodes) {
    expect([code, exitCodeOf(new CfcError(code))]).toEqual([code, listed[code] ?? 1]);
  }
  expect(exitCodeOf(new Error('x'))).toBe(1);
  expect(exitCodeOf(new Outcome(130))).toBe(130);
});

test('an error is told in a line and a hint, with its details and its code', () => {
  const text = explain(new CfcError('ERR_CFC_NO_AGENT', { to: 'bob', tried: 2 }));
  expect(text).toMatch(/^cfc: no such agent: to bob, tried 2 \(ERR_CFC_NO_AGENT\)\n {5}\S.*\n$/);
  expect(explain(new Outcome(2, 'no', 'do this'))).toBe('cfc: no\n     do this\n');
  expect(explain(new Outcome(130))).toBe('');
});
