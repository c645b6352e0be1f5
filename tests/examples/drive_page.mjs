// Does in headless Chromium what a user does on the page, and prints what came of it as JSON.
// node drive_page.mjs CHROMIUM MODULES URL JOBS: JOBS are {photo, model, save, shots} as JSON, in one page in turn.

import { createRequire } from 'node:module';

const [chromium, modules, url, jobs] = process.argv.slice(2);
const playwright = createRequire(`${modules}/`)('playwright-core');
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await playwright.chromium.launch({ executablePath: chromium, headless: true, args: flags });
const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
const found = { requests: [], errors: [], results: [] };
page.on('request', (request) => found.requests.push([request.method(), request.url()]));
page.on('pageerror', (error) => found.errors.push(String(error)));
await page.goto(url);
for (const { photo, model, save, shots } of JSON.parse(jobs)) {
  await page.selectOption('#model', model);
  await page.setInputFiles('#photo', photo);
  await page.waitForSelector('body.done, body.failed', { timeout: 300_000 });
  found.results.push(await page.textContent('#status'));
  if (save && (await page.isVisible('#save'))) {
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
    await download.saveAs(save);
    found.name = download.suggestedFilename();
  }
  for (const width of shots ?? []) {
    await page.setViewportSize({ width, height: 900 });
    await page.screenshot({ path: `${save}.${width}.png`, fullPage: true });
  }
}
await browser.close();
console.log(JSON.stringify(found));
