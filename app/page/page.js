() => {
  const click = (id) => document.querySelector(`button#${id}, #${id} button`)?.click();
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !document.querySelector('dialog[open]')) {
      click('stop');
      click('stop-finding');
    }
  });
  // Gradio labels a message with its whole HTML; whoever is read to should hear its words.
  new MutationObserver(() => {
    for (const one of document.querySelectorAll('#chat [aria-label*="<"]')) {
      one.setAttribute('aria-label', one.innerText);
    }
  }).observe(document.body, { childList: true, subtree: true });
  if (!navigator.mediaDevices) document.body.classList.add('has-no-camera');
}
