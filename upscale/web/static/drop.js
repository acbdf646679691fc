import {make, problem} from "./dom.js";

/** <upscale-drop max-bytes="..."> takes one file, uploads it, and says `uploaded` {token} or `cleared`. */
class Drop extends HTMLElement {
  connectedCallback() {
    this.input = make("input", {type: "file", accept: "audio/*,.mp3", "aria-label": "Audio file", onchange: () => {
      if (this.input.files.length) this.take(this.input.files[0]);
      this.input.value = "";
    }});
    this.heading = make("strong", {}, "Drop an MP3 here");
    this.note = make("span", {class: "up-note", role: "status"}, this.invitation());
    this.bar = make("i");
    const area = make("label", {class: "up-drop",
      ondragover: (event) => { event.preventDefault(); area.classList.add("over"); },
      ondragleave: () => area.classList.remove("over"),
      ondrop: (event) => {
        event.preventDefault();
        area.classList.remove("over");
        if (event.dataTransfer.files.length) this.take(event.dataTransfer.files[0]);
      },
    }, this.input, this.heading, this.note, make("span", {class: "up-bar"}, this.bar));
    this.area = area;
    this.replaceChildren(area);
  }

  get maxBytes() { return Number(this.getAttribute("max-bytes")); }

  invitation() {
    return `or click to choose · up to ${this.maxBytes / 2 ** 20} MB and ${this.getAttribute("max-minutes")} minutes`;
  }

  async take(file) {
    this.request?.abort();
    this.show(file.name, "");
    this.taken = file;
    await this.forget();
    if (this.taken !== file) return;  // another one was dropped meanwhile
    if (file.size > this.maxBytes) {
      return this.fail(`this file is larger than the ${this.maxBytes / 2 ** 20} MB that this page takes`);
    }
    this.area.classList.add("busy");
    const request = new XMLHttpRequest();  // fetch() cannot tell how much of an upload has gone
    this.request = request;
    request.open("POST", `upload?name=${encodeURIComponent(file.name)}`);
    request.upload.onprogress = (event) => this.progress(event.loaded / event.total);
    request.onerror = () => this.fail("the upload was broken off: try again");
    request.onload = async () => {
      if (request.status !== 200) return this.fail(await problem(new Response(request.response, {status: request.status})));
      const {token, name, bytes} = JSON.parse(request.response);
      this.show(name, `${(bytes / 2 ** 20).toFixed(1)} MB · ready to restore`);
      this.area.classList.add("ready");
      this.uploaded = true;
      this.say("uploaded", {token});
    };
    request.send(file);
  }

  /** Lets the file before go first: else a press on Restore during this upload would restore that one. */
  async forget() {
    if (!this.uploaded) return;
    this.uploaded = false;
    this.say("cleared");
    const button = () => document.querySelector("#restore:not([disabled])");
    for (let waited = 0; button() && waited < 5000; waited += 20) await new Promise((done) => setTimeout(done, 20));
  }

  progress(fraction) {
    this.bar.style.width = `${100 * fraction}%`;
    this.note.textContent = `uploading ${Math.round(100 * fraction)} %`;
  }

  fail(message) {
    this.show(this.heading.textContent, message);
    this.area.classList.add("failed");
    this.say("cleared");
  }

  show(title, note) {
    this.area.classList.remove("busy", "ready", "failed");
    this.heading.textContent = title;
    this.note.textContent = note;
  }

  say(name, detail = {}) { this.dispatchEvent(new CustomEvent(name, {detail, bubbles: true})); }
}

customElements.define("upscale-drop", Drop);
