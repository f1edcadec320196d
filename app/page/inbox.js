// Out: 'look' {limit, unseen}, 'see' with the id of one firing, or none for all.
const page = window.vstream, MORE = 24;
const wanted = { limit: MORE, unseen: false };
const look = () => { if (document.body.dataset.part === 'alerts' && !document.hidden) trigger('look', wanted); };
page.on('part', look);
setInterval(look, 2000);
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  const row = button.closest('li');
  if (button.classList.contains('see') || (button.classList.contains('moment') && row?.classList.contains('is-unseen')))
    trigger('see', { ...wanted, id: Number(row.dataset.id) });
  if (button.classList.contains('see-all')) trigger('see', wanted);
  if (button.classList.contains('only-unseen')) { wanted.unseen = !wanted.unseen; look(); }
  if (button.classList.contains('older')) { wanted.limit += MORE; look(); }
});
