// What a message may not have, although Gradio 6.31 leaves it in. No script can come in by it, the policy of the page
// sees to that (web/hygiene.py); but it could act in the person's name: forms, links to what is no web page, areas that
// are links, and the ids by which the scripts here find, and press, what belongs to the page.
// It is taken out before anything of it is on the screen: an observer is called ahead of the next frame.
(() => {
  const TEXTS = "#chatbot .md, #analytics-conversation .md";
  const SCHEMES = ["http:", "https:", "mailto:"];
  const TAKEN_OUT = ["accesskey", "autofocus", "contenteditable", "for", "form", "formaction", "name", "ping", "usemap"];

  const MERMAID_ID = /^d?mermaid-/;

  const isLink = (address) => {
    try {
      return SCHEMES.includes(new URL(address, document.baseURI).protocol); // read as the browser will read it
    } catch {
      return false;
    }
  };

  const cleanLink = (element) => {
    for (const name of ["href", "xlink:href"]) {
      const address = element.getAttribute(name);
      if (address !== null && !isLink(address)) element.removeAttribute(name);
    }
    if (element.localName !== "a") return;
    // There is nothing in a message to go to; the page would be left for one without a conversation.
    if (element.getAttribute("href")?.startsWith("#")) element.removeAttribute("href");
    element.setAttribute("target", "_blank");
    element.setAttribute("rel", "noopener noreferrer");
  };

  const cleanElement = (element) => {
    if (element.localName === "area") return element.remove();
    if (element.localName === "form") return element.replaceWith(...element.childNodes);
    for (const name of TAKEN_OUT) element.removeAttribute(name);
    // What Mermaid draws refers to its own parts.
    const drawing = element instanceof SVGElement || MERMAID_ID.test(element.id);
    if (!drawing || !element.closest(".mermaid[data-processed]")) element.removeAttribute("id");
    if (element.localName !== "image") cleanLink(element);
  };

  const clean = (root) => [root, ...root.querySelectorAll("*")].forEach(cleanElement);

  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) {
        if (!(node instanceof Element)) continue;
        if (node.parentElement?.closest(TEXTS)) clean(node);
        else if (node.matches(TEXTS)) [...node.children].forEach(clean);
        else node.querySelectorAll(TEXTS).forEach((text) => [...text.children].forEach(clean));
      }
    }
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
