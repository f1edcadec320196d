// Out: 'example' {text}; 'forget', the chat about this stream. Keeps the newest answer in sight.
const page = window.vstream, exchanges = element.querySelector('.exchanges');
element.addEventListener('click', (event) => {
  const example = event.target.closest('.example');
  if (example) trigger('example', { text: example.textContent });
  if (event.target.closest('.clear-chat')) trigger('forget');
});
const end = () => { exchanges.scrollTop = exchanges.scrollHeight; };
let isAtEnd = true;
exchanges.addEventListener('scroll', () => {
  isAtEnd = exchanges.scrollHeight - exchanges.scrollTop - exchanges.clientHeight < 60;
});
watch('value', () => {
  if (isAtEnd) end();
  element.classList.toggle('is-running', Boolean(exchanges.querySelector('[aria-busy]')));
});
// A visitor with a keyboard who opens the page at a picture can type at once.
if (page.part === 'live' && matchMedia('(min-width: 1024px) and (pointer: fine)').matches)
  setTimeout(() => document.querySelector('#question :is(input, textarea)')?.focus({ preventScroll: true }));
page.on('stream', end);
page.on('part', end);
