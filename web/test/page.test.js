// Each view in a real browser against the mock: it shows what the mock has, without errors, foreign
// requests or serious faults of accessibility. Needs a build (`npm test` makes one) and Chromium.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { serve } from '../mock/server.js';
import { HOSTILE } from '../mock/mesh.js';
import { launch, open } from './browser.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let [mock, browser] = [];
before(async () => {
  mock = await serve();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await mock?.close();
});

/** Serious faults by axe-core, which is put in by the debugger, where the page's policy does not count. */
async function faults(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)).map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 120)).join(' | ')}`);
}

const at = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;
const VIEWS = [
  ['map', at('map'), ['frankfurt', 'out of reach', 'frankfurt → sydney']],
  ['graph', at('graph'), ['stockholm', 'draining']],
  ['hub', at('hub', 'tokyo'), ['ap-northeast', 'append', 'duplicates.mesh_blocks', 'off by 2']],
  ['link', at('link', 'frankfurt', 'sydney'), ['the other direction', 'events_out', 'orders']],
  ['topics', at('topics'), ['flights/cape-town/00007', 'gate-0 <b>screen</b>', 'and 12 more', 'No answer from cape-town', 'Who would take the events of a topic']],
  ['topic', at('topic', 'flights/tokyo/00002'), ['7 sessions, of which 2 are here', 'gate-1 <b>screen</b>', 'air/gate-1', 'No answer from cape-town', '<b>screens</b> (3 here)', 'frankfurt → sydney → tokyo', 'no path leads there']],
  ['streams', at('streams'), ['positions', 'copying: 12 behind']],
  ['stream', at('stream', 'orders'), ['billing-1 (60)', '1,001', '9007199254740993']],
  ['consumer', at('consumer', 'orders', 'billing'), ['billing-2', 'len > 3', '1,001']],
  ['ledger', at('ledger'), ['off by 2', 'Nobody wants the event', 'cape-town']],
  ['latency', at('latency'), ['published', 'append', 'Greatest', 'Round trip of each link', 'Age at delivery, by lane', 'lane 7']],
  ['latency of another hub', `${at('latency')}?hub=tokyo`, ['Percentiles are kept by each hub of itself alone', 'published']],
  ['tail', `${at('tail')}?filter=flights%2F%23`, ['<script>window.hacked=1</script>', 'position-value/2']],
  ['trace', `${at('trace')}?event=frankfurt%2F3%2F17`, ['from frankfurt', '1 dropped: expired', 'cape-town: no answer']],
  ['tenants', at('tenants'), ['flights/#', 'publish_events', 'sea']],
  ['policies', at('policies'), ['Who runs the mesh <b>may</b> all', 'permit (principal']],
  ['schemas', at('schemas'), ['position-value', 'reject']],
  ['schema', at('schema', 'position-value'), ['- "height"', '+ "altitude"', 'screen-of-tower']],
  ['alerts', at('alerts'), ['No path leads to hub cape-town', 'CONSUMER_LAG']],
];

for (const [name, hash, texts] of VIEWS) {
  for (const colorScheme of ['light', 'dark']) {
    test(`the view ${name} shows what the mesh has, in ${colorScheme}, and is accessible`, async () => {
      const { page, wrong, context } = await open(browser, mock.url, hash, { colorScheme, reducedMotion: 'reduce' });
      for (const text of texts) await page.locator('main').getByText(text).first().waitFor();
      assert.deepEqual(await faults(page), []);
      assert.equal(await page.evaluate(() => window.hacked), undefined);
      assert.deepEqual(wrong, []);
      await context.close();
    });
  }
}

test('the check of accessibility finds a fault that is there', async () => {
  const { page, context } = await open(browser, mock.url);
  await page.locator('h1').waitFor();
  await page.evaluate(() => document.body.append(document.createElement('select')));
  assert.notDeepEqual(await faults(page), []);
  await context.close();
});

test('a script in the page that the policy forbids is seen as wrong', async () => {
  const { page, wrong, context } = await open(browser, mock.url);
  await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'window.hacked = 1';
    document.body.append(script);
  });
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.match(wrong.join(), /Content Security Policy/);
  await context.close();
});

test('a hostile topic is opened and shown as text', async () => {
  const { page, wrong, context } = await open(browser, mock.url, at('topics'));
  await page.getByLabel('Topic', { exact: true }).fill(HOSTILE);
  await page.getByRole('button', { name: 'Who consumes it?' }).click();
  await page.getByText('<b>screens</b>').waitFor();
  assert.equal(await page.locator('h1').textContent(), `Topic ${HOSTILE}`);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.deepEqual(wrong, []);
  await context.close();
});

test('topics are found by a part of their name, by pages, and by keyboard', async () => {
  const { page, wrong, context } = await open(browser, mock.url, at('topics'));
  const main = page.locator('main');
  await main.getByRole('link', { name: HOSTILE }).waitFor();
  await page.getByRole('button', { name: 'Next page' }).press('Enter');
  await main.getByText('Page 2', { exact: true }).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Previous page' }).isEnabled(), true);
  await page.getByLabel('Find topics that contain').fill('tokyo/0000');
  await main.getByText('Page 1', { exact: true }).waitFor();
  await main.getByRole('link', { name: 'flights/tokyo/00002' }).waitFor();
  assert.equal(await main.locator('tbody tr').count(), 1);
  assert.equal(await page.getByRole('button', { name: 'Next page' }).isEnabled(), false);
  await main.getByRole('link', { name: 'flights/tokyo/00002' }).press('Enter');
  await page.getByRole('heading', { name: 'Who publishes' }).waitFor();
  assert.deepEqual(await page.locator('main h2').allTextContents(), ['Who publishes', 'Who consumes', 'Ways']);
  await page.goto(`${mock.url}${at('topics')}`);
  await page.getByLabel('Find topics that contain').fill('nothing of it');
  await page.getByText('Topics are listed that clients').waitFor();
  assert.deepEqual(wrong, []);
  await context.close();
});

test('all is reached by keyboard: skip link, navigation, a hub from the table', async () => {
  const { page, context } = await open(browser, mock.url);
  const focused = () => page.evaluate(() => document.activeElement?.textContent ?? '');
  await page.getByRole('link', { name: 'tokyo', exact: true }).waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'Skip to content');
  await page.keyboard.press('Enter');
  assert.equal(await focused(), 'Map');
  for (let n = 0; n < 40 && (await focused()) !== 'tokyo'; n += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByText('ap-northeast').waitFor();
  await page.waitForFunction(() => document.activeElement?.textContent === 'Hub tokyo');
  await context.close();
});

test('a replay shows events from where it was told to', async () => {
  const { page, wrong, context } = await open(browser, mock.url, at('stream', 'orders'));
  await page.getByLabel('From sequence').fill('4990');
  await page.getByRole('button', { name: 'Replay from here' }).click();
  await page.getByText('frankfurt/3/5000', { exact: true }).waitFor();
  assert.equal(await page.getByText('frankfurt/3/4989', { exact: true }).count(), 0);
  assert.deepEqual(wrong, []);
  await context.close();
});

test('a policy is explained', async () => {
  const { page, wrong, context } = await open(browser, mock.url, at('policies'));
  await page.getByLabel('Action').selectOption('administer');
  await page.getByLabel('Name', { exact: true }).fill('flights/#');
  await page.getByRole('button', { name: 'Explain' }).click();
  await page.getByText('No: no rule permits it').waitFor();
  await page.getByText('{"topic":"flights/#"} is of the tenant').waitFor();
  assert.deepEqual(await faults(page), []);
  assert.deepEqual(wrong, []);
  await context.close();
});

test('a click on a hub of the map opens it', async () => {
  const { page, context } = await open(browser, mock.url);
  await page.getByRole('link', { name: 'sydney', exact: true }).waitFor();
  const hit = await page.waitForFunction(() => {
    const canvas = document.querySelector('canvas');
    const box = canvas.getBoundingClientRect();
    for (let y = box.top; y < box.bottom; y += 8) {
      for (let x = box.left; x < box.right; x += 8) {
        canvas.dispatchEvent(new MouseEvent('mousemove', { clientX: x, clientY: y, bubbles: true }));
        if (canvas.title.startsWith('sydney')) return [x, y];
      }
    }
    return null;
  });
  await page.mouse.click(...(await hit.jsonValue()));
  await page.getByRole('heading', { name: 'Hub sydney' }).waitFor();
  await context.close();
});

test('who is not let in logs in, with a token or a name, and a wrong event name is told', async () => {
  const closed = await serve({ login: true });
  const { page, context } = await open(browser, closed.url, at('trace'));
  await page.getByRole('heading', { name: 'Log in' }).waitFor();
  assert.deepEqual(await faults(page), []);
  const sent = page.waitForRequest((request) => request.url().endsWith('/v1/mesh/login'));
  await page.getByLabel('Name').fill('operator');
  await page.getByLabel('Password').fill('gehéim');
  await page.getByRole('button', { name: 'Log in' }).click();
  const header = (await sent).headers().authorization;
  assert.equal(Buffer.from(header.slice(6), 'base64').toString(), 'operator:gehéim');
  assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length + document.cookie.length), 0);
  await page.getByRole('textbox', { name: 'Event:' }).fill('nonsense');
  await page.getByRole('button', { name: 'Where did it go?' }).click();
  await page.getByText('write HUB/SEQUENCE').waitFor();
  await context.close();
  await closed.close();
});

test('a hub that goes is asked again until it is back, and the page says so', async () => {
  const frail = await serve();
  const { page, context } = await open(browser, frail.url, at('alerts'));
  const status = page.locator('header [role=status]');
  await status.getByText('live').waitFor();
  await frail.close();
  await status.getByText('lost').waitFor();
  const again = await serve({ port: Number(new URL(frail.url).port) });
  await status.getByText('live').waitFor();
  await context.close();
  await again.close();
});

test('with 200 hubs the map draws and moves', async (t) => {
  const big = await serve({ hubs: 200 });
  const { page, wrong, context } = await open(browser, big.url, at('map'));
  await page.getByText('200 hubs').waitFor();
  await page.waitForFunction(() => document.querySelector('canvas')?.dataset.frames !== undefined);
  const frames = [];
  for (let n = 0; n < 5; n += 1) {
    await page.waitForTimeout(1100);
    frames.push(Number(await page.locator('canvas').getAttribute('data-frames')));
  }
  t.diagnostic(`frames a second with 200 hubs and ${big.mesh.links.length} links: ${frames.join(', ')}`);
  assert.ok(Math.max(...frames) > 0);
  assert.deepEqual(wrong, []);
  await context.close();
  await big.close();
});
