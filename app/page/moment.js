// window.vstreamMoment.show({src, title, text, stream, at_s}): show a moment in a dialog, as its picture
// and, once loaded, as a clip of the minute around it. Escape, the cross or a click outside close it.
// Left and right step through pictures, up and down through the moments listed with it. A click on any
// button.moment shows it; the button's value holds its time and stream.
// Out: 'play' with stream, at_s (or t, clock time), by (pictures to step) and number.
// In: props.clip as JSON, with that number.
window.vstreamMoment ??= (() => {
  const BEFORE_S = 4, HALF_S = 30, JUST_AFTER_S = 0.02;
  const dialog = document.createElement('dialog');
  dialog.id = 'moment';
  dialog.setAttribute('aria-labelledby', 'moment-title');
  dialog.innerHTML = `
    <style>
      #moment-part { display: none; }
      #moment { border: 0; border-radius: 12px; padding: 12px; max-width: 96vw; max-height: 96vh;
        width: 744px; box-sizing: border-box; margin: auto; background: var(--background-fill-primary, #fff);
        color: var(--body-text-color, #111); font: 15px/1.45 var(--font, sans-serif); }
      #moment::backdrop { background: rgb(0 0 0 / 70%); }
      #moment img, #moment video { display: block; width: 100%; max-height: 62vh; object-fit: contain;
        background: #000; border-radius: 6px; }
      #moment [hidden] { display: none !important; }
      #moment h2 { margin: 8px 0 0; font-size: 1.05rem; color: inherit; overflow-wrap: anywhere; }
      #moment p { margin: 2px 0 0; overflow-wrap: anywhere; min-height: 1.45em; }
      #moment .deeds { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 10px; }
      #moment .deeds > * { min-height: 44px; min-width: 44px; padding: 0 12px; border-radius: 8px; font: inherit;
        cursor: pointer; color: inherit; display: inline-flex; align-items: center; justify-content: center;
        text-decoration: none; box-sizing: border-box; border: 1px solid currentcolor; background: none; }
      #moment .deeds > :hover { background: var(--background-fill-secondary, #eee); }
      #moment .deeds > :disabled { opacity: 0.45; cursor: default; }
      #moment :focus-visible { outline: 3px solid var(--color-accent, #0d9488); outline-offset: 2px; }
      #moment .deeds > .close { margin-left: auto; }
    </style>
    <img><video controls muted playsinline hidden aria-label="the minute around this moment"></video>
    <h2 id="moment-title"></h2><p class="text"></p><p class="said" role="status"></p>
    <div class="deeds" role="group" aria-label="this moment">
      <button type="button" data-moments="-1" aria-label="previous moment" title="previous moment (up)">«</button>
      <button type="button" data-by="-1" aria-label="previous picture" title="previous picture (left)">◀</button>
      <button type="button" data-by="1" aria-label="next picture" title="next picture (right)">▶</button>
      <button type="button" data-moments="1" aria-label="next moment" title="next moment (down)">»</button>
      <button type="button" class="ask">Ask only about this minute</button>
      <a class="link">Copy link</a><a class="download">Download</a>
      <button type="button" class="close" aria-label="close" title="close (Escape)">✕</button>
    </div>`;
  document.body.append(dialog);
  const find = (selector) => dialog.querySelector(selector);
  const picture = find('img'), video = find('video'), said = find('.said');
  let shown = null;  // the moment
  let clip = null;  // its clip, once loaded
  let listed = [], number = 0;

  function clock(timeS) {
    const whole = Math.floor(timeS + 1e-6), two = (part) => String(part).padStart(2, '0');
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  }
  function say(moment) {
    find('h2').textContent = moment.title || (moment.at_s === undefined ? 'A moment' : clock(moment.at_s));
    find('.text').textContent = moment.text || '';
    picture.alt = [moment.title, moment.text].filter(Boolean).join(', ');
  }
  function show(moment, among = []) {
    shown = moment;
    listed = among;
    leaveClip();
    picture.src = moment.src ?? '';
    picture.hidden = !moment.src;
    say(moment);
    offer();
    if (!dialog.open) dialog.showModal();
    if (moment.stream) play(0);
  }
  function leaveClip() {
    video.pause();
    video.removeAttribute('src');
    video.hidden = true;
    if (clip) URL.revokeObjectURL(clip.url);
    clip = null;
  }
  const name = () => clip?.name ?? shown.stream;  // the page's name for the stream
  function offer() {  // show the buttons that work with what is loaded so far
    const here = window.vstream?.stream ?? document.querySelector('#stream input')?.value;
    const canChoose = Boolean(window.vstream?.choose) || name() === here;
    find('.ask').hidden = !(shown.at_s >= 0 && canChoose && window.vstreamPick);
    for (const button of dialog.querySelectorAll('[data-moments]')) {
      button.hidden = listed.length < 2;
      button.disabled = !beside(Number(button.dataset.moments));
    }
    for (const button of dialog.querySelectorAll('[data-by]')) button.hidden = !shown.stream;
    const link = find('.link'), download = find('.download');
    link.hidden = !clip?.link;
    download.hidden = !clip;
    if (clip?.link) link.href = clip.link;
    if (clip) Object.assign(download, { href: clip.url, download: clip.file });
  }

  // ---- the clip ----
  function play(by) {
    number += 1;
    said.textContent = 'Loading the clip …';
    const { stream, at_s, t } = shown;
    trigger('play', { stream, at_s, t, by, number });
  }
  function take(told) {
    if (told?.number !== number || !dialog.open) return;
    said.textContent = told.problem ?? '';
    if (told.problem) return;
    if (clip) URL.revokeObjectURL(clip.url);
    const bytes = Uint8Array.from(atob(told.mp4), (letter) => letter.charCodeAt(0));
    clip = { ...told, mp4: null, url: URL.createObjectURL(new Blob([bytes], { type: 'video/mp4' })) };
    shown.at_s = told.at_s;
    if (told.by || !shown.text) say(Object.assign(shown, { title: clock(told.at_s), text: told.text }));
    offer();
    const isStill = Boolean(told.by) || matchMedia('(prefers-reduced-motion: reduce)').matches;
    const place = told.at_s - told.from_s;
    video.src = clip.url;
    video.currentTime = Math.max(0, isStill ? place + JUST_AFTER_S : place - BEFORE_S);
    if (!isStill) video.play().catch(() => {});  // a browser may require a click first
  }
  video.addEventListener('loadeddata', () => { picture.hidden = true; video.hidden = false; });
  video.addEventListener('error', () => {
    if (!clip) return;
    video.hidden = true;
    picture.hidden = !shown.src;
    said.textContent = 'This browser cannot play the clip (H.264), but you can download it.';
  });

  // ---- to the next picture or moment ----
  function step(by) {
    if (!shown?.stream) return;
    if (!clip) return play(by);
    const now = Math.max(0, video.currentTime), { times, from_s } = clip;
    const at = times.findLastIndex((timeS) => timeS <= now + JUST_AFTER_S / 2) + by;
    video.pause();
    if (!(at in times)) {
      shown.at_s = from_s + times[by < 0 ? 0 : times.length - 1];
      return play(by);
    }
    said.textContent = '';
    video.currentTime = times[at] + JUST_AFTER_S;
    shown.at_s = from_s + times[at];
    say(Object.assign(shown, { title: clock(shown.at_s), text: `${clock(shown.at_s)} of the stream` }));
  }
  const beside = (by) => listed[listed.indexOf(shown?.button) + by];
  function go(by) {
    const button = beside(by);
    if (button) show(of(button), listed);
  }
  function of(button) {  // the moment of a button.moment
    const small = button.querySelector('img'), [, at, stream] = /^([\d.]+) (.+)$/.exec(button.value) ?? [];
    return { button, src: small?.src, text: small?.alt ?? '', stream, at_s: at && Number(at) };
  }
  document.addEventListener('click', (event) => {
    const button = event.target.closest?.('button.moment');
    if (!button?.querySelector('img')) return;
    const list = button.closest('.moments, .firings, .entries');
    show(of(button), list ? [...list.querySelectorAll('button.moment')] : []);
  });

  // ---- the other buttons ----
  find('.close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
  dialog.addEventListener('close', () => {
    number += 1;  // ignore what still arrives
    leaveClip();
    const query = new URLSearchParams(location.search);
    if (!query.has('t')) return;
    for (const part of ['stream', 't']) query.delete(part);  // the page no longer shows this moment
    history.replaceState(null, '', `${location.pathname}${query.size ? `?${query}` : ''}${location.hash}`);
  });
  for (const button of dialog.querySelectorAll('[data-by]'))
    button.addEventListener('click', () => step(Number(button.dataset.by)));
  for (const button of dialog.querySelectorAll('[data-moments]'))
    button.addEventListener('click', () => go(Number(button.dataset.moments)));
  find('.link').addEventListener('click', (event) => {  // without https the link just opens
    if (!navigator.clipboard) return;
    event.preventDefault();
    navigator.clipboard.writeText(event.currentTarget.href).then(() => { said.textContent = 'Link copied'; });
  });
  find('.ask').addEventListener('click', () => {
    const stream = name(), { at_s } = shown;
    dialog.close();
    window.vstream?.choose(stream);
    window.vstream?.show('ask');
    window.vstreamPick([Math.max(0, at_s - HALF_S), at_s + HALF_S]);
    document.querySelector('#question textarea, #question input')?.focus();
  });
  // Capture the key first: elsewhere on the page, Escape stops an answer.
  window.addEventListener('keydown', (event) => {
    if (!dialog.open || event.ctrlKey || event.metaKey || event.altKey) return;
    const deed = {
      Escape: () => dialog.close(),
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      ArrowUp: listed.length > 1 && (() => go(-1)),
      ArrowDown: listed.length > 1 && (() => go(1)),
    }[event.key];
    if (!deed) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    deed();
  }, true);

  watch('clip', () => take(JSON.parse(props.clip)));
  const wanted = new URLSearchParams(location.search);
  if (wanted.get('stream') && wanted.get('t')) {
    window.vstream?.choose(wanted.get('stream'));
    window.vstream?.show('live');
    show({ title: wanted.get('stream'), text: '', stream: wanted.get('stream'), t: wanted.get('t') });
  }
  return { show };
})();
