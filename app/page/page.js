() => {
  const click = (id) => document.querySelector(`button#${id}, #${id} button`)?.click();
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !document.querySelector('dialog[open]')) click('stop');
  });
  // Gradio labels a message with its whole HTML; whoever is read to should hear its words.
  new MutationObserver(() => {
    for (const one of document.querySelectorAll('#chat [aria-label*="<"]')) {
      one.setAttribute('aria-label', one.innerText);
    }
  }).observe(document.body, { childList: true, subtree: true });
  if (!navigator.mediaDevices) document.body.classList.add('has-no-camera');

  // A moment that is clicked is shown larger, with what its button has to say of it.
  const larger = document.createElement('dialog');
  larger.id = 'larger';
  larger.innerHTML = '<img alt=""><p></p><form method="dialog"><button>Close</button></form>';
  document.body.append(larger);
  larger.addEventListener('click', (event) => event.target === larger && larger.close());
  document.addEventListener('click', (event) => {
    const moment = event.target.closest?.('button.moment');
    if (!moment) return;
    const picture = larger.querySelector('img');
    picture.src = moment.querySelector('img').src;
    picture.alt = larger.querySelector('p').textContent = moment.value;
    larger.showModal();
  });
}
