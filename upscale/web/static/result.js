import {Blind} from "./abx.js";
import {clock, make} from "./dom.js";
import {Engine, rangeSource} from "./engine.js";

const SIDES = ["Before", "After"];

/** <upscale-result token="..."> shows, plays and offers what came of a file. */
class Result extends HTMLElement {
  async connectedCallback() {
    this.base = `files/${this.getAttribute("token")}`;
    const response = await fetch(`${this.base}/about`);
    if (!response.ok || !this.isConnected) return;
    this.about = await response.json();
    const {sample_rate, channels, num_samples} = this.about;
    this.engine = new Engine({
      fetchFrames: rangeSource(`${this.base}/show/preview`, 4 * channels),
      sampleRate: sample_rate, channels, numSamples: num_samples, levels: levels(this.about.louder_db),
    });
    this.engine.addEventListener("change", () => this.update());
    this.engine.addEventListener("problem", (event) => { this.note.textContent = event.detail; });
    this.replaceChildren(...this.advice(), this.transport(), this.strips(), this.footer());
    const blind = new Blind({base: this.base, about: this.about, position: () => this.engine.position / sample_rate,
      quiet: () => this.engine.pause()});
    this.blind = blind;
    this.append(blind.element);
    this.keys = (event) => this.key(event);
    document.addEventListener("keydown", this.keys);
    this.update();
    this.follow();
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.keys);
    cancelAnimationFrame(this.frame);
    this.engine?.close();
    this.blind?.close();
  }

  get seconds() { return this.about.num_samples / this.about.sample_rate; }

  advice() {
    const {already_good} = this.about;
    if (!already_good) return [];
    return [make("p", {class: "up-advice"}, `This file was already good (${already_good}): ` +
      "the model was not made for it. Keep the restored one only if it sounds better to you.")];
  }

  transport() {
    this.play = make("button", {class: "up-play", type: "button", onclick: () => this.toggle()});
    this.switches = SIDES.map((name, side) => make("button", {
      type: "button", role: "radio", class: "up-side", "data-side": name.toLowerCase(), onclick: () => this.engine.select(side),
    }, name));
    this.time = make("span", {class: "up-time"});
    this.note = make("span", {class: "up-note", role: "status"});
    const volume = make("input", {type: "range", min: 0, max: 1, step: 0.01, value: 1, "aria-label": "Volume",
      oninput: () => this.engine.setVolume(volume.value ** 2)});
    return make("div", {class: "up-transport"}, this.play,
      make("div", {class: "up-switch", role: "radiogroup", "aria-label": "What you hear"}, ...this.switches),
      this.time, make("kbd", {}, "Space"), "plays", make("kbd", {}, "S"), "switches", make("span", {}, "(both equally loud)"), this.note,
      make("span", {class: "up-volume"}, "Volume", volume));
  }

  strips() {
    const {sample_rate, model, bottom_db, top_db} = this.about;
    const captions = [describe(this.about), `restored with ${model}`];
    this.cursors = [];
    this.figures = SIDES.map((name, side) => {
      const cursor = make("b", {class: "up-cursor"});
      this.cursors.push(cursor);
      const picture = make("div", {class: "up-picture", onclick: (event) => this.seekTo(event)},
        make("img", {src: `${this.base}/show/${name.toLowerCase()}`, alt: `Spectrogram ${name.toLowerCase()}`, draggable: "false"}),
        cursor, ...frequencyTicks(sample_rate));
      return make("figure", {class: "up-strip"},
        make("figcaption", {}, make("strong", {}, name), ` ${captions[side]}`), picture);
    });
    return make("div", {class: "up-strips"}, ...this.figures, make("div", {class: "up-axis"}, ...timeTicks(this.seconds)),
      make("div", {class: "up-scale"}, `${bottom_db} dB`, make("i"), `${top_db} dB of full scale, both pictures`));
  }

  footer() {
    const {num_samples, elapsed_seconds, lost_tags} = this.about;
    const links = [["flac", "FLAC, 24 bit"], ["wav", "WAV, 24 bit"]].map(([kind, label]) =>
      make("a", {class: "up-button", href: `${this.base}/download/${kind}`, download: true, "data-kind": kind}, `Download ${label}`));
    const speed = this.seconds / Math.max(elapsed_seconds, 0.01);
    const facts = `${num_samples.toLocaleString("en")} samples in ${elapsed_seconds.toFixed(1)} s, ${speed.toFixed(1)}× real time`;
    const lost = lost_tags.length ? ` · not carried over: ${lost_tags.join(", ")}` : " · tags and cover kept";
    return make("div", {class: "up-footer"}, ...links, make("span", {class: "up-note"}, facts + lost));
  }

  toggle() {
    if (this.engine.playing) return this.engine.pause();
    this.blind.pause();
    this.engine.play();
  }

  seekTo(event) {
    const box = event.currentTarget.getBoundingClientRect();
    this.engine.seek((event.clientX - box.left) / box.width * this.about.num_samples);
  }

  key(event) {
    if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && !event.target.closest("button, a, summary")) {
      event.preventDefault();
      this.toggle();
    } else if (event.key.toLowerCase() === "s") {
      this.engine.select(1 - this.engine.side);
    }
  }

  update() {
    const {playing, side} = this.engine;
    this.play.textContent = playing ? "❚❚" : "▶";
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.switches.forEach((button, index) => button.setAttribute("aria-checked", String(index === side)));
    this.figures.forEach((figure, index) => figure.classList.toggle("heard", index === side));
    this.moveCursor();
  }

  moveCursor() {
    const fraction = this.engine.position / this.about.num_samples;
    this.time.textContent = `${clock(fraction * this.seconds)} / ${clock(this.seconds)}`;
    for (const cursor of this.cursors) cursor.style.left = `${100 * fraction}%`;
  }

  follow() {
    if (this.engine.playing) this.moveCursor();
    this.frame = requestAnimationFrame(() => this.follow());
  }
}

/** "MP3, 128 kbit/s, ends at 16.0 kHz" */
function describe({codec, bitrate, cutoff_hz}) {
  const facts = [codec.toUpperCase()];
  if (bitrate) facts.push(`${bitrate} kbit/s`);
  if (cutoff_hz) facts.push(`ends at ${(cutoff_hz / 1000).toFixed(1)} kHz`);
  return facts.join(", ");
}

/** Factors that turn the louder side down to the other: what is louder sounds better, whatever it is. */
function levels(louder) {
  return [Math.min(1, 10 ** (louder / 20)), Math.min(1, 10 ** (-louder / 20))];
}

/** Labels at round kilohertz, as positions from the bottom. */
function frequencyTicks(sampleRate) {
  const top = sampleRate / 2000;
  return [5, 10, 15, 20].filter((khz) => khz < top * 0.97).map((khz) =>
    make("span", {class: "up-tick", style: `bottom: ${100 * khz / top}%`}, `${khz} kHz`));
}

function timeTicks(seconds) {
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300].find((step) => seconds / step <= 8) ?? 600;
  const ticks = [];
  for (let time = 0; time < seconds * 0.97; time += step) {
    ticks.push(make("span", {style: `left: ${100 * time / seconds}%`}, clock(time)));
  }
  return ticks;
}

customElements.define("upscale-result", Result);
