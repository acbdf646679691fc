/**
 * Plays several versions ("sides") of the same sound in step, one of them audible; switching never moves the position.
 *
 *   one source with the channels of all sides -> splitter -> merger of side 0 -> gain 1 -> loudspeaker
 *                                                         -> merger of side 1 -> gain 0 -> loudspeaker
 *
 * The sides are channels of one buffer, so that not even a late start can bring them out of step; a switch only turns
 * gains. Sound comes in frames of interleaved 16-bit samples (side 0's channels, side 1's channels, ...).
 */

const SEGMENT_SECONDS = 2;
const AHEAD_SECONDS = 6;
const LEAD_SECONDS = 0.05;  // between "play" and the first sample
const LATE_SECONDS = 0.02;  // what is due sooner than this may be too late already
const SWITCH_SECONDS = 0.006;  // a crossfade just long enough not to click

export class Engine extends EventTarget {
  /** `fetchFrames(start, count)` resolves to an Int16Array of `count` frames; `levels`: a factor for each side. */
  constructor({fetchFrames, sampleRate, channels, numSamples, levels, loop = false}) {
    super();
    Object.assign(this, {fetchFrames, sampleRate, channels, numSamples, levels, loop});
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
    if (this.playing || !this.context) return;  // pressed twice, or closed meanwhile
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
    this.#setGains();
    this.#changed();
  }

  setVolume(volume) {
    this.volume = volume;
    this.#setGains();
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
    this.splitter = this.context.createChannelSplitter(this.levels.length * this.channels);
    this.gains = this.levels.map((_, side) => {
      const merger = this.context.createChannelMerger(this.channels);
      for (let channel = 0; channel < this.channels; channel++) {
        this.splitter.connect(merger, side * this.channels + channel, channel);
      }
      const gain = this.context.createGain();
      gain.gain.value = 0;
      merger.connect(gain).connect(this.context.destination);
      return gain;
    });
  }

  /** Silence unless something plays, and then one side: no start, stop or switch may click. */
  #setGains() {
    if (!this.context) return;
    const now = this.context.currentTime;
    this.gains.forEach((gain, side) => {
      const audible = this.playing && side === this.side;
      gain.gain.cancelScheduledValues(now);
      gain.gain.setValueAtTime(gain.gain.value, now);
      gain.gain.linearRampToValueAtTime(audible ? this.volume * this.levels[side] : 0, now + SWITCH_SECONDS);
    });
  }

  #start(from) {
    const run = {from, startFrame: 0, startTime: Infinity, sources: new Set()};
    this.run = run;
    this.#setGains();
    this.#changed();
    this.#feed(run).catch((error) => {
      if (this.run !== run) return;
      this.pause();
      this.dispatchEvent(new CustomEvent("problem", {detail: error.message}));
    });
  }

  #stop() {
    if (!this.run) return;
    const {sources} = this.run;
    this.run = null;
    this.#setGains();
    for (const source of sources) source.stop(this.context.currentTime + 2 * SWITCH_SECONDS);
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
      const buffer = this.#buffer(frames, count);
      if (scheduled === 0) this.#startClock(run);
      this.#schedule(run, buffer, scheduled);
      scheduled += count;
      await this.#until(run, run.startTime + scheduled / this.sampleRate - AHEAD_SECONDS);
    }
    await this.#until(run, run.startTime + (this.numSamples - run.from) / this.sampleRate);
    if (this.run === run) {
      this.pausedAt = this.numSamples;
      this.#stop();
    }
  }

  /** Only now: to fetch and unpack the first stretch took time. */
  #startClock(run) {
    run.startFrame = Math.ceil((this.context.currentTime + LEAD_SECONDS) * this.sampleRate);
    run.startTime = run.startFrame / this.sampleRate;
  }

  #buffer(frames, count) {
    const width = this.levels.length * this.channels;
    const buffer = this.context.createBuffer(width, count, this.sampleRate);
    for (let column = 0; column < width; column++) {
      const samples = buffer.getChannelData(column);
      for (let n = 0; n < count; n++) samples[n] = frames[n * width + column] / 32768;
    }
    return buffer;
  }

  #schedule(run, buffer, offset) {
    const due = run.startFrame + offset;
    // A stretch that comes too late begins where it should be by now, not at its beginning.
    const late = Math.max(0, Math.ceil((this.context.currentTime + LATE_SECONDS) * this.sampleRate) - due);
    if (late >= buffer.length) return;
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.splitter);
    source.start((due + late) / this.sampleRate, late / this.sampleRate);
    run.sources.add(source);
    source.onended = () => { run.sources.delete(source); source.disconnect(); };
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
