// Where the messages stand. Gradio goes to the end whenever a reply grows, also under somebody who reads further up.
// Here the end is followed by whoever is at the end, or has just sent something or opened a conversation.
(() => {
  const NEAR = 60; // pixels
  const box = () => document.querySelector("#chatbot .bubble-wrap");
  const rows = () => [...document.querySelectorAll("#chatbot .message-row")];
  let following = true;
  let last = 0; // where they stood
  let earlier = null; // what was on the screen when earlier messages were asked for
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

  // A scroll event does not bubble, but is seen on its way down.
  document.addEventListener("scroll", (event) => {
    const messages = event.target;
    if (messages !== box()) return;
    // Only who goes up leaves the end: that it moves away from somebody who stays is a reply that grows.
    if (messages.scrollHeight - messages.scrollTop - messages.clientHeight < NEAR) following = true;
    else if (messages.scrollTop < last) following = false;
    last = messages.scrollTop;
  }, true);
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#earlier") || !box() || !rows().length) return;
    // The message that is the first now stays where it is, or comes to the middle when it is out of sight.
    const top = rows()[0].getBoundingClientRect().top - box().getBoundingClientRect().top;
    earlier = { count: rows().length, top: top > -40 ? top : box().clientHeight / 2 };
    following = false;
  }, true);

  const sizes = new ResizeObserver(() => settle());
  const watch = () => {
    for (const element of [box(), ...rows()]) if (element) sizes.observe(element); // what is observed already stays so
    settle();
  };
  Object.assign(window.chatfeedback, { scroll: { follow, watch } });
})();
