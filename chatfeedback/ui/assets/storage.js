// Text that the page keeps in this tab. Browsers limit it to a few megabytes for each site, and may forbid it.
(() => {
  // Return whether the value is stored. If it does not fit, the older value stays.
  const keep = (key, value) => {
    try {
      sessionStorage.setItem(key, value);
      return true;
    } catch (error) {
      if (error instanceof DOMException) return false;
      throw error;
    }
  };
  Object.assign(window.chatfeedback, { storage: { keep } });
})();
