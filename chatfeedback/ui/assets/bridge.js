// Bridge between the scripts of the page and the server, by one hidden component (ui/chat/bridge.py). A script registers
// for a field of the component's value, or sends a message, which is an event of the component.
(() => {
  const listeners = new Map(); // by field
  let told = {}; // the newest value
  let trigger = null; // sends an event of the component
  let opened = () => {};
  // Responses may overtake each other: an older value of the same page changes nothing.
  const isOld = (value) => value.page === told.page && value.number <= told.number;
  const receive = (text) => {
    const value = JSON.parse(text || "{}");
    if (!value.page || isOld(value)) return;
    const before = told;
    told = value;
    for (const [field, listener] of listeners) {
      if (value[field] === undefined || value[field] === before[field]) continue;
      try {
        listener(value[field]);
      } catch (error) {
        reportError(error); // the other fields are told all the same
      }
    }
  };
  const open = (sender) => {
    trigger = sender;
    opened();
  };
  window.chatfeedback.bridge = {
    on: (field, listener) => listeners.set(field, listener),
    send: (message, data = {}) => trigger?.(message, { message, ...data }),
    isOpen: () => trigger !== null,
    whenOpen: (listener) => { opened = listener; },
    open,
    receive,
  };
})();
