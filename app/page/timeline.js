// The history strip of one stream: draws it, and turns gestures into events of the page.
// In: props.value (the history), props.marks, props.found, props.moment, props.picked, as JSON.
// Out: 'look' with the range shown, 'peek' with a time, 'pick' with the range to ask about.
const page = window.vstream, find = (selector) => element.querySelector(selector);
const svg = find('svg'), tip = find('.history-tip'), empty = find('.history-empty');
const fields = { from: find('[name=from]'), to: find('[name=to]') };

const HEIGHT = 128, BARS_TOP = 22, BAND_TOP = 86, BAND = 14, FOUND_TOP = 72, FOUND = 12, AXIS_TOP = BAND_TOP + BAND;
const COLOURS = ['#e8710a', '#1a8fe3', '#1e9e5a', '#c2185b', '#8d6e00', '#00838f'];
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
const PHONE_PX = 500, NEAR_PX = 6, SHORTEST_S = 4, LOOK_MS = 1000, REST_MS = 120, PATIENCE_MS = 5000;
const MOST_PICTURES = 200, LEAST_CHANGE = 0.01, SHARE_OF_LARGEST = 0.35;

const NO_MARKS = { answers: [], firings: [] };
let history = null, marks = NO_MARKS, found = null, picked = null;
let view = null;  // {span, to}: to is null while it follows the present; null: show everything
const spans = () => found && found.stream === history?.stream ? found.spans : [];
let gesture = null, cursorS = null;
const pointers = new Map(), pictures = new Map();
let peeking = null, wanted = null;
let sent = [];  // ranges not yet echoed

// ---- time and place ----
const width = () => svg.clientWidth || 320;
const all = () => ({ from: history.kept_from_s, to: Math.max(history.now_s, history.kept_from_s + SHORTEST_S) });
function shown() {
  const whole = all();
  if (!view) return whole;
  const to = view.to ?? whole.to;
  return { from: to - view.span, to };
}
const xOf = (timeS, window_ = shown()) => width() * (timeS - window_.from) / (window_.to - window_.from);
const timeAt = (x) => { const { from, to } = shown(); return from + (to - from) * x / width(); };
const within = (timeS) => Math.min(all().to, Math.max(all().from, timeS));
function even(timeS) {  // round to a natural step of about four pixels
  const { from, to } = shown(), exact = 4 * (to - from) / width();
  const step = STEPS_S.findLast((one) => one <= exact) ?? 0.5;
  return within(Math.round(timeS / step) * step);
}
function clock(timeS) {
  const whole = Math.max(0, Math.floor(timeS + 1e-6)), two = (number) => String(number).padStart(2, '0');
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
function seconds(text) {  // parse 130, 2:10 or 0:02:10; NaN for anything else
  if (!/^\d+(:[0-5]?\d){0,2}(\.\d+)?$/.test(text)) return NaN;
  return text.split(':').reduce((sum, part) => 60 * sum + Number(part), 0);
}

// ---- drawing ----
function node(name, attributes, parent = svg) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}
const box = (kind, left, right, top, height, more = {}) =>
  node('rect', { class: kind, x: left, width: Math.max(1, right - left), y: top, height, ...more });
const line = (kind, x, top, bottom, more = {}) => node('line', { class: kind, x1: x, x2: x, y1: top, y2: bottom, ...more });

function draw() {
  svg.replaceChildren();
  empty.hidden = Boolean(history);
  element.dataset.shown = history ? JSON.stringify(shown()) : '';
  drawTools();
  drawLegend();
  if (!history) return;
  const stretch = shown(), isPhone = width() < PHONE_PX;
  svg.setAttribute('viewBox', `0 0 ${width()} ${HEIGHT}`);
  box('axis-room', 0, width(), AXIS_TOP, HEIGHT - AXIS_TOP);
  drawAxis(stretch, isPhone);
  drawKept(stretch, isPhone);
  marks.answers.slice().reverse().forEach((answer, at, { length }) => drawAnswer(answer, length - 1 - at, stretch));
  for (const span of spans()) drawSpan(span, stretch);
  for (const firing of marks.firings) drawFiring(firing, stretch);
  const now = xOf(history.now_s, stretch);
  if (now >= 0 && now <= width() + 1) {
    line('now', Math.min(now, width() - 1), 0, AXIS_TOP);
    node('text', { class: 'now-word', x: Math.min(now, width()) - 4, y: BARS_TOP + 10, 'text-anchor': 'end' }).textContent = 'now';
  }
  drawPicked(stretch);
  if (cursorS !== null) line('cursor', xOf(cursorS, stretch), 0, AXIS_TOP);
}
function drawAxis(stretch, isPhone) {
  const step = STEPS_S.find((one) => one * width() / (stretch.to - stretch.from) >= 62) ?? 86400;
  for (let timeS = Math.ceil(stretch.from / step) * step; timeS <= stretch.to; timeS += step) {
    const x = xOf(timeS, stretch);
    line('axis', x, AXIS_TOP, AXIS_TOP + 5);
    if (isPhone && Math.round(timeS / step) % 2) continue;  // on a phone, label every other tick
    const anchor = x < 24 ? 'start' : x > width() - 24 ? 'end' : 'middle';
    node('text', { x, y: AXIS_TOP + 19, 'text-anchor': anchor }).textContent = clock(timeS);
  }
}
function drawKept(stretch, isPhone) {
  let run = null;
  const close = () => run && box('kept', xOf(run[0], stretch), xOf(run[1], stretch), BAND_TOP, BAND);
  for (const [from, to] of history.parts) {
    if (run && from - run[1] < 0.5 * history.part_s) run[1] = to;
    else { close(); run = [from, to]; }
  }
  if (run) run[1] = Math.min(run[1], Math.max(history.kept_to_s, run[0]));
  close();
  // How much pictures differ depends on the model, so compare changes with the largest in sight.
  const seen = history.parts.filter((part) => part[3] >= stretch.from && part[3] <= stretch.to);
  const largest = Math.max(LEAST_CHANGE, ...seen.map((part) => part[2]));
  const changes = seen.filter((part) => part[2] >= SHARE_OF_LARGEST * largest && part[2] >= LEAST_CHANGE);
  changes.forEach(([, , change, timeS], at) => {
    if (isPhone && at % 2) return;  // and draw every other one
    line('change', xOf(timeS, stretch), BAND_TOP, AXIS_TOP, { 'stroke-opacity': change / largest });
  });
}
function drawAnswer(answer, age, stretch) {
  const best = Math.max(...answer.moments.map((one) => Math.abs(one[1])), 1e-9);
  const opacity = Math.max(0.25, [1, 0.6, 0.45, 0.35][age] ?? 0.25), half = age ? 1.5 : 2;
  const floor = spans().length ? FOUND_TOP - 2 : BAND_TOP;
  for (const [timeS, score] of answer.moments) {
    const height = (floor - BARS_TOP) * Math.max(0.04, score / best), x = xOf(timeS, stretch);
    if (x < -half || x > width() + half) continue;
    box('cited', x - half, x + half, floor - height, height, { fill: COLOURS[answer.number % COLOURS.length], opacity });
  }
}
function drawSpan(span, stretch) {
  const left = Math.max(0, xOf(span.from_s, stretch)), right = Math.min(width(), xOf(span.to_s, stretch));
  if (right >= left) box(span.is_whole ? 'found' : 'found unsure', left, Math.max(right, left + 3), FOUND_TOP, FOUND, { rx: 2 });
}
function drawFiring(firing, stretch) {
  const x = xOf(firing.at_s, stretch);
  if (x < -7 || x > width() + 7) return;
  node('path', { class: 'fired', d: `M${x} 1 l7 9 l-7 9 l-7 -9 z` });
}
function drawPicked(stretch) {
  const range = gesture?.range ?? picked;
  if (!range) return;
  const left = xOf(range[0], stretch), right = xOf(range[1], stretch);
  box('picked', left, right, 0, AXIS_TOP);
  line('picked-edge', left, 0, AXIS_TOP);
  line('picked-edge', right, 0, AXIS_TOP);
}
function drawTools() {
  const length = history ? all().to - all().from : 0;
  for (const button of element.querySelectorAll('[data-span]'))
    button.hidden = Number(button.dataset.span) >= length;
  find('[data-clear]').hidden = !picked;
  find('.history-range').classList.toggle('picked', Boolean(picked));
  document.body.classList.toggle('has-range', Boolean(picked));
  const said = picked ? `only from ${clock(picked[0])} to ${clock(picked[1])}` : '';
  const status = find('.history-range output');
  if (status.textContent !== said) status.textContent = said;  // or screen readers repeat it
}
function drawLegend() {
  const legend = find('.history-legend'), entries = marks.answers.slice(0, 3).map((answer) =>
    [COLOURS[answer.number % COLOURS.length], `read for “${answer.question}”`]);
  if (spans().length) entries.push(['#0d9488', `found: “${found.statement}”`]);
  if (marks.firings.length) entries.push(['#a142f4', 'alert fired']);
  if (history) entries.push(['#8794a6', 'in memory; ticks mark changes in the picture']);
  legend.replaceChildren(...entries.map(([colour, words]) => {
    const entry = document.createElement('span'), chip = document.createElement('i');
    chip.style.background = colour;
    entry.append(chip, words);
    return entry;
  }));
}

// ---- what is under the pointer ----
function markAt(x) {  // the nearest firing or retrieved moment, as {at_s, words}
  let nearest = null, distance = NEAR_PX;
  const consider = (timeS, words) => {
    const away = Math.abs(xOf(timeS) - x);
    if (away < distance) { distance = away; nearest = { at_s: timeS, words: words() }; }
  };
  for (const one of marks.firings)
    consider(one.at_s, () => `fired: ${one.condition} (${Math.round(100 * one.probability)} %)`);
  for (const answer of marks.answers)
    for (const [timeS, score] of answer.moments)
      consider(timeS, () => `score ${score.toFixed(2)} for “${answer.question}”`);
  return nearest;
}
function spotAt(x) {  // decides_s is the moment that Enter or a click shows
  const mark = markAt(x), span = mark ? null : spanAt(x);
  const quantum = Math.max(0.1, 4 * (shown().to - shown().from) / width());
  const timeS = mark?.at_s ?? within(Math.round(timeAt(x) / quantum) * quantum);
  return { at_s: timeS, decides_s: span?.at_s ?? timeS, words: (mark ?? span)?.words ?? '', x };
}
function spanAt(x) {  // the span under x, or the nearest one, as short spans are hard to hit
  const away = (span) => Math.max(xOf(span.from_s) - x, x - xOf(span.to_s), 0);
  const [nearest] = spans().toSorted((one, other) => away(one) - away(other));
  return nearest && away(nearest) < NEAR_PX ? nearest : null;
}
const enlarge = (x) => { const spot = spotAt(x); peek({ ...spot, at_s: spot.decides_s, isLarge: true }); };
let resting = null;
function hover(x) {
  const spot = spotAt(x), picture = pictures.get(spot.at_s);
  cursorS = spot.at_s;
  tip.hidden = false;
  tip.style.left = `${Math.min(Math.max(0, x - 88), Math.max(0, width() - 176))}px`;
  tip.querySelector('b').textContent = clock(spot.at_s);
  tip.querySelector('span').textContent = [picture?.text, spot.words].filter(Boolean).join(' · ');
  const image = tip.querySelector('img');
  image.hidden = !picture?.src;
  if (picture?.src) image.src = picture.src;
  clearTimeout(resting);
  if (!picture) resting = setTimeout(() => peek({ ...spot, isLarge: false }), REST_MS);
  draw();
}
function leave() {
  clearTimeout(resting);
  if (tip.hidden && cursorS === null) return;
  tip.hidden = true;
  cursorS = null;
  draw();
}
function peek(spot) {  // one request at a time; only the newest waits
  const known = pictures.get(spot.at_s);
  if (known) return void show(spot, known);
  if (peeking && performance.now() < peeking.until) {
    if (!wanted?.isLarge || spot.isLarge) wanted = spot;
    return;
  }
  peeking = { ...spot, until: performance.now() + PATIENCE_MS };
  trigger('peek', { at_s: spot.at_s });
}
function show(spot, picture) {
  if (spot.isLarge && picture.src)
    window.vstreamMoment.show({
      src: picture.src, title: clock(spot.at_s), text: [picture.text, spot.words].filter(Boolean).join(' · '),
      stream: history.stream, at_s: spot.at_s,
    });
  else if (!tip.hidden && cursorS === spot.at_s) hover(spot.x);
}

// ---- zoom, pan, pick ----
const LOOKING = { due: null };
function look() {
  clearTimeout(LOOKING.due);
  LOOKING.due = null;
  const parts = Math.round(Math.min(240, Math.max(40, width() / 4)));
  const has = Boolean(history);
  trigger('look', view && has ? { ...shown(), parts, has, follows: view.to === null } : { parts, has });
}
function moved() {  // redraw at once, fetch soon
  draw();
  LOOKING.due ??= setTimeout(look, 150);
}
function showStretch(span, to) {
  const whole = all(), length = whole.to - whole.from;
  if (!(span < length)) view = null;
  else {
    span = Math.max(SHORTEST_S, span);
    view = { span, to: to >= whole.to - span / 1000 ? null : Math.max(whole.from + span, to) };
  }
  moved();
}
function zoom(factor, x = width()) {  // keep x in place
  const { from, to } = shown(), span = (to - from) / factor, timeS = timeAt(x);
  showStretch(span, timeS + span * (1 - x / width()));
}
function pick(range) {
  picked = range;
  draw();
  const [from_s, to_s] = (range ?? [0, 0]).map((timeS) => Math.round(10 * timeS) / 10);
  sent.push(`${from_s} ${to_s}`);
  trigger('pick', { from_s, to_s });
}
window.vstreamPick = (range) => { pick(range); fillFields(); };
function fillFields(range = picked) {
  for (const [name, at] of [['from', 0], ['to', 1]]) {
    fields[name].value = range ? clock(range[at]) : '';
    fields[name].removeAttribute('aria-invalid');
  }
}
function readFields() {
  const from = fields.from.value.trim(), to = fields.to.value.trim();
  for (const [field, text] of [[fields.from, from], [fields.to, to]])
    if (text && Number.isNaN(seconds(text))) return field.setAttribute('aria-invalid', 'true');
  if (!from && !to) return clear();
  const range = [from ? seconds(from) : 0, to ? seconds(to) : Math.ceil(history?.now_s ?? 0)];
  if (range[1] <= range[0]) return fields.to.setAttribute('aria-invalid', 'true');
  for (const field of Object.values(fields)) field.removeAttribute('aria-invalid');
  pick(range);  // leave the fields as typed: the user may already be in the other one
}
function clear() {
  pick(null);
  fillFields();
}

const placeOf = (event) => {
  const room = svg.getBoundingClientRect();
  return { x: Math.min(room.width, Math.max(0, event.clientX - room.left)), y: event.clientY - room.top };
};
svg.addEventListener('pointerdown', (event) => {
  if (!history || event.button) return;
  const { x, y } = placeOf(event);
  pointers.set(event.pointerId, x);
  svg.setPointerCapture(event.pointerId);
  if (pointers.size === 2) {
    const [one, other] = pointers.values();
    gesture = { kind: 'pinch', apart: Math.max(10, Math.abs(one - other)), moved: true };
  } else gesture = { kind: y >= AXIS_TOP ? 'pan' : 'pick', x, at: timeAt(x), to: shown().to, moved: false };
});
svg.addEventListener('pointermove', (event) => {
  if (!history) return;
  const { x } = placeOf(event);
  if (pointers.has(event.pointerId)) pointers.set(event.pointerId, x);
  if (!gesture) return event.pointerType === 'mouse' ? hover(x) : undefined;
  if (gesture.kind === 'pinch') {
    const [one, other] = pointers.values();
    if (other === undefined) return;
    const apart = Math.max(10, Math.abs(one - other));
    zoom(apart / gesture.apart, (one + other) / 2);
    gesture.apart = apart;
    return;
  }
  if (!gesture.moved && Math.abs(x - gesture.x) < 5) return;
  gesture.moved = true;
  leave();
  if (gesture.kind === 'pan') {
    const { from, to } = shown();
    showStretch(to - from, gesture.to - (to - from) * (x - gesture.x) / width());
  } else {
    gesture.range = [gesture.at, timeAt(x)].map(even).sort((a, b) => a - b);
    fillFields(gesture.range);
    draw();
  }
});
svg.addEventListener('pointerup', (event) => {
  pointers.delete(event.pointerId);
  const done = gesture;
  gesture = null;
  if (!done || done.kind === 'pinch') return;
  if (!done.moved && done.kind === 'pick') enlarge(done.x);
  if (done.range?.[1] > done.range?.[0]) pick(done.range);
  else if (done.range) fillFields();
  draw();
});
svg.addEventListener('pointercancel', (event) => {
  pointers.delete(event.pointerId);
  gesture = null;
  fillFields();
  draw();
});
svg.addEventListener('pointerleave', () => gesture || leave());
svg.addEventListener('blur', leave);
svg.addEventListener('wheel', (event) => {
  if (!history || (event.deltaY > 0 && !view)) return;  // fully zoomed out: let the page scroll
  event.preventDefault();
  if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    const { from, to } = shown();
    showStretch(to - from, to + (to - from) * event.deltaX / width());
  } else zoom(Math.exp(-event.deltaY / 400), placeOf(event).x);
}, { passive: false });
svg.addEventListener('keydown', (event) => {
  if (!history || event.ctrlKey || event.metaKey || event.altKey) return;
  const by = { ArrowLeft: -8, ArrowRight: 8, PageDown: 80, PageUp: -80 }[event.key];
  if (by) hover(Math.min(width(), Math.max(0, (cursorS === null ? width() / 2 : xOf(cursorS)) + by)));
  else if (event.key === 'Enter' && cursorS !== null) enlarge(xOf(cursorS));
  else if (event.key === '+' || event.key === '=') zoom(2);
  else if (event.key === '-') zoom(0.5);
  else if (event.key === '0') showStretch(Infinity);
  else return;
  event.preventDefault();
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if ('clear' in button.dataset) return clear();
  if (!history) return;
  if (button.dataset.zoom) zoom(Number(button.dataset.zoom));
  else showStretch(Number(button.dataset.span) || Infinity, all().to);
});
for (const field of Object.values(fields)) field.addEventListener('change', readFields);

// ---- updates from the page ----
const ours = (told) => told?.stream === page.stream ? told : null;  // ignore the previous stream
watch('value', () => { history = ours(JSON.parse(props.value || 'null')); draw(); });
watch('marks', () => { marks = ours(JSON.parse(props.marks)) ?? NO_MARKS; draw(); });
page.on('stream', () => {
  history = view = found = peeking = wanted = null;
  marks = NO_MARKS;
  pictures.clear();
  leave();
  if (picked) clear();
  draw();
  look();
});
watch('found', () => { found = JSON.parse(props.found); draw(); });
watch('picked', () => {
  const [from, to] = JSON.parse(props.picked), at = sent.indexOf(`${from} ${to}`);
  sent = sent.slice(at + 1);
  if (at >= 0) return;  // our own echo; another range may have been picked since
  picked = to > from ? [from, to] : null;
  fillFields();
  draw();
});
watch('moment', () => {
  const told = ours(JSON.parse(props.moment)), asked = peeking, next = wanted;
  if (!told) return;
  if (pictures.size >= MOST_PICTURES) pictures.delete(pictures.keys().next().value);
  pictures.set(told.at_s, told);
  if (asked?.at_s !== told.at_s) return;
  peeking = wanted = null;
  show(asked, told);
  if (next) peek(next);
});
new ResizeObserver(() => draw()).observe(svg);
draw();
if (page.stream) look();
page.on('part', () => svg.clientWidth && look());
setInterval(() => document.hidden || !svg.clientWidth || look(), LOOK_MS);
