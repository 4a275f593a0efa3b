// Answers every question with its own body, until one of type `stop`.
// Arguments: fabric, directory
import { Fabric } from 'cfc';
import { argument, finish, ready } from '../lib/peer.js';

const fabric = await Fabric.open(argument(0), { dir: argument(1) });
const me = await fabric.join('receiver');
ready();
for await (const message of me.messages()) {
  await message.reply(message.body);
  message.ack();
  if (message.type === 'stop') break;
}
await fabric.close();
await finish({});
