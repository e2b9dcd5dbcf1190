"""Baselines of the web page: the smallest possible Gradio apps.

python -m benchmarks._bare_gradio one-chatbot PORT
python -m benchmarks._bare_gradio chat-interface PORT BASE_URL
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
from huggingface_hub import AsyncInferenceClient


def one_chatbot() -> gr.Blocks:
    """Return an app of a chatbot and a prompt that does nothing."""
    with gr.Blocks() as blocks:
        gr.Chatbot()
        gr.Textbox()
    return blocks


def chat_interface(base_url: str) -> gr.Blocks:
    """Return Gradio's own chat, which streams from an OpenAI-compatible server and stores nothing."""
    client = AsyncInferenceClient(base_url=base_url, api_key="none")

    async def answer(message: str, _history: list[Any]) -> AsyncIterator[str]:
        text = ""
        stream = await client.chat_completion([{"role": "user", "content": message}], model="m", stream=True)
        async for chunk in stream:
            if chunk.choices and (piece := chunk.choices[0].delta.content):
                text += piece
                yield text

    return gr.ChatInterface(answer)


if __name__ == "__main__":
    kind, port, *rest = sys.argv[1:]
    blocks = {"one-chatbot": one_chatbot, "chat-interface": chat_interface}[kind](*rest)
    blocks.launch(server_name="127.0.0.1", server_port=int(port), quiet=True)
