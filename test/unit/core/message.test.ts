import { describe, expect, test } from 'vitest';
import { formatMessageId, Message, parseMessageId } from '../../../src/core/index.js';

const facts = {
  from: 'a',
  to: 'b',
  type: 't',
  uid: 35,
  number: 36,
  sequence: 7,
  sentAt: 1000,
  attempt: 0,
  correlationUid: 0,
  correlationNumber: 0,
  kind: 2,
  flags: 0,
  lane: 1,
  expiresAtMs: 0,
};

describe('formatMessageId and parseMessageId', () => {
  test('are each other’s inverse', () => {
    for (const [uid, number] of [
      [1, 1],
      [35, 36],
      [2 ** 46 - 1, 2 ** 53 - 1],
    ] as const) {
      expect(parseMessageId(formatMessageId(uid, number))).toEqual({ uid, number });
    }
    expect(formatMessageId(35, 36)).toBe('z-10');
  });

  test('refuse what is no id', () => {
    for (const text of [
      '',
      '-',
      'a',
      'a-',
      '-a',
      'A-1',
      '1-1-1',
      ' 1-1',
      '1_1',
      'zzzzzzzzzzz-1',
      '1-zzzzzzzzzzz',
    ]) {
      expect(parseMessageId(text), text).toBeUndefined();
    }
  });
});

describe('Message', () => {
  test('reads its body as text and as JSON', () => {
    const message = new Message(facts, Buffer.from('{"ä":1}'), -1);

    expect(message.text()).toBe('{"ä":1}');
    expect(message.json()).toEqual({ ä: 1 });
    expect(message).toMatchObject({ id: 'z-10', sequence: 7n, kind: 'json', redelivered: false });
    expect(() => new Message(facts, Buffer.from('{'), -1).json()).toThrow(SyntaxError);
  });

  test('names what it answers, and whether it was delivered before', () => {
    const answer = new Message(
      { ...facts, correlationUid: 1, correlationNumber: 2, attempt: 3, flags: 1 },
      Buffer.alloc(0),
      -1,
    );

    expect(answer).toMatchObject({ correlationId: '1-2', attempt: 3, redelivered: true });
    expect(answer.expectsReply).toBe(false);
    expect(new Message({ ...facts, flags: 2 }, Buffer.alloc(0), -1).expectsReply).toBe(true);
    expect(new Message(facts, Buffer.alloc(0), -1).correlationId).toBeUndefined();
  });

  test('without a lease does nothing when it is acked or given back', async () => {
    const message = new Message(facts, Buffer.alloc(0), -1);

    message.ack();
    message.nack();
    await message.reply('x');

    expect(message.leased).toBe(false);
  });
});
