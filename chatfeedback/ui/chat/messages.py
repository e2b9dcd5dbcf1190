"""Layout of the messages: Gradio's chatbot with the stored texts, and beside it a component with their visible HTML.

Gradio's own Markdown is not used. It shows nothing of a message on which its highlighter fails, drops text that looks
like HTML, and takes text for mathematics (docs/adr/0014-messages-are-drawn-by-the-server.md).
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

_TAG_NAMES = """
a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big blink blockquote
body br button canvas caption center cite code col colgroup command content data datalist dd del details dfn
dialog dir div dl dt element em embed fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4
h5 h6 head header hgroup hr html i iframe image img input ins isindex kbd keygen label legend li link listing
main map mark marquee math menu menuitem meta meter multicol nav nextid nobr noembed noframes noscript object
ol optgroup option output p param picture plaintext portal pre progress q rb rp rt rtc ruby s samp script
search section select shadow slot small source spacer span strike strong style sub summary sup svg table tbody
td template textarea tfoot th thead time title tr track tt u ul var video wbr xmp
"""
HTML_TAGS = _TAG_NAMES.split()
"""All elements of HTML: Gradio's chatbot shows the tags in its `allow_tags` as text."""


def lay_out_messages(elem_id: str, **kwargs: Any) -> tuple[gr.Chatbot, gr.HTML]:
    """Lay out a chatbot and the component that renders its messages, whose value is `rendering.rendered_texts`."""
    chatbot = gr.Chatbot(
        show_label=False,  # the floating label would cover the first message; the title stands above
        height="100%",
        autoscroll=False,  # assets/scroll.js
        layout="bubble",
        group_consecutive_messages=False,
        render_markdown=False,
        latex_delimiters=[],
        allow_tags=HTML_TAGS,
        elem_id=elem_id,
        **kwargs,
    )
    # A component in a hidden column is created with its value, without a change event: so draw once at load.
    draw_js = f"const draw = () => chatfeedback.messages.draw({json.dumps(f'#{elem_id}')}, props.value);"
    messages = gr.HTML(
        [],
        html_template="",
        js_on_load=f'{draw_js} draw(); watch("value", draw);',
        visible="hidden",
        elem_id=f"{elem_id}-drawn",
    )
    return chatbot, messages
