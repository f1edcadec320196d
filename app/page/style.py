"""What the page looks like, and its keys: Enter asks, Escape stops."""

CSS = """
.status { padding: 6px 10px; border-radius: 8px; background: var(--background-fill-secondary);
  font-size: 0.9em; line-height: 1.5; }
.status.bad, .status .bad { color: #b3261e; }
.state.good { color: #146c2e; } .state.calm { color: var(--body-text-color-subdued); }
.dark .state.good { color: #7bd88f; } .dark .status.bad, .dark .status .bad { color: #ffb4ab; }
svg.timeline { width: 100%; height: auto; display: block; }
.timeline .kept { fill: #9aa7b8; } .timeline .change { stroke: #1b2430; stroke-width: 1.5; }
.timeline .cited { fill: #e8710a; } .timeline .fired { fill: #a142f4; }
.timeline .asked { fill: #4285f4; opacity: 0.18; }
.timeline text { font-size: 13px; fill: currentColor; }
.timeline.empty { padding: 20px; text-align: center; color: var(--body-text-color-subdued); }
#live img { object-fit: contain; }
#title h1 { margin: 0; } #title { flex-grow: 0; }
@media (max-width: 640px) {
  .gradio-container { padding: 6px !important; }
  #evidence .grid-container { grid-template-columns: repeat(4, 1fr) !important; }
  svg.timeline { min-height: 70px; }
}
"""

JS = """
() => {
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { document.querySelector('#stop button, button#stop')?.click(); }
  });
}
"""
