// Waits until it is killed, for mail or for nothing. Plain JavaScript: the loader that the other
// peers run under wakes now and then by itself.
// Arguments: kind (fabric, plain), fabric, directory
const [kind, name, dir] = process.argv.slice(2);

if (kind === 'fabric') {
  const { Fabric } = await import('cfc');
  const fabric = await Fabric.open(name, { dir });
  const me = await fabric.join('idle');
  process.send('ready');
  await me.receive();
} else {
  process.send('ready');
  setInterval(() => {}, 1 << 30);
}
