// Replace the text on Gradio's camera button by ours.
const OURS = 'Use this camera';
function say() {
  for (const one of document.querySelectorAll('#camera button .wrap'))
    for (const node of one.childNodes)
      if (node.nodeType === Node.TEXT_NODE && node.data.trim() && node.data.trim() !== OURS) node.data = ` ${OURS}`;
}
const finding = setInterval(() => {
  const room = document.querySelector('#camera');
  if (!room) return;
  clearInterval(finding);
  new MutationObserver(say).observe(room, { childList: true, subtree: true });
  say();
}, 200);
