// Starts `weft demo` (the program in WEFT) and listens to what it says.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** The demo with these arguments; `until` waits for what it says, `enter` presses Enter, `end` ends it. */
export function start(options) {
  const demo = spawn(process.env.WEFT, ['demo', ...options], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  const waiting = new Set();
  const look = () => waiting.forEach((one) => one());
  for (const stream of [demo.stdout, demo.stderr]) stream.on('data', (piece) => look((said += piece)));
  demo.on('exit', look);
  const until = (pattern, seconds) => new Promise((resolve, reject) => {
    const over = (end, value) => {
      waiting.delete(one);
      clearTimeout(timer);
      end(value);
    };
    const fail = (why) => over(reject, new assert.AssertionError({ message: `the demo ${why} before it says ${pattern}: ${said}` }));
    const one = () => {
      const found = pattern.exec(said);
      if (found) over(resolve, found);
      else if (demo.exitCode !== null) fail('ends');
    };
    const timer = setTimeout(() => fail(`takes over ${seconds} s`), seconds * 1_000);
    waiting.add(one);
    one();
  });
  const end = async () => {
    if (demo.exitCode !== null) return;
    demo.kill('SIGINT');
    await once(demo, 'exit');
  };
  const enter = () => demo.stdin.write('\n');
  return { until, enter, end };
}
