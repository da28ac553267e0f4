// The tour, as the page shows it: `weft demo --tour --by-hand` (the program in WEFT) kills a hub, cuts a
// link, floods a lane and breaks a schema, one after the other, and each is looked for in Chromium where
// the tour says that it is to be seen, and that it goes again. A step lasts until it was seen. With
// SCREENSHOTS, a folder, a picture of each is put there. Two pages are open at New York's hub: the map,
// and what else is looked at.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launch, open } from './browser.js';
import { start } from './demo.js';

const PATIENCE = 60_000;
let [demo, browser, address, map, other] = [];

before(async () => {
  demo = start(['--tour', '--by-hand', '--no-kill', '--speed', '60000']);
  browser = await launch();
  address = (await demo.until(/on a map: (http:\S+)/, 60))[1];
  await demo.until(/All is well/, 180);
  map = await open(browser, address, at('map'), { reducedMotion: 'no-preference' });
  other = await open(browser, address, at('alerts'));
});
after(async () => {
  await browser?.close();
  await demo?.end();
});

const at = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;
const go = (view, hash) => view.page.evaluate((hash) => (location.hash = hash), hash);

/** Waits until a page's text has this. */
async function sees({ page }, pattern) {
  const found = (source) => new RegExp(source).test((document.querySelector('main')?.innerText ?? '').replace(/\s+/g, ' '));
  await page.waitForFunction(found, pattern.source, { timeout: PATIENCE }).catch(async () => {
    const text = await page.evaluate(() => document.querySelector('main')?.innerText.replace(/\s+/g, ' '));
    assert.fail(`not seen: ${pattern}, but ${text}`);
  });
}

/** The next step, which says this. */
async function next(pattern) {
  demo.enter();
  await demo.until(pattern, 60);
}

async function keep(view, name) {
  if (process.env.SCREENSHOTS) await view.page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png` });
}

test('all is well: flights move, and nothing is wrong', async () => {
  await sees(map, /new-york → chicago up .* [1-9][\d.]*K?\/s/);
  await sees(map, /chicago us-central reachable/);
  await sees(other, /Nothing is wrong/);
});

test('a hub that is killed is seen as gone, with why copies are dropped, and comes back', async () => {
  await next(/Chicago is killed/);
  await sees(map, /chicago us-central out of reach/);
  await sees(map, /new-york → chicago down/);
  await sees(other, /critical No path leads to hub chicago/);
  await sees(other, /The link from new-york to chicago is down/);
  await keep(map, 'tour-killed');
  await keep(other, 'tour-alerts');
  await go(other, at('ledger'));
  await sees(other, /no_path [1-9]/);
  await next(/Chicago is back/);
  await sees(map, /chicago us-central reachable/);
  await sees(map, /new-york → chicago up/);
  await go(other, at('alerts'));
  await sees(other, /Nothing is wrong/);
});

test('a link that is cut is seen as down though another may be made, and as up again', async () => {
  await next(/between New York and Chicago is cut/);
  await sees(map, /new-york → chicago down/);
  await sees(other, /The link from new-york to chicago is down/);
  await keep(map, 'tour-cut');
  await next(/The link is mended/);
  await sees(map, /new-york → chicago up/);
  await sees(other, /Nothing is wrong/);
});

test('a lane that is flooded is seen in its link, and is quiet when that is over', async () => {
  await next(/Lane 7, for bulk, is flooded/);
  await go(other, at('link', 'new-york', 'chicago'));
  await sees(other, /\b7 (?:[\d.]+K|[1-9]\d\d)\/s/);
  await keep(other, 'tour-flood');
  await next(/The flood is over/);
  await sees(other, /\b7 0\/s/);
});

test('a schema that is broken is seen in the counters of the hub and among the subjects', async () => {
  await next(/Orders that break their schema/);
  await go(other, at('schemas'));
  await sees(other, /Subject Topics/);
  await sees(other, /tour-orders tour\/orders\/\*\* reject/);
  await go(other, at('hub', 'new-york'));
  await sees(other, /schema\.rejected [1-9]/);
  await keep(other, 'tour-schema');
  await next(/That was the tour/);
  assert.deepEqual([...map.wrong, ...other.wrong], []);
});
