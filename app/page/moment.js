// window.vstreamMoment.show({src, title, text}): a moment's picture, large, over the page. Escape,
// a click or Enter closes it; move(src, moving) puts a moving one in its place meanwhile. Any button.moment with an <img> in it is shown so when it is clicked.
window.vstreamMoment ??= (() => {
  const dialog = document.createElement('dialog');
  dialog.id = 'moment';
  dialog.setAttribute('aria-label', 'a moment, larger');
  const style = document.createElement('style');
  style.textContent = `
    #moment { border: 0; border-radius: 12px; padding: 12px; max-width: 94vw; max-height: 94vh;
      margin: auto; cursor: zoom-out; background: var(--background-fill-primary, #fff);
      color: var(--body-text-color, #111); font: 15px/1.45 var(--font, sans-serif); }
    #moment::backdrop { background: rgb(0 0 0 / 70%); }
    #moment img { display: block; width: min(88vw, 900px); max-height: 74vh; object-fit: contain;
      background: #000; border-radius: 6px; }
    #moment b { display: block; margin-top: 8px; overflow-wrap: anywhere; }
    #moment p { margin: 2px 0 0; overflow-wrap: anywhere; }`;
  const picture = document.createElement('img');
  const title = document.createElement('b');
  const text = document.createElement('p');
  dialog.append(style, picture, title, text);
  document.body.append(dialog);
  dialog.addEventListener('click', () => dialog.close());
  // Before anybody else hears of it: elsewhere on the page Escape stops an answer.
  window.addEventListener('keydown', (event) => {
    if (!dialog.open || !['Escape', 'Enter', ' '].includes(event.key)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    dialog.close();
  }, true);
  function show(moment) {
    picture.src = moment.src;
    picture.alt = [moment.title, moment.text].filter(Boolean).join(', ');
    title.textContent = moment.title || '';
    text.textContent = moment.text || '';
    if (!dialog.open) dialog.showModal();
  }
  function move(still, moving) {
    if (dialog.open && picture.src === still) picture.src = moving;
  }
  document.addEventListener('click', (event) => {
    const shown = event.target.closest?.('button.moment');
    const small = shown?.querySelector('img');
    if (small) show({ src: small.src, text: shown.value || small.alt });
  });
  return { show, move };
})();
