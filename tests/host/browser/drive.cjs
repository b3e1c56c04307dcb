// Loads a workflow in ComfyUI's editor, presses Run, and prints what scripts say about the page, as JSON.
//
// Reads a JSON from stdin; conftest.py's Browser says what its keys are.
const { chromium } = require('playwright-core');
const fs = require('fs');

const request = JSON.parse(fs.readFileSync(0, 'utf8'));
const call = (body) => `(() => { const app = window.app, graph = window.app.graph; ${body} })()`;

async function isIdle(page) {
  const queue = await (await page.request.get(request.url + '/queue')).json();
  return !queue.queue_running.length && !queue.queue_pending.length;
}

(async () => {
  const browser = await chromium.launch({ executablePath: request.browser, args: ['--no-sandbox', '--disable-gpu'] });
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  await page.goto(request.url);
  await page.waitForFunction(() => window.app?.graph && window.app?.extensionManager, null, { timeout: 120000 });
  await page.waitForTimeout(2000);
  const settings = { 'Comfy.TutorialCompleted': true, 'Comfy.VueNodes.Enabled': request.nodes2 };
  await page.evaluate(async (values) => {
    for (const [name, value] of Object.entries(values)) {
      try { await window.app.extensionManager.setting.set(name, value); } catch { /* not a setting of this frontend */ }
    }
  }, settings);
  await page.keyboard.press('Escape');
  await page.evaluate((graph) => window.app.loadGraphData(graph, true, true, 'test'), request.graph);
  await page.waitForTimeout(1500);
  const before = request.before ? await page.evaluate(call(request.before)) : null;
  const watched = [];
  for (let run = 0; run < request.runs.length; run++) {
    await page.evaluate(call(request.runs[run] || ''));
    await page.evaluate(() => window.app.queuePrompt(0, 1));
    await page.waitForTimeout(500);
    const latest = Date.now() + request.seconds * 1000;
    for (let settled = 0; !settled || Date.now() < settled;) {
      if (request.watch) watched.push(await page.evaluate(call(request.watch)));
      if (!settled && (Date.now() > latest || (await isIdle(page)))) settled = Date.now() + request.settle * 1000;
      await page.waitForTimeout(200);
    }
    if (request.watch) watched.push(await page.evaluate(call(request.watch)));
  }
  const result = request.probe ? await page.evaluate(call(request.probe)) : null;
  if (request.screenshot) await page.screenshot({ path: request.screenshot });
  console.log(JSON.stringify({ before, watched, result, errors }));
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
