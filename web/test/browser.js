// Opens pages in Debian's Chromium and keeps what must not happen: errors on the console, requests to
// another host, breaches of the content security policy.
import { chromium } from 'playwright-core';

/** A browser; its path in CHROMIUM if it is elsewhere. */
export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });

/** A page at an address of the mock, and a list of what went wrong there. */
export async function open(browser, url, hash = '', options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const wrong = [];
  const host = new URL(url).host;
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && wrong.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => wrong.push(`error: ${error.message}`));
  page.on('request', (request) => new URL(request.url()).host !== host && wrong.push(`foreign: ${request.url()}`));
  await page.goto(url + hash);
  return { page, wrong, context };
}
