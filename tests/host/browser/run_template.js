// node run_template.js PLAYWRIGHT CHROMIUM URL TEMPLATE NODES_2: runs a template of the pack in ComfyUI's interface.
//
// Prints a JSON list of what could be seen, in the order of time: {videos: [{file, seconds, width, shown}], texts: [...]}.
const [playwright, chromium, url, template, nodes2] = process.argv.slice(2)
const seen = []

function look() {
  const videos = [...document.querySelectorAll('video')].map((video) => ({
    file: new URL(video.currentSrc || 'http://none/').searchParams.get('filename'),
    seconds: video.readyState > 0 ? video.duration : 0,
    width: video.videoWidth,
    shown: Math.round(video.getBoundingClientRect().width)
  }))
  const nodes = window.app.graph._nodes.filter((node) => node.type === 'FramePackTransitionsSampler')
  const widgets = nodes.flatMap((node) => (node.widgets || []).filter((widget) => /text-preview/.test(widget.name)))
  return { videos, texts: widgets.map((widget) => String(widget.value)) }
}

async function main() {
  const browser = await require(playwright).chromium.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu'] })
  const page = await browser.newPage({ viewport: { width: 1800, height: 900 } })
  await page.goto(url)
  await page.waitForFunction(() => window.app && window.app.graph && window.app.extensionManager, null, { timeout: 180000 })
  await page.waitForTimeout(4000)
  await page.evaluate(async (nodes2) => {
    for (const [name, value] of [['Comfy.TutorialCompleted', true], ['Comfy.VueNodes.Enabled', nodes2]])
      try { await window.app.extensionManager.setting.set(name, value) } catch { /* an older interface */ }
  }, nodes2 === 'true')
  await page.keyboard.press('Escape')
  const graph = await (await page.request.get(`${url}/api/workflow_templates/framepack-transitions/${template}.json`)).json()
  await page.evaluate((graph) => window.app.loadGraphData(graph), graph)
  await page.waitForTimeout(2000)
  await page.keyboard.press('Escape')
  await page.evaluate((seed) => {
    for (const node of window.app.graph._nodes) {
      for (const widget of node.widgets || []) if (widget.name === 'seed') widget.value = seed
    }
    // Videos are only loaded where they are in view.
    const nodes = window.app.graph._nodes, view = window.app.canvas.ds, width = Math.max(...nodes.map((node) => node.pos[0] + node.size[0]))
    view.scale = 1700 / width
    view.offset[0] = 0
    view.offset[1] = 100 / view.scale
    window.app.canvas.setDirty(true, true)
  }, Date.now() % 1000000)
  await page.evaluate(() => window.app.queuePrompt(0, 1))
  const end = Date.now() + 400000
  for (let over = false, left = 8; left > 0 && Date.now() < end; left -= over) {
    const state = await page.evaluate(look)
    if (JSON.stringify(state) !== JSON.stringify(seen.at(-1))) seen.push(state)
    const queue = await (await page.request.get(`${url}/api/queue`)).json()
    over = !queue.queue_running.length && !queue.queue_pending.length
    await page.waitForTimeout(over ? 500 : 150)
  }
  await browser.close()
  console.log(JSON.stringify(seen))
}

main().catch((error) => { console.error(error); process.exit(1) })
