"""A session of the page holds no more after many updates than after one."""

import asyncio

import gradio as gr
import pytest
from gradio.context import LocalContext
from gradio.state_holder import SessionState

from app.page.layout import keep_ids

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("update", [gr.skip(), gr.update(choices=["a", "b", "c"])])
def test_a_component_that_is_updated_and_read_again_is_filed_once(update):
    keep_ids()
    keep_ids()
    with gr.Blocks() as blocks:
        chosen, shown = gr.Dropdown(["a", "b"], value="a"), gr.HTML()
        chosen.change(lambda name: (update, f"<b>{name}</b>"), chosen, [chosen, shown])
    (look,) = blocks.fns.values()
    state = SessionState(blocks)
    filed = set(state.blocks_config.blocks)

    async def looks():
        LocalContext.blocks.set(blocks)
        LocalContext.blocks_config.set(state.blocks_config)
        for _ in range(4):
            told = await blocks.process_api(look, ["b"], state=state)
            assert told["data"][1] == "<b>b</b>"

    asyncio.run(looks())
    assert set(state.blocks_config.blocks) == filed
    assert set(state.config_values) == filed
