// Scroll position of the messages. Gradio scrolls to the end whenever a reply grows, also for a person who reads
// further up. This script follows the end only if the person is there, has just sent a prompt or opened a conversation.
(() => {
  const NEAR = 60; // pixels
  const { rows, scrollBox: box } = chatfeedback.gradio;
  let following = true;
  let last = 0; // previous scroll position
  let earlier = null; // number of messages and position before earlier messages were requested
  let before = "";

  const follow = () => { following = true; settle(); };
  const settle = () => {
    const messages = box();
    if (!messages) return;
    const address = new URL(window.location.href).searchParams.get("conversation") ?? "";
    if (address !== before) {
      before = address;
      following = true;
    }
    if (earlier && rows().length > earlier.count) {
      const first = rows()[rows().length - earlier.count];
      const top = first.getBoundingClientRect().top - messages.getBoundingClientRect().top;
      messages.scrollBy({ top: top - earlier.top, behavior: "instant" });
      earlier = null;
    } else if (following && !earlier) {
      messages.scrollTo({ top: messages.scrollHeight, behavior: "instant" });
    }
  };

  // A scroll event does not bubble, so listen in the capture phase.
  document.addEventListener("scroll", (event) => {
    const messages = event.target;
    if (messages !== box()) return;
    // Only scrolling up leaves the end. If the end moves away from the position, the reply has grown.
    if (messages.scrollHeight - messages.scrollTop - messages.clientHeight < NEAR) following = true;
    else if (messages.scrollTop < last) following = false;
    last = messages.scrollTop;
  }, true);
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#earlier") || !box() || !rows().length) return;
    // Keep the first message at its position, or move it to the middle if it is out of sight.
    const top = rows()[0].getBoundingClientRect().top - box().getBoundingClientRect().top;
    earlier = { count: rows().length, top: top > -40 ? top : box().clientHeight / 2 };
    following = false;
  }, true);

  const sizes = new ResizeObserver(() => settle());
  const watch = () => {
    for (const element of [box(), ...rows()]) if (element) sizes.observe(element); // observing an element again has no effect
    settle();
  };
  Object.assign(window.chatfeedback, { scroll: { follow, watch } });
})();
