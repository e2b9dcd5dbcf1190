// A person who may not chat begins with the figures.
watch("value", () => {
  if (element.querySelector("nav[data-begins]")) trigger("click");
});
