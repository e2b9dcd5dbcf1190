// Date input: its value is the value of the component.
element.addEventListener("change", (event) => {
  props.value = event.target.value;
  trigger("input");
});
