// The page as hubs serve it, with real flights: `weft demo --stay` (the program in WEFT) is looked at in
// Chromium, view by view. With SCREENSHOTS, a folder, a picture of each view is put there.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launch, open } from './browser.js';
import { start } from './demo.js';

let [demo, browser, address] = [];

before(async () => {
  demo = start(['--stay', '--no-kill', '--speed', '60000']);
  browser = await launch();
  address = (await demo.until(/on a map: (http:\S+)/, 60))[1];
  await demo.until(/The hubs go on until/, 120);
});
after(async () => {
  await browser?.close();
  await demo?.end();
});

const at = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;
const flowing = /chicago → los-angeles up .* [1-9][\d.]*K?\/s/;
/** A view, its address, and what must be there. */
const VIEWS = [
  ['map', at('map'), [/3 hubs, 3 shown/, flowing]],
  ['graph', at('graph'), [/4 links, 4 shown/, flowing]],
  ['hub', at('hub', 'chicago'), [/reachable/, /1 hop\b/, /route/, /balanced/, /ledger\.published/]],
  ['link', at('link', 'new-york', 'chicago'), [/the other direction/, /events_out/]],
  ['topics', at('topics'), [/flights\/[^ ]+ demo at (new-york|chicago|los-angeles)/, /Who would take the events of a topic/]],
  ['topic', at('topic', 'flights/departed/JFK/LAX/B6'), [/Who publishes/, /2 of 3 hubs take it/, /departures/, /new-york → chicago → los-angeles/]],
  ['streams', at('streams'), [/departures/, /chicago \(home\)/]],
  ['stream', at('stream', 'departures'), [/flights\/departed\//, /"tail"|"flight"|"carrier"|"airline"/]],
  ['ledger', at('ledger'), [/los-angeles/, /balanced/]],
  ['over-time', at('latency'), [/published/, /append/, /Round trip of each link/, /Age at delivery, by lane/, /lane 4/]],
  ['tail', `${at('tail')}?filter=${encodeURIComponent('flights/**')}`, [/events came, the newest [1-9]/, /flights\//]],
  ['tenants', at('tenants'), [/There are no tenants/]],
  ['policies', at('policies'), [/May somebody\?/]],
  ['schemas', at('schemas'), [/No schemas/]],
  ['alerts', at('alerts'), [/Nothing is wrong|critical|warning/]],
];

/** Sees that a view has what it must have. */
async function has(page, patterns) {
  for (const pattern of patterns) {
    const source = [pattern.source, pattern.flags];
    const found = ([source, flags]) => new RegExp(source, flags).test((document.querySelector('main')?.textContent ?? '').replace(/\s+/g, ' ')) || new RegExp(source, flags).test(document.querySelector('main')?.innerText.replace(/\s+/g, ' ') ?? '');
    await page.waitForFunction(found, source).catch((error) => assert.fail(`${pattern}: ${error.message}`));
  }
}

for (const [name, hash, patterns] of VIEWS) {
  test(`the view ${name} shows the mesh as it is`, async () => {
    const { page, wrong, context } = await open(browser, address, hash, { reducedMotion: 'no-preference' });
    await has(page, patterns);
    assert.deepEqual(wrong, []);
    if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png` });
    await context.close();
  });
}

test('an event that was just seen is traced hop by hop', async () => {
  const { page, wrong, context } = await open(browser, address, `${at('tail')}?filter=${encodeURIComponent('flights/departed/**')}`);
  // The second link of an event is its name.
  const name = page.locator('article').first().locator('a').nth(1);
  await name.waitFor();
  await page.goto(address + (await name.getAttribute('href')));
  await has(page, [/new-york, from a client/, /came 0 µs, routed/, /chicago, from new-york/]);
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/trace.png` });
  assert.deepEqual(wrong, []);
  await context.close();
});

test('the map moves', async (t) => {
  const began = Date.now();
  const { page, wrong, context } = await open(browser, address, at('map'));
  await page.getByText('3 hubs, 3 shown').waitFor();
  t.diagnostic(`the map is there after ${Date.now() - began} ms`);
  await has(page, [flowing]);
  const picture = () => page.evaluate(() => document.querySelector('canvas').toDataURL());
  const first = await picture();
  await page.waitForFunction((first) => document.querySelector('canvas').toDataURL() !== first, first);
  assert.deepEqual(wrong, []);
  await context.close();
});
