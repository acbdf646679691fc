import {make, post} from "./dom.js";
import {Engine, memorySource} from "./engine.js";

const LENGTHS = [3, 5, 10, 20];

/** The blind test: play A, B and X from the same place, then say which one X was. */
export class Blind {
  constructor({base, about, position, quiet}) {
    Object.assign(this, {base, about, position, quiet, trial: null});
    this.build();
  }

  build() {
    this.length = make("select", {"aria-label": "Excerpt length"},
      ...LENGTHS.map((seconds) => make("option", {value: seconds, selected: seconds === 5}, `${seconds} s`)));
    this.next = make("button", {type: "button", class: "up-button", "data-abx": "start", onclick: () => this.start()}, "Start a trial");
    this.plays = ["A", "B", "X"].map((name, side) => make("button", {
      type: "button", class: "up-side", "data-abx": `play-${name}`, disabled: true, onclick: () => this.listen(side)}, `▶ ${name}`));
    this.answers = ["A", "B"].map((name) => make("button", {
      type: "button", class: "up-button", "data-abx": `answer-${name}`, disabled: true, onclick: () => this.answer(name)}, `X is ${name}`));
    this.say = make("p", {class: "up-note", role: "status", "data-abx": "say"});
    this.tally = make("p", {class: "up-tally", "data-abx": "tally"});
    this.element = make("details", {class: "up-blind", ontoggle: () => { if (!this.element.open) this.pause(); }},
      make("summary", {}, "Blind test (ABX): can you hear the difference?"),
      make("p", {class: "up-note"}, "A is before, B is after, equally loud; X is one of the two, drawn anew for every trial. " +
        "Decide how many trials you will do before you begin: stopping when the number looks good proves nothing."),
      make("div", {class: "up-row"}, this.next, "of", this.length, "from where the player stands"),
      make("div", {class: "up-row"}, ...this.plays, ...this.answers), this.say, this.tally);
  }

  async start() {
    this.close();
    this.quiet();
    try {
      const response = await post(`${this.base}/trial`, {start: this.place(), seconds: this.seconds()});
      const facts = JSON.parse(response.headers.get("X-Trial"));
      this.open(facts, new Int16Array(await response.arrayBuffer()));
    } catch (error) {
      this.say.textContent = error.message;
    }
  }

  seconds() { return Math.min(Number(this.length.value), this.about.num_samples / this.about.sample_rate); }

  place() { return Math.max(0, Math.min(this.position(), this.about.num_samples / this.about.sample_rate - this.seconds())); }

  open(facts, frames) {
    const {sample_rate, channels} = this.about;
    this.trial = facts.trial;
    const width = 3 * channels;
    this.engine = new Engine({fetchFrames: memorySource(frames, width), sampleRate: sample_rate, channels,
      numSamples: frames.length / width, levels: [1, 1, 1], loop: true});
    this.engine.addEventListener("change", () => this.update());
    this.next.textContent = "Another place";
    this.say.textContent = `Listen, then answer. (${describe(facts.louder_db)})`;
    this.count(facts);
    this.update();
  }

  listen(side) {
    if (this.engine.playing && this.engine.side === side) return this.engine.pause();
    this.quiet();
    this.engine.select(side);
    this.engine.play();
  }

  async answer(name) {
    const trial = this.trial;
    this.close();
    try {
      const outcome = await (await post(`${this.base}/answer`, {trial, answer: name})).json();
      this.say.textContent = `${outcome.correct ? "Right" : "Wrong"}: X was ${outcome.x_was}.`;
      this.count(outcome);
    } catch (error) {
      this.say.textContent = error.message;
    }
    this.next.textContent = "Next trial";
  }

  count({num_correct, num_trials, p_value}) {
    this.tally.textContent = num_trials
      ? `${num_correct} of ${num_trials} right · p = ${p_value.toFixed(3)}, the chance of doing at least as well by guessing` : "";
  }

  pause() { this.engine?.pause(); }

  close() {
    this.engine?.close();
    this.engine = this.trial = null;
    this.update();
  }

  update() {
    this.plays.forEach((button, side) => {
      button.disabled = !this.trial;
      button.setAttribute("aria-pressed", String(Boolean(this.engine?.playing && this.engine.side === side)));
    });
    for (const button of this.answers) button.disabled = !this.trial;
  }
}

function describe(louder) {
  if (Math.abs(louder) < 0.005) return "both were equally loud here";
  return `B was ${Math.abs(louder).toFixed(2)} dB ${louder > 0 ? "louder" : "quieter"} here; the louder side was turned down`;
}
