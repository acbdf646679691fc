/**
 * Plays several versions ("sides") of the same sound in step, one of them audible; switching never moves the position.
 *
 * All sides run through one clock: the same stretch of every side is scheduled at the same sample, and a switch only
 * turns gains. Sound comes in frames of interleaved 16-bit samples (side 0's channels, side 1's channels, ...).
 */

const SEGMENT_SECONDS = 2;
const AHEAD_SECONDS = 6;
const LEAD_SECONDS = 0.05;  // between "play" and the first sample
const SWITCH_SECONDS = 0.006;  // a crossfade just long enough not to click

export class Engine extends EventTarget {
  /** `fetchFrames(start, count)` resolves to an Int16Array of `count` frames; `levels`: a factor for each side. */
  constructor({fetchFrames, sampleRate, channels, numSamples, levels, loop = false}) {
    super();
    Object.assign(this, {fetchFrames, sampleRate, channels, numSamples, levels, loop, numSides: levels.length});
    this.side = 0;
    this.volume = 1;
    this.run = null;  // what is playing: changes whenever scheduled sound becomes void
    this.pausedAt = 0;  // in samples
  }

  get playing() { return this.run !== null; }

  /** In samples. */
  get position() {
    if (!this.run) return this.pausedAt;
    const played = Math.max(0, this.context.currentTime - this.run.startTime) * this.sampleRate;
    const position = this.run.from + played;
    return this.loop ? position % this.numSamples : Math.min(position, this.numSamples);
  }

  async play() {
    if (this.playing) return;
    this.#open();
    await this.context.resume();
    this.#start(this.pausedAt >= this.numSamples ? 0 : this.pausedAt);
  }

  pause() {
    if (!this.playing) return;
    this.pausedAt = Math.round(this.position);
    this.#stop();
  }

  seek(position) {
    this.pausedAt = Math.max(0, Math.min(Math.round(position), this.numSamples));
    if (!this.playing) return this.#changed();
    this.#stop();
    this.#start(this.pausedAt);
  }

  select(side) {
    this.side = side;
    this.#setGains(SWITCH_SECONDS);
    this.#changed();
  }

  setVolume(volume) {
    this.volume = volume;
    this.#setGains(SWITCH_SECONDS);
  }

  close() {
    this.#stop();
    this.context?.close();
    this.context = null;
  }

  #open() {
    if (this.context) return;
    // At the file's own rate the device resamples the whole stream at once, not each scheduled piece by itself.
    this.context = new AudioContext({sampleRate: this.sampleRate});
    this.gains = Array.from({length: this.numSides}, () => {
      const gain = this.context.createGain();
      gain.connect(this.context.destination);
      return gain;
    });
    this.#setGains(0);
  }

  #setGains(seconds) {
    if (!this.context) return;
    const now = this.context.currentTime;
    this.gains.forEach((gain, side) => {
      const value = side === this.side ? this.volume * this.levels[side] : 0;
      gain.gain.cancelScheduledValues(now);
      gain.gain.setValueAtTime(seconds ? gain.gain.value : value, now);
      if (seconds) gain.gain.linearRampToValueAtTime(value, now + seconds);
    });
  }

  #start(from) {
    const startFrame = Math.ceil((this.context.currentTime + LEAD_SECONDS) * this.sampleRate);
    const run = {from, startFrame, startTime: startFrame / this.sampleRate, sources: new Set()};
    this.run = run;
    this.#changed();
    this.#feed(run).catch((error) => {
      if (this.run !== run) return;
      this.pause();
      this.dispatchEvent(new CustomEvent("problem", {detail: error.message}));
    });
  }

  #stop() {
    if (!this.run) return;
    for (const source of this.run.sources) source.stop();
    this.run = null;
    this.#changed();
  }

  /** Keep the next few seconds scheduled until the end, or until `run` is void. */
  async #feed(run) {
    let scheduled = 0;  // frames since run.from
    while (this.run === run) {
      const source = this.loop ? (run.from + scheduled) % this.numSamples : run.from + scheduled;
      const count = Math.min(Math.round(SEGMENT_SECONDS * this.sampleRate), this.numSamples - source);
      if (count <= 0) break;
      const frames = await this.fetchFrames(source, count);
      if (this.run !== run) return;
      if (scheduled === 0) this.#restartClock(run);
      this.#schedule(run, frames, count, scheduled);
      scheduled += count;
      await this.#until(run, run.startTime + scheduled / this.sampleRate - AHEAD_SECONDS);
    }
    await this.#until(run, run.startTime + (this.numSamples - run.from) / this.sampleRate);
    if (this.run === run) {
      this.pausedAt = this.numSamples;
      this.#stop();
    }
  }

  /** The first stretch took time to fetch: begin now, not in the past. */
  #restartClock(run) {
    run.startFrame = Math.ceil((this.context.currentTime + LEAD_SECONDS) * this.sampleRate);
    run.startTime = run.startFrame / this.sampleRate;
  }

  #schedule(run, frames, count, offset) {
    const width = this.numSides * this.channels;
    for (let side = 0; side < this.numSides; side++) {
      const buffer = this.context.createBuffer(this.channels, count, this.sampleRate);
      for (let channel = 0; channel < this.channels; channel++) {
        const samples = buffer.getChannelData(channel);
        const column = side * this.channels + channel;
        for (let n = 0; n < count; n++) samples[n] = frames[n * width + column] / 32768;
      }
      const source = this.context.createBufferSource();
      source.buffer = buffer;
      source.connect(this.gains[side]);
      source.start((run.startFrame + offset) / this.sampleRate);
      run.sources.add(source);
      source.onended = () => { run.sources.delete(source); source.disconnect(); };
    }
  }

  async #until(run, time) {
    while (this.run === run && this.context.currentTime < time) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  #changed() { this.dispatchEvent(new Event("change")); }
}

/** Frames of a preview on the server, by byte range. */
export function rangeSource(url, frameBytes) {
  return async (start, count) => {
    const range = `bytes=${start * frameBytes}-${(start + count) * frameBytes - 1}`;
    const response = await fetch(url, {headers: {Range: range}});
    if (response.status !== 206) throw new Error("this file is no longer here: drop it again");
    return new Int16Array(await response.arrayBuffer());
  };
}

/** Frames that are already here. */
export function memorySource(frames, width) {
  return async (start, count) => frames.subarray(start * width, (start + count) * width);
}
