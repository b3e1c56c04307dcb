// Loads workflows in ComfyUI's editor, presses Run or searches for nodes, and prints what can be seen, as JSON.
//
// Reads a JSON from stdin; conftest.py's Browser says what its keys are.
const { chromium } = require('playwright-core');
const fs = require('fs');

const request = JSON.parse(fs.readFileSync(0, 'utf8'));
const settings = { 'Comfy.TutorialCompleted': true, 'Comfy.VueNodes.Enabled': request.nodes2 };

const evaluate = (page, body) =>
  page.evaluate(`(() => { const app = window.app, graph = window.app.graph; ${body} })()`);

// In the page: whether the editor has loaded the workflow that it opens with.
function isOpen() {
  const editor = window.app?.graph && window.app.extensionManager;
  return Boolean(editor && !editor.spinner && editor.workflow.activeWorkflow);
}

async function openEditor(errors) {
  const browser = await chromium.launch({ executablePath: request.browser, args: ['--no-sandbox', '--disable-gpu'] });
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  page.on('pageerror', (error) => error.stack.includes('/extensions/framepack') && errors.push(error.stack));
  await page.goto(request.url);
  await page.waitForFunction(isOpen, null, { timeout: 300000 });
  await page.waitForTimeout(2000);
  await page.evaluate(async (values) => {
    for (const [name, value] of Object.entries(values)) {
      try { await window.app.extensionManager.setting.set(name, value); } catch { /* not a setting of this frontend */ }
    }
  }, settings);
  await page.keyboard.press('Escape');
  return [browser, page];
}

// Whether nothing is queued any more and the page shows what there is to show.
async function isOver(page) {
  const queue = await (await page.request.get(request.url + '/queue')).json();
  if (queue.queue_running.length || queue.queue_pending.length) return false;
  return !request.until || evaluate(page, request.until);
}

// Presses Run and waits until the run is over and the page has settled; gives what was seen meanwhile.
async function run(page, script) {
  const watched = [];
  await evaluate(page, script);
  await page.evaluate(() => window.app.queuePrompt(0, 1));
  await page.waitForTimeout(500);
  const latest = Date.now() + request.seconds * 1000;
  for (let settled = 0; !settled || Date.now() < settled;) {
    if (request.watch) watched.push(await evaluate(page, request.watch));
    if (!settled && (Date.now() > latest || (await isOver(page)))) settled = Date.now() + request.settle * 1000;
    await page.waitForTimeout(200);
  }
  if (request.watch) watched.push(await evaluate(page, request.watch));
  return watched;
}

async function visit(page, graph, number) {
  // The editor keeps what nodes showed by the workflow's name.
  await page.evaluate(([graph, name]) => window.app.loadGraphData(graph, true, true, name), [graph, `test ${number}`]);
  await page.waitForTimeout(1500);
  const before = (await evaluate(page, request.before)) ?? null;
  const watched = [];
  for (const script of request.runs) watched.push(...(await run(page, script)));
  const result = (await evaluate(page, request.probe)) ?? null;
  if (request.screenshots) await page.screenshot({ path: `${request.screenshots}/${number}.png` });
  return { before, watched, result };
}

// The names of the nodes that the search box lists for a text.
async function search(page, text) {
  await page.evaluate(() => window.app.extensionManager.command.execute('Workspace.SearchBox.Toggle'));
  await page.locator('input:focus').fill(text);
  await page.waitForTimeout(1500);
  const options = await page.locator('[role=option]').allInnerTexts();
  await page.evaluate(() => window.app.extensionManager.command.execute('Workspace.SearchBox.Toggle'));
  await page.waitForTimeout(500);
  return options.map((option) => option.split('\n')[0].trim()).filter(Boolean);
}

(async () => {
  const errors = [], visits = [], found = [];
  const [browser, page] = await openEditor(errors);
  for (const graph of request.graphs) visits.push(await visit(page, graph, visits.length));
  for (const text of request.searches) found.push(await search(page, text));
  if (errors.length) throw new Error(errors.join('\n'));
  console.log(JSON.stringify({ visits, found }));
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
