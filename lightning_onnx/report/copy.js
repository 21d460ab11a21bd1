// A button beside each block of code; without a script, or without a clipboard, the page has none.
if (navigator.clipboard) {
  for (const code of document.querySelectorAll("pre")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.onclick = async () => {
      await navigator.clipboard.writeText(code.innerText);
      button.textContent = "Copied";
    };
    code.before(button);
  }
}
