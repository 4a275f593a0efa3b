// Waits for mail until it is killed. Plain JavaScript: the loader that the other peers run under
// wakes now and then by itself.
// Arguments: fabric, directory
import { Fabric } from 'cfc';

const [name, dir] = process.argv.slice(2);
const fabric = await Fabric.open(name, { dir });
const me = await fabric.join('idle');
process.send('ready');
await me.receive();
