// Out: delete {condition}, play {at_s}. In: props.clip, {at_s, src} as JSON: the picture that a click
// showed large goes on moving, for those who do not mind.
let asked = null;
element.addEventListener('click', (event) => {
  const button = event.target.closest('.remove');
  if (button) trigger('delete', { alert: button.value });
  const moment = event.target.closest('.moment[data-at-s]');
  if (!moment || matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  asked = { at_s: Number(moment.dataset.atS), src: moment.querySelector('img').src };
  trigger('play', { at_s: asked.at_s });
});
watch('clip', () => {
  const told = JSON.parse(props.clip);
  if (told?.at_s === asked?.at_s) window.vstreamMoment.move(asked.src, told.src);
});
