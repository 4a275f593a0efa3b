import { describe, expect, test } from 'vitest';
import { native } from '../../../src/core/native.js';
import { callNative, errorOf } from '../../../src/core/status.js';
import { failureOf } from '../../support/fabric.js';

describe('errorOf', () => {
  test('takes a number that it does not know as a failure of the system', () => {
    expect(errorOf(250).code).toBe('ERR_CFC_SYSTEM');
    expect(errorOf(native.statuses.kFull as number, { to: 'a' })).toMatchObject({
      code: 'ERR_CFC_MAILBOX_FULL',
      details: { to: 'a' },
    });
  });
});

describe('callNative', () => {
  test('keeps what the failure knows, and the system’s word as its cause', async () => {
    const thrown = Object.assign(new Error('no room'), {
      status: native.statuses.kNoSpace,
      path: '/x',
      detail: '',
      needBytes: 10,
      haveBytes: 5,
      errno: 28,
      syscall: 'fallocate',
    });

    const error = await failureOf(() =>
      callNative(
        () => {
          throw thrown;
        },
        { fabric: 'f' },
      ),
    );

    expect(error).toMatchObject({
      code: 'ERR_CFC_NO_SPACE',
      details: { fabric: 'f', path: '/x', needBytes: 10, haveBytes: 5 },
      cause: thrown,
    });
    expect(error.details).not.toHaveProperty('detail');
  });

  test('passes on what is none of its own', async () => {
    const other = new RangeError('other');

    expect(
      await failureOf(() =>
        callNative(() => {
          throw other;
        }),
      ),
    ).toBe(other);
  });
});
