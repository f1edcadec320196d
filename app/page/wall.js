// All cameras: picture, state, age and last alert of each; a click opens its stream.
// In: props.pictures, the new ones, as {name: {src, taken_at}}.
const page = window.vstream, wall = element.querySelector('.wall'), cards = new Map();
const put = (node, words) => { if (node.textContent !== words) node.textContent = words; };

page.pictures = () => Object.fromEntries([...cards].map(([name, card]) => [name, card.takenAt]));
function made(name) {
  const item = document.createElement('li'), link = document.createElement('a');
  link.className = 'camera';
  link.innerHTML = '<span class="still"><img alt="" hidden><i>No picture yet</i></span><span class="name"><b></b><span class="pill"></span></span>'
    + '<span class="old"></span><span class="last"></span><span class="why"></span>';
  link.querySelector('b').textContent = name;
  item.append(link);
  return { item, link, image: link.querySelector('img'), takenAt: null };
}
function draw() {
  const streams = page.told?.streams ?? [];
  const isEmpty = Boolean(page.told) && !streams.length && !page.told.loading && !page.told.problem;
  element.querySelector('.wall-empty').hidden = !isEmpty;
  document.body.classList.toggle('is-empty', isEmpty);
  for (const [name, card] of cards)
    if (!streams.some((one) => one.name === name)) { card.item.remove(); cards.delete(name); }
  for (const one of streams) {
    if (!cards.has(one.name)) { cards.set(one.name, made(one.name)); wall.append(cards.get(one.name).item); }
    const { link } = cards.get(one.name), { kind, words } = page.stateOf(one), old = page.ageOf(one.name);
    link.href = page.address('live', one.name);
    const pill = link.querySelector('.pill');
    put(pill, words);
    if (pill.className !== `pill ${kind}`) pill.className = `pill ${kind}`;
    put(link.querySelector('.old'), old ? `newest frame ${old} old` : 'no frame yet');
    put(link.querySelector('.last'), one.alert ? `${one.alert.condition}, ${one.alert.at}` : 'no alerts yet');
    put(link.querySelector('.why'), page.isHeard() ? one.problem : '');
    link.classList.toggle('has-alert', Boolean(one.alert));
    link.classList.toggle('is-old', kind === 'bad' || kind === 'warn');
  }
}
const adding = element.querySelector('.add-camera');
adding.addEventListener('click', () => {
  const isAdding = document.body.classList.toggle('is-adding');
  adding.setAttribute('aria-expanded', String(isAdding));
  if (isAdding) document.querySelector('#source-part').scrollIntoView({ block: 'nearest' });
});
page.on('told', draw);
watch('pictures', () => {
  for (const [name, { src, taken_at }] of Object.entries(JSON.parse(props.pictures))) {
    const card = cards.get(name);
    if (!card) continue;
    card.image.src = src;
    card.image.hidden = false;
    card.takenAt = taken_at;
  }
});
setInterval(draw, 500);
