// The server has stored the prompt that was sent.
watch("value", () => chatfeedback.draft.sent());
