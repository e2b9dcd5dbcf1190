// Renders the messages. The server sends the HTML of each, block by block (ui/chat/markdown.py). Gradio's chatbot holds
// the stored texts for Copy and Edit; its own rendering of them is hidden (chat.css).
(() => {
  const { bubbleOf, contentOf, rows } = chatfeedback.gradio;
  const drawn = new Map(); // rendered messages, by selector of the chatbot
  const blocksOf = new WeakMap(); // HTML blocks of each message element

  // KaTeX is loaded with the first formula. If it cannot be loaded, formulas stay as written.
  let katex = null;
  const loadKatex = () => {
    const [script, style] = document.querySelector("meta[name=chatfeedback-katex]")?.content.split(" ") ?? [];
    if (!script) return Promise.reject(new Error("no KaTeX"));
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: style });
    document.head.append(link);
    return import(new URL(script, document.baseURI)).then((module) => module.default);
  };
  const drawFormula = (element) => {
    katex ??= loadKatex();
    katex.then((library) => {
      const displayMode = element.classList.contains("cf-display");
      library.render(element.dataset.tex, element, { displayMode, maxSize: 20, trust: false, strict: "ignore" });
    }).catch((error) => console.info(`A formula stays as it was written: ${error.message}`));
  };

  const drawBlocks = (message, blocks) => {
    const before = blocksOf.get(message) ?? [];
    let same = 0;
    while (same < before.length && same < blocks.length && before[same] === blocks[same]) same += 1;
    while (message.children.length > same) message.lastElementChild.remove();
    for (const html of blocks.slice(same)) {
      const block = document.createElement("div");
      block.className = "cf-block";
      block.innerHTML = html;
      message.append(block);
      block.querySelectorAll(".cf-math").forEach(drawFormula);
    }
    blocksOf.set(message, [...blocks]);
  };

  const drawMessage = (row, { id, blocks, sentence }) => {
    row.dataset.message = id;
    const content = contentOf(row);
    if (!content) return; // the message is being edited
    let message = content.querySelector(":scope > .cf-message");
    if (!message) {
      message = Object.assign(document.createElement("div"), { className: "cf-message" });
      content.append(message);
    }
    row.classList.toggle("cf-sentence", Boolean(sentence));
    drawBlocks(message, blocks);
  };

  const drawAll = (chatbot) => {
    const shown = rows(chatbot);
    (drawn.get(chatbot) ?? []).forEach((one, index) => shown[index] && drawMessage(shown[index], one));
  };

  const draw = (chatbot, messages) => {
    drawn.set(chatbot, messages ?? []);
    setTimeout(() => drawAll(chatbot)); // after the chatbot has applied the same update, so that its buttons fit
  };

  // Render again after each change by the chatbot, before the next paint: new texts, and the new element of an edited
  // message.
  new MutationObserver((changes) => {
    for (const chatbot of drawn.keys()) {
      const root = document.querySelector(chatbot);
      const isOurs = ({ target }) => target.closest?.(".cf-message");
      if (root && changes.some((change) => root.contains(change.target) && !isOurs(change))) drawAll(chatbot);
    }
  }).observe(document.documentElement, { childList: true, subtree: true });

  // A text selection must not open the panel. A click that may be the first of a double click, which selects a word,
  // waits for the second. A click by keyboard has no `detail`; nor has the delayed click.
  const DOUBLE_CLICK = 250; // milliseconds
  let waiting = 0;
  document.addEventListener("click", (event) => {
    const message = event.target.closest?.(".cf-message");
    const bubble = message && bubbleOf(message);
    if (!bubble || !event.detail || event.target.closest(".cf-copy, a")) return;
    clearTimeout(waiting);
    const selects = event.detail > 1 || !getSelection().isCollapsed;
    if (selects || event.pointerType !== "touch") event.stopPropagation();
    if (!selects && event.pointerType !== "touch") waiting = setTimeout(() => bubble.click(), DOUBLE_CLICK);
  }, true);

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.(".cf-copy");
    if (!button) return;
    event.stopPropagation(); // must not open the panel
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.classList.add("cf-copied");
    setTimeout(() => button.classList.remove("cf-copied"), 2000);
  }, true);

  // Id of the message that was clicked last: another message may be there when the server handles the click.
  let clicked = "";
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#chatbot")) return;
    // The buttons of a message follow its row.
    const isBefore = (row) => row.compareDocumentPosition(event.target) & Node.DOCUMENT_POSITION_FOLLOWING;
    clicked = rows().findLast(isBefore)?.dataset.message ?? "";
  }, true);

  Object.assign(window.chatfeedback, { messages: { clicked: () => clicked, draw } });
})();
