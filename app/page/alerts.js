// Out: delete {alert}.
element.addEventListener('click', (event) => {
  const button = event.target.closest('.remove');
  if (button) trigger('delete', { alert: button.value });
});
