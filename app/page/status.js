// The age goes on between two looks, and also where no more come.
let since = performance.now();
watch('value', () => { since = performance.now(); });
setInterval(() => {
  const passed_s = (performance.now() - since) / 1000;
  element.classList.toggle('stale', passed_s > 8);
  const age = element.querySelector('.age');
  if (age) age.textContent = words(Number(age.dataset.age) + passed_s);
}, 200);
function words(s) {
  return s < 10 ? s.toFixed(1) + ' s' : s < 120 ? s.toFixed(0) + ' s' :
    s < 7200 ? (s / 60).toFixed(0) + ' min' : (s / 3600).toFixed(1) + ' h';
}
