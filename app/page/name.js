// Keep the name of the chosen stream as a value, for events to take along. Gradio resets it while
// it is still building the page.
const name = () => { if (props.value !== window.vstream.stream) props.value = window.vstream.stream; };
window.vstream.on('stream', name);
window.vstream.on('told', name);
setTimeout(name);
