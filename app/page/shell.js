// The header of the page: which part and stream are shown, and the state of that stream.
// Out: 'look', repeatedly, with what is on the screen. In: props.told, what the server knows;
// props.chosen, a stream that was just added and is now to be shown.
const page = window.vstream, find = (selector) => element.querySelector(selector);
const LOOK_MS = 500, HIDDEN_MS = 10000, SILENT_MS = 8000;
const EXAMPLES = {
  words: ['a red car, or: a car is parked', 'a burger, or: a burger is there now'],
  condition: ['a car is in the drive', 'there is a burger'],
};
const chooser = find('#stream'), pill = find('#state'), age = find('#age'), said = find('#said');
const ages = new Map();  // by stream: when its newest frame was captured, by this page's clock
let heardAt = performance.now(), lookedAt = 0, missed = 0;

const streams = () => page.told?.streams ?? [];
page.find = (name) => streams().find((one) => one.name === name);
page.isHeard = () => performance.now() - heardAt < SILENT_MS && !page.told?.problem;
page.stateOf = (stream) => page.isHeard() || page.told?.loading ? stream : { kind: 'bad', words: 'disconnected' };
page.ageOf = (name) => ages.has(name) ? length((performance.now() - ages.get(name)) / 1000) : '';
function length(s) {
  return s < 10 ? `${s.toFixed(1)} s` : s < 120 ? `${s.toFixed(0)} s` :
    s < 7200 ? `${(s / 60).toFixed(0)} min` : s < 172800 ? `${(s / 3600).toFixed(1)} h` : `${(s / 86400).toFixed(0)} days`;
}
const put = (node, words) => { if (node.textContent !== words) node.textContent = words; };

function look() {
  const now = performance.now();
  if (now - lookedAt < (document.hidden ? HIDDEN_MS : LOOK_MS - 50)) return;
  lookedAt = now;
  trigger('look', { part: document.body.dataset.part, stream: page.stream, has: page.pictures?.() ?? {},
    shown: document.querySelector('#live figure')?.dataset.of ?? '' });
}
function draw() {
  const told = page.told, loading = told?.loading, one = page.find(page.stream);
  const { kind, words } = loading ? { kind: 'calm', words: 'loading' }
    : page.isHeard() ? one ?? { kind: 'calm', words: told ? 'no stream' : 'opening' } : page.stateOf(one);
  if (pill.textContent !== words) {
    pill.textContent = words;
    pill.className = `pill ${kind}`;
    put(said, page.stream ? `${page.stream}: ${words}` : words);
  }
  pill.dataset.state = page.isHeard() ? loading ? 'loading' : one?.state ?? 'none' : 'lost';
  document.body.classList.toggle('is-lost', !page.isHeard() && !loading);
  const old = page.ageOf(page.stream);
  put(age, loading ? '' : old ? `newest frame ${old} old` : one ? 'no frame yet' : '');
  drawBanners(told, loading, one);
}
function drawBanners(told, loading, one) {
  const bar = find('.banner.loading'), problem = find('.banner.trouble'), model = find('.banner.model');
  bar.hidden = !loading;
  if (loading) {
    const since = Math.round(loading.for_s + (performance.now() - heardAt) / 1000);
    put(bar.querySelector('span'), `Loading model ${loading.model}, ${since} s`);
  }
  const why = loading ? '' : told?.problem || (page.isHeard() ? '' : 'The connection to the server is lost');
  problem.hidden = !why;
  if (why) put(problem, `${why}. Trying again …`);
  model.hidden = !told?.model?.knows || !one || one.is_sample || document.body.dataset.part === 'cameras';
  if (!model.hidden) put(model, `Model ${told.model.id} knows ${told.model.knows}. ${told.model.real_model || 'For real scenes, start the service with --model.'}`);
  const count = told?.unseen ?? 0, badge = find('.unseen');
  badge.hidden = !count;
  put(badge, count > 99 ? '99+' : String(count));
  badge.setAttribute('aria-label', `${count} unseen`);
}
function drawChooser() {
  const names = streams().map((one) => one.name);
  if (page.stream && !names.includes(page.stream)) names.push(page.stream);
  if (JSON.stringify([...chooser.options].map((one) => one.value)) !== JSON.stringify(names))
    chooser.replaceChildren(...names.map((name) => new Option(name, name)));
  chooser.value = page.stream;
  chooser.disabled = !names.length;
}
function drawOf() {  // match the examples to the stream
  const isSample = Boolean(page.find(page.stream)?.is_sample);
  if (document.body.classList.contains('of-sample') === isSample) return;
  document.body.classList.toggle('of-sample', isSample);
  for (const [field, texts] of Object.entries(EXAMPLES)) {
    const input = document.querySelector(`#${field} :is(input, textarea)`);
    if (input) input.placeholder = texts[isSample ? 1 : 0];
  }
}
function drawParts() {
  for (const link of element.querySelectorAll('a')) {
    link.setAttribute('href', page.address(link.dataset.part));
    if (link.closest('nav') && link.dataset.part === document.body.dataset.part) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

chooser.addEventListener('change', () => page.choose(chooser.value));
page.on('stream', () => {
  drawOf();
  drawChooser();
  drawParts();
  draw();
  lookedAt = 0;
  look();
});
page.on('part', () => { drawParts(); draw(); lookedAt = 0; look(); });
page.on('told', () => {
  const offered = streams();
  missed = offered.some((one) => one.name === page.stream) ? 0 : missed + 1;
  const isKnown = !page.told.problem && !page.told.loading;
  if (page.told.begun) { page.choose(page.told.begun); page.show('live'); }
  else if (isKnown && (missed > 1 || !page.stream)) page.choose(offered[0]?.name ?? '');
  drawOf();
  drawChooser();
  drawParts();
  draw();
});
watch('told', () => {
  const told = JSON.parse(props.told), now = performance.now();
  heardAt = now;
  told.streams ??= streams();  // the service did not answer: keep the last known streams
  if (!told.problem) for (const one of told.streams)
    if (one.age_s === null) ages.delete(one.name); else ages.set(one.name, now - 1000 * one.age_s);
  page.told = told;
  page.tell('told');
});
watch('chosen', () => {
  const { stream } = JSON.parse(props.chosen);
  page.choose(stream);
  page.show('live');
  missed = -1;  // the next reply may predate this stream
});
drawChooser();
drawParts();
draw();
look();
setInterval(look, LOOK_MS);
setInterval(draw, 200);
