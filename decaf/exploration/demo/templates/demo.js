
"use strict";
// Photographs are sent one after the other, each once for every question; names of files stay here.
// All text is set as text, never as markup.
const at = (id) => document.getElementById(id);
const take = at("take").dataset;
const questions = take.questions.split(" ");
// Takes seconds, so it is asked when somebody wants to know.
const later = "places";
const queue = [];
let working = false;
let number = 0;

function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function say(text) {
  at("status").textContent = text;
}

function add(files) {
  const photographs = [...files].slice(0, Number(take.most));
  if (!photographs.length) return say("There was no photograph in that.");
  const left = files.length - photographs.length;
  queue.push(...photographs);
  if (left) say(`The first ${photographs.length} are taken, ${left} are left out.`);
  if (!working) work();
}

async function work() {
  working = true;
  while (queue.length) await answer(queue.shift());
  working = false;
}

async function answer(file) {
  const name = file.name || "a photograph";
  const heading = make("h2", {}, name);
  const article = make("article", { class: "answer", "aria-busy": "true" }, heading);
  article.setAttribute("aria-labelledby", (heading.id = `answer-${++number}`));
  at("answers").prepend(article);
  at("clear").hidden = false;
  say(`Looking at ${name} …`);
  let said = "";
  for (const question of questions.filter((each) => each !== later)) {
    if (!article.isConnected) return; // the answers were cleared
    try {
      const values = await ask(question, file);
      said = shown[question](article, values, file) || said;
    } catch (error) {
      article.append(make("p", { class: "error" }, `${name}: ${error.message}`));
      said = said || `${name}: ${error.message}`;
      if (question === questions[0]) break; // what cannot be read has no other answer either
    }
  }
  article.setAttribute("aria-busy", "false");
  if (!article.isConnected) return;
  say(said);
  if (questions.includes(later) && article.querySelector(".classes")) offerPlaces(article, file);
}

function offerPlaces(article, file) {
  const button = make("button", { type: "button" }, "Where did the network look?");
  button.addEventListener("click", async () => {
    button.disabled = true;
    say("Covering one part after the other …");
    try {
      say(shown[later](article, await ask(later, file)));
      button.remove();
    } catch (error) {
      say(error.message);
      button.disabled = false;
    }
  });
  article.append(make("p", { class: "ways" }, button));
}

function figure(uri, name, ...caption) {
  const picture = uri
    ? make("img", { src: uri, alt: name })
    : make("span", { class: "gone" }, `${name} is not there any more`);
  return make("figure", { title: name }, picture, make("figcaption", {}, ...caption));
}

async function ask(question, file) {
  if (!file.size) throw new Error("the file is empty");
  if (file.size > Number(take.maxBytes)) throw new Error(`has more than ${take.maxSize}`);
  let reply;
  try {
    // What is sent has no type and no name.
    reply = await fetch(question, { method: "POST", body: new Blob([file]) });
  } catch {
    throw new Error("the demo does not answer; is it still running, and the file still there?");
  }
  const values = await reply.json().catch(() => ({ error: `the answer was ${reply.status}` }));
  if (values.error) throw new Error(values.error);
  return values;
}

function percent(share) {
  return share >= 0.0995 ? `${(100 * share).toFixed(0)} %` : `${(100 * share).toFixed(1)} %`;
}

// How the answer to each question is shown; what is returned is read out.
const shown = {
  classes(article, values, file) {
    const sure = values.gives === "probability";
    const list = make("ol", { class: "classes", "aria-label": "Classes, the most probable first" });
    for (const [name, value] of values.classes) {
      const text = sure ? percent(value) : value.toFixed(2);
      const line = make("li", {}, make("span", {}, name), make("span", { class: "value" }, text));
      if (sure) {
        const fill = make("span", { class: "fill" });
        fill.style.width = `${100 * value}%`;
        line.append(make("span", { class: "track", "aria-hidden": "true" }, fill));
      }
      list.append(line);
    }
    const seen = make("img", { src: values.seen, alt: "The part that the network sees" });
    const caption = make("figcaption", {}, "What the network sees");
    const size = `${values.width} × ${values.height} pixels, ${values.format}`;
    article.firstChild.append(" ", make("span", { class: "size" }, size));
    article.append(make("div", { class: "says" }, make("figure", {}, seen, caption), list));
    const [first, value] = values.classes[0];
    return `${file.name || "The photograph"}: ${first}${sure ? `, ${percent(value)}` : ""}`;
  },

  nearest(article, values) {
    const pictures = make("div", { class: "pictures" });
    for (const image of values.images) {
      const cosine = `cosine ${image.cosine.toFixed(3)}`;
      const caption = image.class ? [image.class, make("br", {}), cosine] : [cosine];
      pictures.append(figure(image.picture, image.path, ...caption));
    }
    const title = `The nearest of ${values.searched} images, by ${values.layer}`;
    article.append(make("h3", {}, title), pictures);
  },

  units(article, values) {
    article.append(make("h3", {}, `The strongest units of ${values.layer}`));
    const about = `First where this photograph excites the unit, then what excites it most among ${values.images} images.`;
    article.append(make("p", { class: "caption" }, about));
    for (const unit of values.units) {
      const name = unit.name ? `Unit ${unit.unit}, ${unit.name}` : `Unit ${unit.unit}`;
      const share = `${(100 * unit.share).toFixed(0)} % of the mean of its strongest patches`;
      const pictures = make("div", { class: "pictures patches" });
      pictures.append(figure(unit.own, "This photograph", `here ${unit.activation.toFixed(1)}`));
      for (const patch of unit.patches) {
        pictures.append(figure(patch.picture, patch.path, patch.activation.toFixed(1)));
      }
      article.append(make("h4", {}, `${name}: `, make("span", { class: "size" }, share)), pictures);
    }
  },

  places(article, values) {
    const pictures = make("div", { class: "pictures places" });
    const captions = {
      occlusion: "Occlusion: orange where covering the part lowers the class, blue where it helps it",
      "gradient-times-input": "Gradient × input: orange pixels speak for the class, blue ones against it",
    };
    for (const [method, picture] of values.maps) {
      pictures.append(figure(picture, method, captions[method]));
    }
    article.append(make("h3", {}, `Where the network looked for ${values.class}`), pictures);
    return `Where the network looked for ${values.class} is shown.`;
  },
};

at("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = ""; // the same file can be chosen again
});

let inside = 0;
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    if (kind === "dragenter") inside += 1;
    if (kind === "dragleave") inside -= 1;
    if (kind === "drop") inside = 0;
    document.body.classList.toggle("dragging", inside > 0);
    if (kind === "drop") add(event.dataTransfer.files);
  });
}

document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) add(event.clipboardData.files);
  else say("There is no picture in the clipboard.");
});

if (navigator.clipboard?.read) {
  at("paste").hidden = false;
  at("paste").addEventListener("click", async () => {
    try {
      const found = [];
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((each) => each.startsWith("image/"));
        if (type) found.push(new File([await item.getType(type)], "the clipboard"));
      }
      if (found.length) add(found);
      else say("There is no picture in the clipboard.");
    } catch {
      say("The browser does not let this page read the clipboard; Ctrl-V on the page does.");
    }
  });
}

at("clear").addEventListener("click", () => {
  queue.length = 0;
  at("answers").replaceChildren();
  at("clear").hidden = true;
  say("");
  at("files").focus();
});

if (navigator.mediaDevices?.getUserMedia) {
  const video = at("video");
  const dialog = at("viewfinder");
  at("camera").hidden = false;
  at("camera").addEventListener("click", async () => {
    try {
      const wanted = { facingMode: "environment", width: { ideal: 1280 } };
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted });
      dialog.showModal();
      await video.play();
    } catch (error) {
      say(`There is no camera to use (${error.name}).`);
    }
  });
  // Also where it is closed by Escape.
  dialog.addEventListener("close", () => {
    for (const track of video.srcObject?.getTracks() || []) track.stop();
    video.srcObject = null;
  });
  at("leave").addEventListener("click", () => dialog.close());
  at("shoot").addEventListener("click", () => {
    if (!video.videoWidth) return;
    const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      dialog.close();
      add([new File([blob], "the camera")]);
    }, "image/png");
  });
}
