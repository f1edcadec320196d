element.addEventListener('click', (event) => {
  const button = event.target.closest('.remove');
  if (button) trigger('delete', { watch: button.value });
});
