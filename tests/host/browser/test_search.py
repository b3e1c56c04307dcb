"""The nodes are found by what people type into the editor's search box."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.host, pytest.mark.timeout(1800)]
BY_NAME = {
    "framepack": "FramePack Sampler",
    "transition": "FramePack Transition Preset",
    "framepack lora": "FramePack LoRA Loader",
}
BY_SEARCH_WORD = {
    "prompt schedule": "FramePack Prompt Timeline",
    "prompt change": "FramePack Prompt Timeline",
    "scene change": "FramePack Transition Preset",
    "long video": "FramePack Sampler",
    "image to video": "FramePack Sampler",
    "hunyuan": "FramePack Sampler",
    "save video": "FramePack Decode",
    "kisekaeichi": "FramePack One Frame Sampler",
}


@pytest.fixture(scope="module")
def listed(browser):
    """The nodes that are listed for each text."""
    texts = [*BY_NAME, *BY_SEARCH_WORD]
    return dict(zip(texts, browser.search(texts)))


@pytest.mark.parametrize("text", BY_NAME)
def test_a_node_is_found_by_a_part_of_its_name(listed, text):
    assert BY_NAME[text] in listed[text]


@pytest.mark.parametrize("text", BY_SEARCH_WORD)
def test_a_node_is_found_by_a_search_word(listed, server, text):
    if not server.get("/object_info/FramePackDecode")["FramePackDecode"].get("search_aliases"):
        pytest.skip("this version of ComfyUI does not pass search words on")
    assert BY_SEARCH_WORD[text] in listed[text]
