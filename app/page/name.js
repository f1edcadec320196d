// The name of the chosen stream as a value that events of the page take along. While the page is
// still being put together Gradio sets it back.
const name = () => { if (props.value !== window.vstream.stream) props.value = window.vstream.stream; };
window.vstream.on('stream', name);
window.vstream.on('told', name);
setTimeout(name);
