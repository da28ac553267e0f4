// Measures the page on a quiet machine and prints what it found: the first view of a hub's page (the
// program in WEFT), frames a second with many hubs, and what ten viewers cost that hub. Judges nothing.
import { readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { setTimeout as after } from 'node:timers/promises';
import { serve } from '../mock/server.js';
import { launch, open } from './browser.js';
import { start } from './demo.js';

const VIEWERS = 10;
const SECONDS = 20;
const TICKS = Number(execFileSync('getconf', ['CLK_TCK']).toString());

/** Seconds of processor that a process has taken. */
function taken(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** Asks for the mesh as a page that is open does, until it is told to stop. */
async function view(address, stop) {
  let seen = { mesh: 0, look: 0, turn: 0 };
  while (!stop.aborted) {
    const answer = await fetch(`${address}/v1/mesh/live?${new URLSearchParams(seen)}`, { signal: stop }).catch(() => null);
    if (answer?.ok) ({ seen } = await answer.json().catch(() => ({ seen })));
    else if (!stop.aborted) await after(1_000);
  }
}

/** Per cent of a core that a process takes over some seconds. */
async function load(pid) {
  const [before, began] = [taken(pid), performance.now()];
  await after(SECONDS * 1_000);
  return ((taken(pid) - before) / (performance.now() - began)) * 100_000;
}

async function firstViews(browser, url) {
  const times = [];
  for (let n = 0; n < 5; n += 1) {
    const { page, context } = await open(browser, url, '#/map', { reducedMotion: 'no-preference' });
    const shown = () => /\d+ hubs, \d+ shown/.test(document.querySelector('main')?.innerText ?? '') && performance.now();
    times.push(Math.round(await (await page.waitForFunction(shown)).jsonValue()));
    await context.close();
  }
  return times;
}

const browser = await launch();
const demo = start(['--stay', '--no-kill', '--speed', '60000']);
try {
  const url = (await demo.until(/on a map: (http:\S+)/, 60))[1];
  const pid = Number((await demo.until(/# New York, process (\d+)/, 180))[1]);
  console.log(`first view, ms after the address was asked for, five times: ${(await firstViews(browser, url)).join(', ')}`);
  const stop = new AbortController();
  const one = view(new URL(url).origin, stop.signal);
  const alone = await load(pid);
  const others = Array.from({ length: VIEWERS - 1 }, () => view(new URL(url).origin, stop.signal));
  const together = await load(pid);
  console.log(`hub with flights: ${alone.toFixed(2)} % of a core with one viewer, ${together.toFixed(2)} % with ${VIEWERS}`);
  stop.abort();
  await Promise.all([one, ...others]);
} finally {
  await demo.end();
}
const big = await serve({ hubs: 200, topics: 10_000 });
const { page } = await open(browser, big.url, '#/map', { reducedMotion: 'no-preference' });
console.log(`first view with 200 hubs, ms: ${(await firstViews(browser, big.url)).join(', ')}`);
await page.waitForFunction(() => document.querySelector('canvas')?.dataset.frames !== undefined);
const frames = [];
for (let n = 0; n < 10; n += 1) {
  await after(1_100);
  frames.push(Number(await page.locator('canvas').getAttribute('data-frames')));
}
console.log(`frames a second with 200 hubs and ${big.mesh.links.length} links: ${frames.join(', ')}`);
await browser.close();
await big.close();
