// List of conversations: one delegated listener for all buttons.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-conversation]");
  if (button) trigger("select", { conversation: button.dataset.conversation });
  else if (event.target.closest("button[data-more]")) trigger("select", { more: true });
});
