// window.vstream: which stream and part of the page are shown. Elements name their stream in
// data-of, and one style rule hides those of every other stream before the next paint, so late
// updates of the previous stream are never seen.
window.vstream ??= (() => {
  const PARTS = ['cameras', 'live', 'ask', 'alerts', 'search', 'recap'];
  const WIDE = matchMedia('(min-width: 1024px)');
  const listeners = { stream: [], part: [], told: [] };
  const rules = document.createElement('style');
  document.head.append(rules);
  const page = { stream: '', part: 'cameras', told: null, choose, show, on, tell, confirm, address };

  function on(what, listener) { listeners[what].push(listener); }
  function tell(what) { for (const listener of listeners[what]) listener(); }
  function address(part = page.part, stream = page.stream) {  // with the path: Gradio sets a <base>
    const place = new URLSearchParams(stream ? { tab: part, stream } : { tab: part });
    return `${location.pathname}${location.search}#${place}`;
  }
  const isHere = () => location.href.endsWith(address());
  function choose(name) {
    if (name === page.stream) return;
    page.stream = name;
    const of = `[data-of=${JSON.stringify(name)}]`;
    rules.textContent = `[data-of]:not(${of}) { display: none !important; }
      body:has(#live ${of}) #live-blank, body:has(#chat ${of}) #chat-blank { display: none; }`;
    if (!isHere()) history.replaceState(null, '', address());
    tell('stream');
  }
  function show(part) {  // where there is room, the picture and the chat share the screen
    page.part = part;
    document.body.dataset.part = part === 'ask' && WIDE.matches ? 'live' : part;
    if (!isHere()) history.pushState(null, '', address());
    tell('part');
  }
  function go() {
    const place = new URLSearchParams(location.hash.slice(1)), part = place.get('tab');
    if (place.get('stream')) choose(place.get('stream'));
    show(PARTS.includes(part) ? part : place.get('stream') ? 'live' : 'cameras');
  }

  const dialog = document.createElement('dialog');
  dialog.id = 'confirm';
  dialog.setAttribute('aria-labelledby', 'confirm-title');
  dialog.innerHTML = `<form method="dialog"><h2 id="confirm-title"></h2><p></p><div class="choices">
    <button value="" autofocus>Cancel</button><button value="yes" class="destructive"></button></div></form>`;
  document.body.append(dialog);
  function confirm(title, text, verb) {  // resolves to whether the user agreed
    dialog.querySelector('h2').textContent = title;
    dialog.querySelector('p').textContent = text;
    dialog.querySelector('.destructive').textContent = verb;
    dialog.returnValue = '';
    dialog.showModal();
    return new Promise((said) => {
      dialog.addEventListener('close', () => said(dialog.returnValue === 'yes'), { once: true });
    });
  }

  document.addEventListener('click', async (event) => {
    const button = event.target.closest?.('button.copy');
    if (!button) return;
    const words = button.textContent;
    await copy(button.value);
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = words; }, 1500);
  });
  async function copy(text) {  // without https only execCommand can copy
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = document.createElement('textarea');
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand('copy');
    field.remove();
  }
  const click = (id) => document.querySelector(`button#${id}, #${id} button`)?.click();
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !document.querySelector('dialog[open]')) {
      click('stop');
      click('stop-finding');
      click('stop-recap');
    }
  });
  addEventListener('hashchange', go);
  WIDE.addEventListener('change', () => show(page.part));
  if (!navigator.mediaDevices) document.body.classList.add('has-no-camera');
  go();
  return page;
})();
