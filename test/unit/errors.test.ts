import { describe, expect, test } from 'vitest';
import { CfcError, describeError, errorCodes } from '../../src/errors.js';

describe('CfcError', () => {
  test.each(errorCodes)('%s has a message and says what to do', (code) => {
    const { message, hint } = describeError(code);
    const error = new CfcError(code);

    expect(code).toMatch(/^ERR_CFC_[A-Z]+(_[A-Z]+)*$/);
    expect(message.length).toBeGreaterThan(8);
    expect(hint.length).toBeGreaterThan(8);
    expect(message).not.toMatch(/^[A-Z][a-z]|[.!]$/); // a clause, to be put after a name
    expect(error).toMatchObject({ code, message, hint, name: 'CfcError', details: {} });
  });

  test('is an Error with its details in the message and as values', () => {
    const cause = Object.assign(new Error('mmap'), { errno: 12, syscall: 'mmap' });
    const error = new CfcError('ERR_CFC_SYSTEM', { path: '/x', needBytes: 12 }, { cause });

    expect(error).toBeInstanceOf(Error);
    expect(error.message).toBe("a system call failed { path: '/x', needBytes: 12 }");
    expect(error.details).toEqual({ path: '/x', needBytes: 12 });
    expect(error.cause).toBe(cause);
    expect(String(error)).toMatch(/^CfcError: a system call failed/);
    expect(Object.keys(error)).not.toContain('name');
  });

  test('no two codes say the same', () => {
    const messages = errorCodes.map((code) => describeError(code).message);

    expect(new Set(messages).size).toBe(messages.length);
  });
});
