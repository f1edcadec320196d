// Out: 'pause' (or resume), 'restart' and, once the user confirms, 'remove' of the chosen stream.
const page = window.vstream, pause = element.querySelector('[data-do=pause] span');
page.on('told', () => {
  const one = page.find(page.stream), words = one?.state === 'paused' ? 'Resume' : 'Pause';
  if (pause.textContent !== words) pause.textContent = words;
  element.querySelector('.controls').hidden = !one;
});
element.addEventListener('click', async (event) => {
  const deed = event.target.closest('button')?.dataset.do, one = page.find(page.stream);
  if (deed === 'pause') trigger('pause', { stream: page.stream });
  if (deed === 'restart') trigger('restart', { stream: page.stream });
  if (deed !== 'remove' || !one) return;
  const goes = one.memory ? `${one.name} and ${one.memory}` : one.name;
  const isSure = await page.confirm(`Delete ${goes}?`, 'This deletes everything it remembers and cannot be undone.', 'Delete');
  if (isSure) trigger('remove', { stream: one.name });
});
