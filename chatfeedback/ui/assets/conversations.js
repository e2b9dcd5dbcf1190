// The list of conversations: one listener for all its buttons.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-conversation]");
  if (button) trigger("select", { conversation: button.dataset.conversation });
  else if (event.target.closest("button[data-more]")) trigger("select", { more: true });
});
