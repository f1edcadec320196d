// Out: 'look'; 'delete' {alert}, once the user confirms.
const page = window.vstream;
const look = () => { if (document.body.dataset.part === 'alerts' && !document.hidden) trigger('look'); };
page.on('stream', () => setTimeout(look));
page.on('part', look);
setInterval(look, 2000);
element.addEventListener('click', async (event) => {
  const button = event.target.closest('.remove');
  if (!button) return;
  const title = `Delete the alert “${button.dataset.condition}”?`;
  if (await page.confirm(title, 'Its firings disappear from the inbox, too. This cannot be undone.', 'Delete'))
    trigger('delete', { alert: button.value });
});
