// Answers the rating page as a person with two evenings would, and prints what was seen, as JSON.
//
// Reads a JSON from stdin: page (a file), profile (a folder), keys (by an item's videos, the keys to press), first (how many items
// the first evening has), answers (where the saved file goes) and screenshots (a folder, or null).
const { chromium } = require('playwright-core');
const fs = require('fs');
const path = require('path');
const { pathToFileURL } = require('url');

const request = JSON.parse(fs.readFileSync(0, 'utf8'));
const folder = path.dirname(request.page);
const requested = [], errors = [], places = [];

async function open() {
  const context = await chromium.launchPersistentContext(request.profile, {
    executablePath: request.browser, args: ['--no-sandbox', '--disable-gpu'], viewport: { width: 1280, height: 900 },
  });
  const page = context.pages()[0] ?? (await context.newPage());
  page.on('request', (made) => requested.push(made.url()));
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (said) => said.type() === 'error' && errors.push(said.text()));
  await page.goto(pathToFileURL(request.page).href);
  return [context, page];
}

const shot = (page, name) => request.screenshots && page.screenshot({ path: `${request.screenshots}/${name}.png` });

// The videos on the page as the plan names them; what the page shows of names must not tell them.
async function shown(page) {
  const files = await page.locator('video').evaluateAll((videos) => videos.map((video) => video.src));
  return files.map((url) => path.relative(folder, decodeURIComponent(new URL(url).pathname)));
}

async function answerOne(page) {
  places.push(await page.locator('#place').innerText());
  for (const key of request.keys[(await shown(page)).join(' ')]) await page.keyboard.press(key);
}

// How far the first video plays: it stops where the plan says, and begins again.
async function watch(page) {
  return page.locator('video').first().evaluate(async (video) => {
    let furthest = 0, restarts = 0, last = 0;
    for (const end = Date.now() + 4000; Date.now() < end;) {
      furthest = Math.max(furthest, video.currentTime);
      restarts += video.currentTime < last - 0.2;
      last = video.currentTime;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return { furthest, restarts, text: document.body.innerText };
  });
}

(async () => {
  let [context, page] = await open();
  await shot(page, 'start');
  await page.fill('#rater', request.rater);
  await page.keyboard.press('Enter');
  const played = await watch(page);
  await shot(page, 'single');
  for (let number = 0; number < request.first; number++) await answerOne(page);
  await context.close();

  [context, page] = await open();
  const resumed = { button: await page.locator('#begin').innerText(), rater: await page.inputValue('#rater') };
  await page.click('#begin');
  resumed.place = await page.locator('#place').innerText();
  while (await page.locator('#item').isVisible()) {
    if (places.length === request.pairShot) { await page.waitForTimeout(600); await shot(page, 'pair'); }
    await answerOne(page);
  }
  await shot(page, 'end');
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
  await download.saveAs(request.answers);
  const end = await page.locator('#end').innerText();
  await context.close();

  // Another browser, which knows nothing, goes on from the file.
  request.profile += '_other';
  [context, page] = await open();
  await page.setInputFiles('#file', request.answers);
  await page.locator('#end').waitFor();
  const carried = await page.locator('#end').innerText();
  await context.close();
  if (errors.length) throw new Error(errors.join('\n'));
  console.log(JSON.stringify({ played, resumed, places, end, carried, requested: requested.filter((url) => !url.startsWith('file:') && !url.startsWith('blob:')), name: download.suggestedFilename() }));
})().catch((error) => { console.error(error); process.exit(1); });
